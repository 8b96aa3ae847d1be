"""`rollback`, and `up` that goes back when it fails, over sandboxes that exist on disk only."""

import json

import pytest

from sandboxfile import pipeline
from sandboxfile.errors import HostError
from sandboxfile.host import history
from sandboxfile.host.statedir import ensure_directories, read_record
from sandboxfile.model.events import Outcome
from sandboxfile.model.plan import StartSandbox
from sandboxfile.names import SandboxId

from .conftest import carry_out

WEB = SandboxId("shop", "web")


@pytest.fixture
def failing(layout, monkeypatch):
    """Plans that are carried out on the disk alone and remembered; starting what is in the set fails."""
    from sandboxfile.applying.remembering import Remembering
    from sandboxfile.model.events import StepStarted

    broken = set()

    async def apply_plan(plan, given, emit, **options):
        ensure_directories(layout)
        remembering, done, failed = Remembering(layout, plan), [], []
        for step in plan.steps:
            remembering.note(StepStarted(step.key, step.reason))
            if isinstance(step.operation, StartSandbox) and step.operation.id.name in broken:
                failed.append((step.key, HostError("it does not start")))
                continue
            carry_out(step.operation, layout)
            done.append(step.key)
        outcome = Outcome(tuple(done), tuple(failed), ())
        remembering.ended(outcome)
        return outcome

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    return broken


@pytest.fixture
def shop(sbx, failing, project):
    def write(text):
        (project / "sandbox.yaml").write_text(f"name: shop\nsandboxes:\n  web: {{{text}}}\n")

    write("env: {ROUND: '1'}")
    sbx("up", "-y", "--overcommit")
    return write


def env(layout):
    return read_record(layout.sandbox(WEB)).spec.env


def test_the_settings_of_before_come_back_and_then_nothing_is_left_to_do(sbx, shop, layout):
    shop("env: {ROUND: '2'}")
    sbx("up", "-y", "--overcommit")
    assert env(layout) == (("ROUND", "2"),)
    assert "--yes" in sbx("rollback", "--overcommit", code=1).stderr
    sbx("rollback", "-y", "--overcommit")
    assert env(layout) == (("ROUND", "1"),)


def test_a_way_back_that_widens_is_denied_and_one_that_tightens_is_gone(sbx, shop, layout):
    shop("policy: {allow: [a.example.com]}")
    sbx("up", "-y", "--overcommit")
    shop("")
    sbx("up", "-y", "--overcommit")
    said = sbx("rollback", "-y", "--overcommit", "--deny-widening", code=3).stderr
    assert "denied, and nothing was changed" in said
    assert "web can now reach a.example.com" in said
    assert all("a.example.com" not in str(rule) for rule in read_record(layout.sandbox(WEB)).spec.policy.own.allow)
    shop("policy: {allow: [b.example.com]}")
    sbx("up", "-y", "--overcommit")
    sbx("rollback", "-y", "--overcommit", "--deny-widening")
    assert all("b.example.com" not in str(rule) for rule in read_record(layout.sandbox(WEB)).spec.policy.own.allow)


def test_a_directory_that_is_gone_refuses_the_way_back_before_anything_is_changed(sbx, shop, layout, project):
    (project / "old").mkdir()
    shop("workspaces: [./old]")
    sbx("up", "-y", "--overcommit")
    shop("env: {ROUND: '2'}")
    sbx("up", "-y", "--overcommit")
    (project / "old").rmdir()
    said = sbx("rollback", "-y", "--overcommit", code=1).stderr
    assert f"`{project}/old` of shop/web: there is no such directory" in said
    assert env(layout) == (("ROUND", "2"),)
    (project / "old").mkdir()
    sbx("rollback", "-y", "--overcommit")
    assert env(layout) == ()


def test_after_failures_it_is_the_state_before_the_first_of_them(sbx, shop, layout, failing):
    failing.add("web")
    for round in "23":
        shop(f"env: {{ROUND: '{round}'}}")
        assert "sbx rollback" in sbx("up", "-y", "--overcommit", code=1).stderr
    failing.clear()
    shop("env: {ROUND: '4'}")
    sbx("up", "-y", "--overcommit")
    sbx("rollback", "-y", "--overcommit", "shop")
    assert env(layout) == (("ROUND", "1"),)


def test_up_goes_back_by_itself_when_asked_to_and_only_when_it_has_begun(sbx, shop, layout, failing):
    failing.add("web")
    shop("env: {ROUND: '2'}")
    said = sbx("up", "-y", "--overcommit", "--rollback-on-failure", code=1).stderr
    assert "going back to how it was before" in said
    assert "what was done stays done" not in said
    assert env(layout) == (("ROUND", "1"),)
    failing.clear()
    sbx("up", "-y", "--overcommit")
    assert history.is_finished(layout, "shop")
    shop("resources: {disk: 1GiB}")  # refused: nothing begins
    assert "going back" not in sbx("up", "-y", "--overcommit", "--rollback-on-failure", code=1).stderr
    assert env(layout) == (("ROUND", "2"),)


def test_disks_are_kept_before_the_way_back_when_asked_to_and_not_of_what_has_failed(sbx, shop, layout, failing):
    shop("}\n  more: {")
    assert "checkpoint" not in sbx("up", "-y", "--overcommit", "--checkpoint").stderr
    said = sbx("rollback", "-y", "--overcommit", "--checkpoint").stderr
    assert said.count("is kept as the checkpoint before-") == 1
    failing.add("more")
    shop("command: [new]}\n  more: {")
    said = sbx("up", "-y", "--overcommit", "--checkpoint", "--rollback-on-failure", code=1).stderr
    assert "going back" in said
    assert said.count("is kept as the checkpoint before-") == 1


def test_a_saved_plan_is_done_with_disks_kept_before(sbx, shop, project):
    shop("command: [new]")
    saved = str(project / "change.plan")
    assert "checkpoint" not in sbx("plan", "-o", saved).stdout
    assert "is kept as the checkpoint before-" in sbx("apply", "-y", "--overcommit", "--checkpoint", saved).stderr
    shop("command: [newer]")
    assert "is kept as the checkpoint before-" in sbx("plan", "--checkpoint", "-o", saved).stdout
    assert "is kept as the checkpoint before-" in sbx("apply", "-y", "--overcommit", saved).stderr


def test_a_file_that_is_wrong_is_no_hindrance_when_the_project_is_named(sbx, shop, layout, project):
    shop("env: {ROUND: '2'}")
    sbx("up", "-y", "--overcommit")
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {bad: 1}}\n")
    assert "sbx rollback PROJECT" in sbx("rollback", "-y", "--overcommit", code=1).stderr
    sbx("rollback", "-y", "--overcommit", "shop")
    assert env(layout) == (("ROUND", "1"),)


def test_without_anything_remembered_it_says_so(sbx, shop):
    assert "nothing is known of how none was" in sbx("rollback", "-y", "none", code=1).stderr


def test_what_was_torn_is_told(sbx, shop, layout):
    layout.before("shop").write_text(json.dumps({"version": 99}))
    assert "another version" in sbx("rollback", "-y", code=1).stderr


def test_what_was_adopted_since_is_not_taken_for_what_the_last_apply_made(sbx, shop, layout):
    shop("env: {ROUND: '2'}")
    sbx("up", "-y", "--overcommit")
    sbx("create", "--overcommit", "--name", "box", "shell")
    sbx("adopt", "-y", "box")
    assert "nothing is known" in sbx("rollback", "-y", "--overcommit", "shop", code=1).stderr
    assert layout.sandbox(SandboxId("shop", "box")).root.is_dir()


def test_what_the_user_enforces_by_now_holds_what_comes_back(sbx, shop, layout):
    shop("env: {ROUND: '2'}")
    sbx("up", "-y", "--overcommit")
    layout.user_policy.parent.mkdir(parents=True, exist_ok=True)
    layout.user_policy.write_text("policies:\n  corp: {enforce: true, mode: allow, block: [evil.example.com]}\n")
    sbx("rollback", "-y", "--overcommit")
    assert env(layout) == (("ROUND", "1"),)
    layers = read_record(layout.sandbox(WEB)).spec.policy.layers
    assert [layer.name for layer in layers if layer.enforced] == ["user policy corp"]


def test_nothing_comes_back_while_the_policies_of_the_user_are_wrong(sbx, shop, layout):
    shop("env: {ROUND: '2'}")
    sbx("up", "-y", "--overcommit")
    layout.user_policy.parent.mkdir(parents=True, exist_ok=True)
    layout.user_policy.write_text("policies: [")
    assert "policy.yaml" in sbx("rollback", "-y", "--overcommit", code=1).stderr
    assert env(layout) == (("ROUND", "2"),)
