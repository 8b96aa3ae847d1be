"""Three layers: machine, team, project. The project tries to loosen what the other two enforce, in every way there is.

Each way is held by a decision that names the enforcing rule with its file and line, or refused with the line that
enforces and the line that tried. The files are those of examples/team-layers.
"""

import shutil
from functools import partial
from pathlib import Path

import pytest

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.main import main
from sandboxfile.host.statedir import read_record
from sandboxfile.model.policy import Request
from sandboxfile.pipeline import Given
from sandboxfile.policy.compiled import compile_policy

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "team-layers"
TODAY = "2026-11-21"
NOTHING_MORE = Given()
# What is asked for, and the place that says no.
TEAM_HOST, TEAM_RANGE = ("paste.example.net", "team/policy.yaml:7:9"), ("203.0.113.9", "team/policy.yaml:8:9")
MACHINE_HOST = ("wiki.internal.example.com", "machine-policy.yaml:8:9")
MACHINE_RANGE = ("198.51.100.7", "machine-policy.yaml:9:9")
ALL = (TEAM_HOST, TEAM_RANGE, MACHINE_HOST, MACHINE_RANGE)
ENFORCED = "`team` is enforced by {root}/team/policy.yaml:3, and no other file may have a word in it."
BASE = """\
name: shop
include: [team/policy.yaml]
sandboxes: {web: {policy: mine}}
policies:
  mine: {mode: allow}
"""


@pytest.fixture
def root(project):
    for name in ("machine-policy.yaml", "team"):
        source = EXAMPLE / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, project / name)
    (project / "machine-policy.yaml").chmod(0o644)
    return project


@pytest.fixture
def load(root, layout, monkeypatch):
    """Load the project that these texts make, on a machine that has the policy."""
    real = partial(pipeline.load, machine_policy=root / "machine-policy.yaml")
    monkeypatch.setattr(pipeline, "load", real)

    def call(text, given=NOTHING_MORE, **files):
        for name, content in {"sandbox.yaml": text, **files}.items():
            (root / name).write_text(content)
        return pipeline.load(root / "sandbox.yaml", layout, given=given)

    return call


def decide(policy, target, port=443):
    return compile_policy(policy).decide(Request(target, port), None, TODAY)


def assert_held(policy, targets=ALL):
    """Every target is blocked, by the rule that enforces it, which the reason names."""
    for target, place in targets:
        decision = decide(policy, target)
        assert not decision.allowed, decision
        assert decision.place.endswith(place), decision
        assert decision.place in decision.reason


def test_the_example_shows_all_three(root, load):
    loaded = load((EXAMPLE / "sandbox.yaml").read_text())
    assert loaded.diagnostics == ()
    assert pipeline.failed_policy_tests(loaded) == ()
    web = next(sandbox for sandbox in loaded.desired.sandboxes if sandbox.id.name == "web")
    assert [layer.enforced for layer in web.policy.layers] == [True, True, False]
    assert_held(web.policy)
    assert decide(web.policy, "cdn.example.net").allowed


# --- held by a decision ------------------------------------------------------------------------------------------

WIDE = "{mode: allow, allow: [paste.example.net, 203.0.113.9, wiki.internal.example.com, 198.51.100.0/24]}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(BASE, id="a policy of its own that allows everything"),
        pytest.param(BASE.replace("{mode: allow}", WIDE), id="a rule that allows exactly what is blocked"),
        pytest.param(
            BASE.replace(
                "{mode: allow}", '{mode: allow, bypass: [paste.example.net, 203.0.113.0/24, "**.example.com"]}'
            ),
            id="past interception",
        ),
        pytest.param(BASE.replace("{mode: allow}", f"{{extends: team, {WIDE[1:]}"), id="extending what holds it"),
        pytest.param(BASE + "  company: {mode: allow}\n", id="the name of the machine's policy"),
        pytest.param(BASE + "  company: {enforce: true, mode: allow}\n", id="that name, enforced as well"),
        pytest.param(
            BASE.replace("sandboxes: {web: {policy: mine}}", "defaults: {policy: mine}\nsandboxes: {web: {}}"),
            id="the policy of the defaults",
        ),
        pytest.param(BASE.replace("policy: mine", "policy: {mode: allow}"), id="a policy in its place"),
        pytest.param(
            BASE.replace("web: {policy: mine}", "web: {extends: wide}, wide: {policy: mine}"),
            id="another sandbox's policy",
        ),
        pytest.param(
            "x-open: &open {mode: allow}\n" + BASE.replace("mine: {mode: allow}", "mine: *open"), id="through an alias"
        ),
    ],
)
def test_what_the_project_allows_is_held_by_the_rule_above_it(load, text):
    loaded = load(text)
    assert loaded.desired is not None, loaded.diagnostics
    for sandbox in loaded.desired.sandboxes:
        assert_held(sandbox.policy)
        assert decide(sandbox.policy, "api.example.com").allowed  # it is the rule, and nothing else


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("PASTE.example.net.", "team/policy.yaml:7:9"),
        ("3405803785", "team/policy.yaml:8:9"),
        ("0xcb.0.0x71.9", "team/policy.yaml:8:9"),
        ("[::ffff:203.0.113.9]", "team/policy.yaml:8:9"),
        ("internal.example.com", "machine-policy.yaml:8:9"),
        ("a.b.c.INTERNAL.example.com", "machine-policy.yaml:8:9"),
        ("0306.063.0144.07", "machine-policy.yaml:9:9"),
    ],
)
def test_another_spelling_is_the_same_place_also_when_the_project_allows_that_spelling(load, target, place):
    for mine in ("{mode: allow}", f'{{mode: allow, allow: ["{target}"]}}'):
        loaded = load(BASE.replace("{mode: allow}", mine))
        assert loaded.desired is not None, loaded.diagnostics
        assert_held(loaded.desired.sandboxes[0].policy, [(target, place)])


def test_a_secret_for_a_blocked_host_opens_nothing(load):
    secret = "secrets: {key: {env: KEY, inject: [{host: paste.example.net, header: X-Key}]}}\n"
    loaded = load(secret + BASE.replace("policy: mine", "policy: mine, secrets: [key]"))
    assert_held(loaded.desired.sandboxes[0].policy)


def test_the_machine_that_a_template_is_built_in_is_held_as_well(load):
    template = 'templates: {t: {base: "debian:trixie", run: ["true"], policy: mine}}\n'
    loaded = load(template + BASE.replace("policy: mine", "policy: mine, template: t"))
    (built,) = (each for each in loaded.desired.templates if each.name == "t")
    assert_held(built.policy)


def test_without_the_include_the_machine_holds_and_the_team_does_not(load):
    """Whose policy must not be left out puts it where the project is not asked: the machine's or the user's file."""
    loaded = load(BASE.replace("include: [team/policy.yaml]\n", ""))
    policy = loaded.desired.sandboxes[0].policy
    assert_held(policy, [MACHINE_HOST, MACHINE_RANGE])
    assert decide(policy, TEAM_HOST[0]).allowed


# --- refused -----------------------------------------------------------------------------------------------------

INCLUDE = "include: [team/policy.yaml]"


@pytest.mark.parametrize(
    ("text", "files", "place"),
    [
        pytest.param(BASE + "  team: {mode: allow}\n", {}, "sandbox.yaml:6:3", id="redefined"),
        pytest.param(BASE + "  team: {enforce: false}\n", {}, "sandbox.yaml:6:3", id="enforcement lifted"),
        pytest.param(BASE + "  team: {allow: [paste.example.net]}\n", {}, "sandbox.yaml:6:3", id="a rule added"),
        pytest.param(BASE + "  team: !reset null\n", {}, "sandbox.yaml:6:3", id="reset"),
        pytest.param(BASE + "  team: {enforce: !reset null}\n", {}, "sandbox.yaml:6:3", id="enforcement reset"),
        pytest.param(BASE + "  team: {block: !override []}\n", {}, "sandbox.yaml:6:3", id="rules overridden"),
        pytest.param(BASE.replace("policies:", "policies: !override"), {}, "sandbox.yaml:4:1", id="all overridden"),
        pytest.param(
            BASE, {"sandbox.override.yaml": "policies: {team: !reset null}"}, "override.yaml:1:12", id="override file"
        ),
        pytest.param(BASE, {"sandbox.override.yaml": "policies: !reset {}"}, "override.yaml:1:1", id="reset beside it"),
        pytest.param(
            BASE.replace("[team", "[more.yaml, team"),
            {"more.yaml": "policies: {team: {mode: allow}}"},
            "more.yaml:1:12",
            id="an include beneath",
        ),
        pytest.param(
            BASE.replace("yaml]", "yaml, more.yaml]"),
            {"more.yaml": "policies: {team: {mode: allow}}"},
            "more.yaml:1:12",
            id="an include above",
        ),
        pytest.param(
            BASE.replace("mine: {mode", "mine: &a {mode") + "  team: *a\n", {}, "sandbox.yaml:6:3", id="an alias"
        ),
    ],
)
def test_a_word_about_an_enforced_policy_is_an_error_with_both_places(root, load, text, files, place):
    loaded = load(text, **files)
    assert loaded.desired is None
    found = next(each for each in loaded.diagnostics if each.detail == ENFORCED.format(root=root))
    assert f"{found.span.file}:{found.span.line}:{found.span.column}".endswith(place)


def test_a_file_given_on_top_has_no_word_either(root, load):
    given = Given(more=(root / "top.yaml",))
    loaded = load(BASE, given, **{"top.yaml": "policies: {team: {mode: allow}}\n"})
    assert loaded.desired is None
    assert [each.detail for each in loaded.diagnostics] == [ENFORCED.format(root=root)]
    held = load(BASE, given, **{"top.yaml": "sandboxes: {web: {policy: !override {mode: allow}}}\n"})
    assert_held(held.desired.sandboxes[0].policy)


@pytest.mark.parametrize("link", ["team/policy.yaml", "team"])
def test_an_include_that_has_become_a_link_in_a_workspace_is_not_read(root, load, link):
    (root.parent / "evil").mkdir()
    (root.parent / "evil" / "policy.yaml").write_text("policies: {team: {mode: allow}}\n")
    if link == "team":
        shutil.rmtree(root / "team")
        (root / "team").symlink_to(root.parent / "evil")
    else:
        (root / link).unlink()
        (root / link).symlink_to(root.parent / "evil" / "policy.yaml")
    loaded = load(BASE.replace("policy: mine", "policy: mine, workspaces: [.]"))
    assert loaded.desired is None
    (found,) = (each for each in loaded.diagnostics if each.summary == "Symlink inside a workspace")
    assert f"{root}/{link}" in found.detail
    assert found.span.line == 3


# --- by command --------------------------------------------------------------------------------------------------


@pytest.fixture
def sbx(root, clean_home, monkeypatch, capsys):
    """Run a command in this process, where the machine has its policy; gives its code and all that it said."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(clean_home))
    monkeypatch.setenv("SBX_HOME", f"{clean_home}/sbx")

    def call(*words):
        with pytest.raises(SystemExit) as left:
            main(words)
        said = capsys.readouterr()
        return left.value.code, said.out + said.err

    return call


def test_the_command_that_explains_names_rule_file_and_line(root, load, sbx):
    load(BASE)
    for target, place in ALL:
        code, said = sbx("policy", "explain", "web", target)
        assert code == exits.BLOCKED
        assert place in said


def test_a_command_that_allows_a_host_is_told_which_rule_still_holds(load, sbx, stopped):
    desired = load(BASE).desired
    paths = stopped("web", desired.sandboxes[0].policy)
    code, said = sbx("network", "proxy", "--allow-host", "paste.example.net", "--policy", "allow", "shop/web")
    assert code == exits.OK
    assert 'still blocked: paste.example.net:443 is blocked by rule "paste.example.net" of policy team' in said
    assert "team/policy.yaml:7:9" in said
    policy = read_record(paths).spec.policy
    assert any(rule.pattern == "paste.example.net" for rule in policy.own.allow)
    assert_held(policy)
