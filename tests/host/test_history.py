"""Which state counts as the good one, and what is put aside for it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host import history
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, try_lock, write_record
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

ID = SandboxId("shop", "web")
APPLIED = Applied(DesiredSandbox(ID, "shell", Image("d")), "/f", "2026-01-02T03:04:05+00:00", 0, "c")
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(made)
    return made


def exists(layout, applied=APPLIED):
    paths = layout.sandbox(applied.spec.id)
    paths.root.mkdir(parents=True, exist_ok=True)
    write_record(paths, applied)
    return paths


def put_aside(layout, id=ID):
    place = layout.kept(id)
    place.mkdir(parents=True)
    (place / "record.json").write_bytes((layout.sandbox(ID).root / "record.json").read_bytes())


def test_an_apply_remembers_every_sandbox_of_the_project_and_whether_it_ran(layout):
    other = replace(APPLIED, spec=replace(APPLIED.spec, id=SandboxId("shop", "db")))
    exists(layout, replace(APPLIED, spec=replace(APPLIED.spec, id=SandboxId("elsewhere", "web"))))
    exists(layout, other)
    (exists(layout, replace(APPLIED, spec=replace(APPLIED.spec, id=SandboxId("shop", "torn")))).record).write_text("{")
    held = try_lock(exists(layout).lock)
    history.begin(layout, "shop", NOW)
    before = history.read_before(layout, "shop")
    assert held is not None
    assert before.at == "2026-02-03T04:05:06+00:00"
    assert [(each.applied, each.running) for each in before.sandboxes] == [(other, False), (APPLIED, True)]
    assert before.unreadable == (SandboxId("shop", "torn"),)
    assert not before.complete
    assert before.was(ID).is_same(replace(APPLIED, source="/another"))
    assert not before.was(ID).is_same(replace(APPLIED, created_at="2026-02-03T04:05:06+00:00"))
    assert before.was(SandboxId("shop", "none")) is None


def test_after_a_failure_the_state_before_it_counts_until_an_apply_has_succeeded(layout):
    assert history.is_finished(layout, "shop")
    exists(layout)
    history.begin(layout, "shop", NOW)
    put_aside(layout)
    exists(layout, replace(APPLIED, source="/half-done"))
    assert not history.is_finished(layout, "shop")
    history.begin(layout, "shop", NOW)
    assert history.read_before(layout, "shop").sandboxes[0].applied == APPLIED
    assert list(history.kept(layout, "shop")) == [ID]
    history.finish(layout, "shop")
    assert history.is_finished(layout, "shop")
    assert history.read_before(layout, "shop").sandboxes[0].applied == APPLIED
    history.begin(layout, "shop", NOW)
    assert history.read_before(layout, "shop").sandboxes[0].applied.source == "/half-done"
    assert history.kept(layout, "shop") == {}
    assert len(list(layout.trash.iterdir())) == 1


def test_only_the_very_sandbox_that_was_there_counts(layout):
    exists(layout)
    assert not history.counts(layout, APPLIED)
    history.begin(layout, "shop", NOW)
    assert history.counts(layout, replace(APPLIED, setup_done=1))
    assert not history.counts(layout, replace(APPLIED, created_at="later"))


def test_nothing_is_left_of_what_is_forgotten(layout):
    exists(layout)
    history.begin(layout, "shop", NOW)
    put_aside(layout)
    assert history.kept_projects(layout) == ["shop"]
    history.forget(layout, "shop")
    assert history.read_before(layout, "shop") is None
    assert history.kept_projects(layout) == []
    history.forget(layout, "shop")


def test_one_that_was_put_aside_can_be_given_up_alone(layout):
    exists(layout)
    put_aside(layout)
    put_aside(layout, SandboxId("shop", "db"))
    history.drop_kept(layout, ID)
    history.drop_kept(layout, ID)
    assert [path.name for path in layout.kept(ID).parent.iterdir()] == ["db"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', '{"version": 1}', "[" * 100_000])
def test_what_cannot_be_read_is_told_and_the_next_apply_writes_it_anew(layout, content):
    layout.before("shop").write_text(content)
    with pytest.raises(StateError):
        history.read_before(layout, "shop")
    history.begin(layout, "shop", NOW)
    assert history.read_before(layout, "shop").sandboxes == ()
