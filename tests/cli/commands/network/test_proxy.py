"""`sbx network proxy` on sandboxes that exist on disk: rules typed, remembered, taken back, saved into the file."""

import io
import stat
from dataclasses import replace

import pytest

from sandboxfile import pipeline
from sandboxfile.cli.commands.network import proxy
from sandboxfile.cli.main import run
from sandboxfile.cli.views.console import Console
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import read_record, write_record
from sandboxfile.model.events import Outcome
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Machine, MainProcess, ObservedSandbox, ObservedState
from sandboxfile.model.plan import SetPolicy, UpdateRecord
from sandboxfile.model.policy import COMMAND, Layer, Policy, Rule

FILE = """\
name: shop
# what the team may reach
policies:
  team:
    allow: [api.example.com]   # the API
sandboxes:
  web:
    policy: team  # ours
  db: {}
"""


@pytest.fixture
def file(project):
    path = project / "sandbox.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def web(stopped, file):
    """As `up` leaves it for FILE."""
    rule = Rule("api.example.com", place="sandbox.yaml:5:13")
    return stopped("web", Policy((Layer("policy team", allow=(rule,), place="sandbox.yaml:4:3"),)))


def own(paths):
    return read_record(paths).spec.policy.own


def test_rules_of_a_stopped_sandbox_are_remembered_and_the_last_word_counts(cli, web):
    said = cli("network", "proxy", "web", "--allow-host", "CDN.example.com.", "--allow-cidr", "203.0.113.0/24")
    assert "can now reach" in said.stderr
    assert "cdn.example.com" in said.stderr
    assert said.stdout == ""
    assert [rule.pattern for rule in own(web).allow] == ["api.example.com", "cdn.example.com", "203.0.113.0/24"]
    assert {rule.origin for rule in own(web).allow} == {"", COMMAND}
    cli("network", "proxy", "web", "--block-host", "cdn.example.com", "--bypass-host", "*.pin.example.com")
    assert [rule.pattern for rule in own(web).allow] == ["api.example.com", "203.0.113.0/24"]
    assert [rule.pattern for rule in own(web).block] == ["cdn.example.com"]
    assert [rule.pattern for rule in own(web).bypass] == ["*.pin.example.com"]
    assert own(web).mode == "deny"
    cli("network", "proxy", "web", "--policy", "allow")
    assert own(web).mode == "allow"


def test_the_same_again_is_nothing_to_do_and_a_plan_shows_the_difference(cli, web):
    cli("network", "proxy", "web", "--allow-host", "cdn.example.com")
    before = web.record.read_bytes()
    assert "No changes" in cli("network", "proxy", "web", "--allow-host", "cdn.example.com").stderr
    assert web.record.read_bytes() == before
    shown = cli("plan", "web").stdout
    assert "can no longer reach cdn.example.com" in shown


def test_without_options_it_shows_what_holds(cli, web):
    shown = cli("network", "proxy", "web").stdout
    assert "policy team: mode deny" in shown
    assert "api.example.com" in shown


def test_every_wrong_pattern_is_said_at_once_and_nothing_changes(cli, web):
    before = web.record.read_bytes()
    words = [
        "--allow-host",
        "https://x.example.com/",
        "--allow-host",
        "203.0.113.0/24",
        "--block-cidr",
        "x.example.com",
    ]
    words += ["--allow-cidr", "203.0.113.7/24", "--bypass-host", "*.*.example.com", "--allow-host", "ok.example.com"]
    said = cli("network", "proxy", "web", *words, code=64).stderr
    assert said.count("error: --") == 5
    assert said.count("hint: ") == 5
    assert "ok.example.com" not in said
    assert "ends in -cidr" in said
    assert "ends in -host" in said
    assert "also to be blocked" in (
        cli("network", "proxy", "web", "--allow-host", "a.example.com", "--block-host", "A.example.com", code=64).stderr
    )
    assert web.record.read_bytes() == before


def test_what_stays_blocked_is_said(cli, stopped):
    corp = Layer("machine policy corp", "allow", block=(Rule("evil.example.com", place="f:5:9"),), enforced=True)
    paths = stopped("web", Policy((corp, Layer("policy web"))))
    said = cli("network", "proxy", "web", "--allow-host", "evil.example.com")
    assert "still blocked" in said.stderr
    assert "f:5:9" in said.stderr
    assert read_record(paths).spec.policy.layers[0] == corp


def test_saved_rules_go_into_the_file_that_keeps_everything_else(cli, web, file):
    file.chmod(0o640)
    cli("network", "proxy", "web", "--allow-host", "cdn.example.com")
    said = cli("network", "proxy", "web", "--block-host", "*.ads.example.com", "--save")
    expected = FILE.replace(
        "    policy: team  # ours\n",
        "    policy:  # ours\n      extends: team\n      allow:\n        - cdn.example.com\n"
        '      block:\n        - "*.ads.example.com"\n',
    )
    assert file.read_text() == expected
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "+        - cdn.example.com\n" in said.stderr
    assert said.stdout == ""
    assert {rule.origin for rule in (*own(web).allow, *own(web).block)} == {""}
    assert "policy" not in cli("plan", "web").stdout
    assert "says so already" in cli("network", "proxy", "web", "--save").stderr
    cli("network", "proxy", "web", "--policy", "allow", "--save")
    assert "      mode: allow\n" in file.read_text()
    assert own(web).mode == "allow"


AGENT = "name: shop\nsandboxes:\n  web: {agent: claude, template: shell, policy: {allow: [api.example.com]}}\n"


@pytest.fixture
def claude(stopped, project, monkeypatch):
    """As `up` leaves it where the key is in the environment; later commands do not have it."""
    path = project / "sandbox.yaml"
    path.write_text(AGENT)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    monkeypatch.setenv("HOME", str(project.parent))
    loaded = pipeline.load(path, Layout(project / "s", project / "c", project / "r"), frozen=None)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    return stopped("web", loaded.desired.sandboxes[0].policy)


def test_saving_keeps_the_credentials_of_a_sandbox_whatever_the_environment_is_now(cli, claude, project):
    before = read_record(claude).spec.policy
    assert [each.name for each in before.credentials] == ["anthropic"]
    cli("network", "proxy", "web", "--allow-host", "cdn.example.com", "--save")
    after = read_record(claude).spec.policy
    assert "allow: [api.example.com, cdn.example.com]" in (project / "sandbox.yaml").read_text()
    assert (after.credentials, after.settings) == (before.credentials, before.settings)
    assert [rule.origin for rule in after.own.allow] == ["", "", *(rule.origin for rule in before.own.allow[1:])]


def test_the_host_of_an_agent_is_blocked_by_the_command_and_by_the_saved_rule(cli, claude, project):
    cli("network", "proxy", "web", "--block-host", "api.anthropic.com")
    assert "api.anthropic.com:443" not in [rule.pattern for rule in own(claude).allow]
    cli("network", "proxy", "web", "--save")
    assert "block: [api.anthropic.com]" in (project / "sandbox.yaml").read_text()
    assert "api.anthropic.com:443" not in [rule.pattern for rule in own(claude).allow]
    shown = cli("network", "proxy", "web").stdout
    assert "agent claude" in shown  # its other hosts
    assert "anthropic: env ANTHROPIC_API_KEY for api.anthropic.com:443" in shown


def test_what_commands_made_is_in_no_file_to_save_to(cli, stopped, layout):
    paths = stopped("web")
    write_record(paths, replace(read_record(paths), source=""))
    assert "sbx adopt" in cli("network", "proxy", "shop/web", "--allow-host", "a.example.com", "--save", code=1).stderr


def test_a_sandbox_without_a_policy_gets_one(cli, stopped, file):
    db = stopped("db")
    cli("network", "proxy", "db", "--allow-host", "api.example.com:443", "--save")
    assert "  db: {policy: {allow: [api.example.com:443]}}\n" in file.read_text()
    assert [rule.pattern for rule in own(db).allow] == ["api.example.com:443"]


def test_a_policy_from_the_defaults_is_kept(cli, stopped, project):
    path = project / "sandbox.yaml"
    path.write_text(
        "name: shop\ndefaults: {policy: team}\npolicies: {team: {allow: [a.example.com]}}\nsandboxes: {web: {}}\n"
    )
    web = stopped("web", Policy((Layer("policy team", allow=(Rule("a.example.com"),)),)))
    cli("network", "proxy", "web", "--allow-host", "b.example.com", "--save")
    assert "web: {policy: {extends: team, allow: [b.example.com]}}" in path.read_text()
    assert [rule.pattern for rule in own(web).allow] == ["a.example.com", "b.example.com"]


def test_a_policy_written_in_the_defaults_is_not_edited(cli, stopped, project):
    path = project / "sandbox.yaml"
    text = "name: shop\ndefaults:\n  policy: {allow: [a.example.com]}\nsandboxes: {web: {}}\n"
    path.write_text(text)
    paths = stopped("web", Policy((Layer("policy of defaults", allow=(Rule("a.example.com"),)),)))
    before = paths.record.read_bytes()
    said = cli("network", "proxy", "web", "--allow-host", "b.example.com", "--save", code=1).stderr
    assert "under `policies:`" in said
    assert (path.read_text(), paths.record.read_bytes()) == (text, before)


@pytest.mark.parametrize(
    "text",
    [
        FILE.replace("[api.example.com]", "[api.example.com, other.example.com]"),  # not applied yet
        FILE.replace("team  # ours", "team"),
        FILE.replace("  web:\n", "  web: &w\n").replace("db: {}", "db: *w"),
        FILE + "colour: red\n",
        FILE.replace("web:", "app:"),
    ],
)
def test_a_file_that_means_something_else_is_not_touched(text, cli, web, file):
    if text == FILE.replace("team  # ours", "team"):
        text = text.replace("policy: team", "policy: &p {extends: team}").replace("db: {}", "db: {policy: *p}")
    file.write_text(text)
    before = web.record.read_bytes()
    said = cli("network", "proxy", "web", "--allow-host", "b.example.com", "--save", code=1).stderr
    assert "not changed" in said or "has no sandbox" in said
    assert (file.read_text(), web.record.read_bytes()) == (text, before)


def test_a_running_sandbox_is_held_to_it_at_once_and_nobody_is_asked(web, layout, project, clean_home, monkeypatch):
    """Everything but the supervisor: that the machine runs is said here, and what would be applied is caught."""
    applied = read_record(web)
    machine = Machine(
        "running", 2, 1 << 30, 10 << 30, (), MainProcess(), "tcg", "b", "2026-01-02T11:59:30Z",
        policy=fingerprint(applied.spec.policy),
    )  # fmt: skip
    found = ObservedSandbox(applied.spec.id, "running", applied, machine)
    plans = []

    async def observe(layout, project):
        return ObservedState(project, (found,))

    async def apply_plan(plan, layout, emit, **options):
        plans.append(plan)
        return Outcome(tuple(step.key for step in plan.steps), (), ())

    monkeypatch.setattr(proxy, "observe", observe)
    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    monkeypatch.setenv("SBX_HOME", f"{clean_home}/sbx")
    monkeypatch.chdir(project)
    console = Console(io.StringIO(), io.StringIO(), io.StringIO())
    assert run(["network", "proxy", "web", "--allow-host", "cdn.example.com"], console) == 0
    ((first, second),) = [plan.steps for plan in plans]
    assert isinstance(first.operation, SetPolicy)
    assert [rule.pattern for rule in first.operation.policy.own.allow] == ["api.example.com", "cdn.example.com"]
    assert isinstance(second.operation, UpdateRecord)
    assert second.operation.spec.policy == first.operation.policy
    assert "can now reach cdn.example.com" in console.err.getvalue()
