"""Planning and applying from a program: what is raised, and when."""

import asyncio
import os
import signal
import threading

import anyio
import pytest

from sandboxfile.api import (
    FilesNotTrusted,
    PlanRefused,
    SandboxfileError,
    SecretsNotReady,
    apply,
    load,
    plan,
    render,
    rollback,
)
from sandboxfile.api.applying import succeeded
from sandboxfile.applying import machines
from sandboxfile.errors import BusyError, CommandError, NotFoundError, StaleError
from sandboxfile.host import trust
from sandboxfile.host.approvals import Approval, approve
from sandboxfile.host.checkpoints import list_checkpoints
from sandboxfile.host.statedir import is_locked, read_record, try_lock
from sandboxfile.model.events import Outcome, StepFinished

from .conftest import FILE, fill

SECRET = "secrets: {key: {env: KEY, inject: [{host: api.example.com, header: X-Key}]}}\n"


def with_web(file, layout, **text):
    file.write_text(FILE.replace('18080:80"]}', '18080:80"]' + text["web"] + "}") + text.get("more", ""))
    fill(layout, file)
    return load(file)


def test_a_plan_says_what_apply_then_does_and_afterwards_there_is_nothing_to_do(project, layout):
    made = plan(project)
    assert [step.key for step in made.steps] == ["create web", "start web"]
    assert "+ sandbox web: create" in render(made)
    assert not layout.sandboxes.joinpath("shop").exists()
    events = []
    outcome = apply(made, on_progress=events.append)
    assert set(outcome.done) == {"create web", "start web"}
    assert [event.key for event in events if isinstance(event, StepFinished)] == ["create web", "start web"]
    assert is_locked(layout.sandbox(project["web"].id).lock)


def test_a_project_is_applied_again_without_a_change(web, project):
    again = plan(project)
    assert [change.action for change in again.changes if change.action in ("create", "replace", "delete")] == []
    assert "create web" not in apply(project).done


def test_disks_at_risk_are_kept_before_when_asked_to(web, file, layout):
    web.stop()
    paths = layout.sandbox(web.id)
    for path in (paths.base, paths.tree, paths.image):
        path.touch()
    for count, word in enumerate(("one", "two"), 1):
        project = with_web(file, layout, web=f", command: [{word}]")
        made = plan(project)
        assert not any(change.checkpoint for change in made.changes)
        assert [change.checkpoint[:7] for change in plan(project, checkpoint=True).changes] == ["before-"]
        done = apply(project if count == 1 else made, checkpoint=True).done
        assert done[0] == "checkpoint web"
        web.stop()
        assert len(list_checkpoints(paths)) == count


def test_profiles_that_a_project_was_loaded_with_are_meant_where_none_are_given(project, file):
    file.write_text(FILE + "  lint: {profiles: [lint]}\n  test: {profiles: [ci]}\n")

    def created(**given):
        return [step.key for step in plan(load(file, profiles=["ci"]), **given).steps if "create" in step.key]

    assert created() == ["create test", "create web"]
    assert created(profiles=["lint"]) == ["create lint", "create web"]
    with pytest.raises(TypeError, match=r"profiles=\['ci'\]"):
        load(file, profiles="ci")


def test_a_plan_says_by_what_something_may_do_more(project):
    assert [shift.text for shift in plan(project).widenings] == ["web is reached at 127.0.0.1:18080"]
    assert plan(project, goal="down").widenings == ()


def test_a_rollback_goes_back_to_before_the_last_apply(web, file, layout):
    file.write_text(FILE.replace('18080:80"]', '18080:80"], env: {ROUND: "2"}'))
    apply(load(file))
    told = []
    assert rollback(load(file), on_progress=told.append).done
    assert told
    assert read_record(layout.sandbox(web.id)).spec.env == ()
    with pytest.raises(NotFoundError, match="nothing is known of how other was"):
        rollback("other")


def test_the_goal_down_deletes(web, project, layout):
    apply(plan(project, goal="down"))
    assert not layout.sandbox(web.id).root.exists()


def test_names_are_a_list_and_unknown_ones_are_refused(project):
    with pytest.raises(TypeError, match=r"only=\['web'\]"):
        plan(project, only="web")
    for goal in ("up", "down"):
        with pytest.raises(NotFoundError, match="the file has no sandbox 'wbe'") as unknown:
            plan(project, only=["web", "wbe"], goal=goal)
        assert unknown.value.__notes__ == ["hint: did you mean web?"]


def test_a_refused_plan_says_why_and_is_not_applied(file, layout):
    project = with_web(file, layout, web=", protect: true")
    apply(project)
    refused = plan(project, goal="down")
    assert refused.steps == ()
    assert "error:" in render(refused)
    with pytest.raises(PlanRefused, match="protect: true") as caught:
        apply(refused)
    assert caught.value.diagnostics == refused.diagnostics


def test_profiles_are_asked_for_by_name(file, layout):
    text = "sandboxes: {web: {depends_on: [db]}, db: {}, test: {profiles: [ci]}}\n"
    file.write_text(f"name: shop\n{text}")
    project = load(file)

    def created(**options):
        return sorted(c.subject for c in plan(project, **options).changes if c.subject.startswith("sandbox"))

    assert created() == ["sandbox db", "sandbox web"]
    assert created(profiles=["ci"]) == ["sandbox db", "sandbox test", "sandbox web"]
    assert created(only=["web"]) == ["sandbox db", "sandbox web"]
    for wrong in (lambda: plan(project, profiles="ci"), lambda: apply(project, profiles="ci")):
        with pytest.raises(TypeError, match=r"profiles=\['ci'\]"):
            wrong()
    with pytest.raises(TypeError, match="give the profiles to `plan`"):
        apply(plan(project), profiles=["ci"])


def test_what_is_protected_stays_unless_told_otherwise(file, layout):
    project = with_web(file, layout, web=", protect: true")
    apply(project)
    with pytest.raises(PlanRefused):
        apply(plan(project, goal="down"))
    with pytest.raises(PlanRefused):
        project["web"].remove()
    project["web"].remove(allow_destroy=True)
    assert not layout.sandbox(project["web"].id).root.exists()


def test_a_plan_that_was_overtaken_is_refused_and_a_project_planned_again(project, monkeypatch):
    made = plan(project)
    apply(project)
    with pytest.raises(StaleError):
        apply(made)


def test_somebody_else_at_work_is_waited_for_and_then_told(project, layout):
    handle = try_lock(layout.project_lock("shop"))
    assert handle is not None
    with pytest.raises(BusyError) as caught:
        apply(project, lock_timeout=0)
    assert caught.value.__notes__[0].startswith("hint: ")


def test_the_error_of_a_failed_step_is_raised_as_it_is(file, layout):
    project = with_web(file, layout, web=', setup: ["false"]')
    with pytest.raises(CommandError, match="the setup command `false` failed") as caught:
        apply(project)
    assert caught.value.exit_code == 1
    notes = "\n".join(caught.value.__notes__)
    assert "in the step: " in notes
    assert "it said no" in notes
    assert project["web"].status() == "running"


def test_several_failures_are_all_told():
    failed = (("start a", SandboxfileError("no a")), ("start b", SandboxfileError("no b")))
    with pytest.raises(SandboxfileError, match="no a") as caught:
        succeeded(Outcome((), failed, ("main a",)))
    assert caught.value.__notes__[1:] == ["failed as well: start b: no b", "not done because of it: main a"]


def test_a_secret_that_nobody_approved_is_told_with_the_command_before_anything_is_there(file, layout, monkeypatch):
    project = with_web(file, layout, web=", secrets: [key]", more=SECRET)
    monkeypatch.setenv("KEY", "value-of-the-key")
    with pytest.raises(SecretsNotReady, match=r"api\.example\.com:443") as caught:
        apply(project)
    assert caught.value.hint == "sbx secret approve key api.example.com:443"
    assert not layout.sandbox(project["web"].id).root.exists()
    approve(layout, [Approval("env KEY", "api.example.com", 443)])
    assert apply(project).ok


def test_a_secret_that_is_not_there_is_told_before_anything_is(file, layout, monkeypatch):
    project = with_web(file, layout, web=", secrets: [key]", more=SECRET)
    approve(layout, [Approval("env KEY", "api.example.com", 443)])
    monkeypatch.delenv("KEY", raising=False)
    with pytest.raises(SecretsNotReady, match="not available"):
        apply(project)
    assert not layout.sandbox(project["web"].id).root.exists()


def test_a_caller_may_have_an_event_loop_of_its_own(project):
    async def main():
        return apply(project).ok and project["web"].exec(["true"]).returncode == 0

    assert asyncio.run(main())


def test_it_works_in_any_thread(project):
    found = []
    thread = threading.Thread(target=lambda: found.append(apply(project)))
    thread.start()
    thread.join()
    assert found[0].ok


def test_an_interrupted_caller_leaves_nothing_locked(project, layout, monkeypatch):
    async def interrupted(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()

    monkeypatch.setattr(machines, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        apply(project)
    assert not is_locked(layout.project_lock("shop"))


def test_a_file_that_a_sandbox_could_have_changed_is_not_applied_before_somebody_approved_it(file, layout):
    project = with_web(file, layout, web=", workspaces: [.]")
    apply(project)  # nobody could have written to it
    assert apply(project).ok  # and so it is approved
    trust.expose(layout, {str(file.parent): frozenset()})  # another sandbox sees it unprotected
    changed = with_web(file, layout, web=", workspaces: [.], policy: {mode: allow}")
    with pytest.raises(FilesNotTrusted, match="nothing was changed") as caught:
        apply(changed)
    assert [doubt.file.path for doubt in caught.value.doubts] == [str(file)]
    assert any("sbx trust" in note for note in caught.value.__notes__)
    trust.approve(layout, changed.desired.files)
    assert apply(changed).ok
