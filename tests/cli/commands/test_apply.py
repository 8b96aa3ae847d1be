"""`apply`: exactly what was saved, as long as what it rests on is as it was; else nothing, and it says what moved."""

import json
from dataclasses import replace

import pytest

from sandboxfile import pipeline
from sandboxfile.errors import StaleError
from sandboxfile.host.statedir import read_record, write_record

FILE = "name: shop\nsandboxes: {}\n"


@pytest.fixture
def saved(sbx, project, stopped):
    """A plan that deletes `old`; gives the files of that sandbox."""
    (project / "sandbox.yaml").write_text(FILE)
    paths = stopped("old")
    sbx("plan", "--remove-orphans", "-o", "change.plan")
    return paths


def test_it_does_what_was_saved_whatever_the_file_says_by_now(sbx, project, saved, applied):
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {old: {}, more: {}}\n")
    said = sbx("apply", "change.plan", "-y")
    assert "sandbox old: delete" in said.stderr
    assert not saved.root.exists()
    [plan] = applied
    assert [step.key for step in plan.steps] == ["delete old"]


def test_it_asks_and_off_a_terminal_does_nothing(sbx, saved, applied):
    said = sbx("apply", "change.plan", code=1)
    assert "sandbox old: delete" in said.stderr
    assert "no terminal to ask on" in said.stderr
    assert applied == []


def test_an_unrelated_change_does_not_matter(sbx, saved, stopped, applied):
    other = stopped("web")
    sbx("apply", "change.plan", "-y")
    assert not saved.root.exists()
    assert other.root.exists()


def test_a_related_change_refuses_it_and_is_named(sbx, saved, applied):
    record = read_record(saved)
    write_record(saved, replace(record, spec=replace(record.spec, env=(("A", "b"),))))
    said = sbx("apply", "change.plan", "-y", code=1)
    assert "stale" in said.stderr
    assert "sandbox old: `env` of what was applied has changed" in said.stderr
    assert "plan again" in said.stderr
    assert applied == []


def test_a_directory_that_is_gone_refuses_it(sbx, project, applied):
    (project / "src").mkdir()
    (project / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [./src]}}\n")
    sbx("plan", "-o", "change.plan")
    (project / "src").rmdir()
    said = sbx("apply", "change.plan", "-y", "--overcommit", code=1)
    assert f"`{project}/src` of shop/web: there is no such directory" in said.stderr
    assert applied == []


def test_it_is_done_once(sbx, saved, applied):
    sbx("apply", "change.plan", "-y")
    assert "sandbox old: it no longer exists" in sbx("apply", "change.plan", "-y", code=1).stderr
    assert len(applied) == 1


def test_what_moves_while_somebody_is_asked_is_named_too(sbx, saved, monkeypatch):
    async def apply_plan(plan, *arguments, **options):
        saved.disk.unlink()
        raise StaleError("something changed since the plan was made")

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    assert "sandbox old: its disk has been deleted" in sbx("apply", "change.plan", "-y", code=1).stderr


def test_a_plan_that_somebody_changed_is_refused(sbx, project, saved, applied):
    path = project / "change.plan"
    content = json.loads(path.read_text())
    content["plan"]["steps"][0]["operation"]["id"]["name"] = "web"
    path.write_text(json.dumps(content))
    said = sbx("apply", "change.plan", "-y", code=1)
    assert "change.plan is not applied: it is not as it was saved: somebody has changed it" in said.stderr
    assert applied == []


def test_a_plan_of_another_state_is_refused(sbx, saved, clean_home, monkeypatch, applied):
    monkeypatch.setenv("SBX_HOME", f"{clean_home}/other")
    assert "another user or on another host" in sbx("apply", "change.plan", "-y", code=1).stderr
    sbx("plan", "-o", "mine.plan")
    assert "another user or on another host" in sbx("apply", "change.plan", "-y", code=1).stderr
    assert applied == []


@pytest.mark.parametrize(("name", "told"), [("sandbox.yaml", "no saved plan"), ("nothing", "there is no file")])
def test_what_is_no_plan_is_refused(sbx, saved, name, told):
    assert told in sbx("apply", name, "-y", code=1).stderr


def test_a_plan_without_changes_changes_nothing(sbx, project, applied):
    (project / "sandbox.yaml").write_text(FILE)
    sbx("plan", "-o", "change.plan")
    assert "No changes" in sbx("apply", "change.plan").stderr
    assert applied == []


def test_the_real_executor_takes_the_plan(cli, project, stopped):
    (project / "sandbox.yaml").write_text(FILE)
    paths = stopped("old")
    stopped("web")
    cli("plan", "--remove-orphans", "-o", "change.plan")
    cli("apply", "change.plan", "-y")
    assert not paths.root.exists()


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("policies:\n  corp: {enforce: true, mode: allow, block: [evil.example.com]}\n", "policy.yaml has changed"),
        ("policies: [", "have errors"),
        (None, "have errors"),  # a link to nowhere is not "no file"
    ],
)
def test_policies_of_the_user_that_came_since_refuse_it(sbx, saved, layout, applied, now, told):
    layout.user_policy.parent.mkdir(parents=True, exist_ok=True)
    if now is None:
        layout.user_policy.symlink_to("nowhere")
    else:
        layout.user_policy.write_text(now)
    said = sbx("apply", "change.plan", "-y", code=1)
    assert "the plan is stale" in said.stderr
    assert told in said.stderr
    assert applied == []


def test_policies_of_the_user_that_are_as_they_were_do_not_matter(sbx, project, layout, stopped, applied):
    layout.user_policy.parent.mkdir(parents=True, exist_ok=True)
    layout.user_policy.write_text("policies:\n  corp: {enforce: true, mode: allow}\n")
    (project / "sandbox.yaml").write_text(FILE)
    paths = stopped("old")
    sbx("plan", "--remove-orphans", "-o", "change.plan")
    sbx("apply", "change.plan", "-y")
    assert not paths.root.exists()
