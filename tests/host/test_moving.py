"""A sandbox gets another identity, whole, whenever that is interrupted."""

from pathlib import Path

import pytest

from sandboxfile.errors import BusyError, HostError
from sandboxfile.host import moving, statedir
from sandboxfile.host.checkpoints import list_checkpoints, make_checkpoint
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import read_record, try_lock, write_record
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.observed import Applied
from sandboxfile.names import UNMANAGED, SandboxId

OLD, NEW = SandboxId(UNMANAGED, "box"), SandboxId("shop", "web")
SPEC = DesiredSandbox(OLD, "shell", Image("d"))


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    paths = made.sandbox(OLD)
    paths.root.mkdir(parents=True)
    write_record(paths, Applied(SPEC, "", "2026-01-02T03:04:05+00:00", 2, "c"))
    paths.disk.write_text("precious")
    return made


def there(layout):
    """The one sandbox that there is, by its directory; its record must be that of this one, its disk untouched."""
    ((project, name),) = sandbox_directories(layout)
    paths = layout.sandbox(SandboxId(project, name))
    assert read_record(paths).spec.id == SandboxId(project, name)
    assert paths.disk.read_text() == "precious"
    return SandboxId(project, name)


def test_all_of_it_moves_and_the_record_says_whose_it_is(layout):
    moving.move(layout, OLD, NEW, "/shop/sandbox.yaml")
    assert there(layout) == NEW
    moving.settle(layout, NEW)
    assert there(layout) == NEW
    paths = layout.sandbox(NEW)
    applied = read_record(paths)
    assert (applied.source, applied.setup_done, applied.content) == ("/shop/sandbox.yaml", 2, "c")
    assert not paths.moved_record.exists()


def test_its_checkpoints_go_along_and_come_back(layout):
    old, new = layout.sandbox(OLD), layout.sandbox(NEW)
    for file in (old.base, old.tree, old.image):
        file.touch()
    make_checkpoint(old, "good")
    moving.move(layout, OLD, NEW, "/f")
    assert [each.label for each in list_checkpoints(new)] == ["good"]
    assert list_checkpoints(old) == []
    moving.move_back(layout, NEW, OLD)
    assert [each.label for each in list_checkpoints(old)] == ["good"]


def test_checkpoints_of_another_one_are_not_mixed_with_its_own(layout):
    old, new = layout.sandbox(OLD), layout.sandbox(NEW)
    for file in (old.base, old.tree, old.image):
        file.touch()
    make_checkpoint(old, "good")
    (new.checkpoints / "other").mkdir(parents=True)
    with pytest.raises(HostError, match="checkpoints of another sandbox"):
        moving.move(layout, OLD, NEW, "/f")
    assert there(layout) == OLD
    assert [each.label for each in list_checkpoints(old)] == ["good"]


def test_it_can_be_taken_back_until_it_is_settled(layout):
    before = read_record(layout.sandbox(OLD))
    moving.move(layout, OLD, NEW, "/f")
    moving.move_back(layout, NEW, OLD)
    assert read_record(layout.sandbox(OLD)) == before
    assert not layout.sandbox(OLD).moved_record.exists()


def test_what_cannot_be_moved_is_as_it_was(layout):
    layout.sandbox(NEW).root.mkdir(parents=True)
    with pytest.raises(HostError, match="already"):
        moving.move(layout, OLD, NEW, "/f")
    assert not layout.sandbox(OLD).moved_record.exists()


def test_a_record_that_is_written_later_counts(layout):
    moving.move(layout, OLD, NEW, "/f")
    paths = layout.sandbox(NEW)
    later = Applied(DesiredSandbox(NEW, "dev", Image("e")), "/f", "2026-01-02T03:04:05+00:00", 0)
    write_record(paths, later)
    assert read_record(paths) == later


def test_a_name_that_is_taken_and_a_sandbox_that_runs_are_left_alone(layout):
    layout.sandbox(NEW).root.mkdir(parents=True)
    with pytest.raises(HostError, match="shop/web already"):
        moving.move(layout, OLD, NEW, "/f")
    assert read_record(layout.sandbox(OLD)).spec == SPEC
    layout.sandbox(NEW).root.rmdir()
    held = try_lock(layout.sandbox(OLD).lock)
    with pytest.raises(BusyError):
        moving.move(layout, OLD, NEW, "/f")
    assert held is not None
    assert there(layout) == OLD


class Killed(BaseException):
    pass


@pytest.mark.parametrize("survived", range(9))
def test_whatever_it_is_killed_at_one_of_the_two_is_there_and_the_same_again_finishes(layout, survived, monkeypatch):
    count = 0

    def mortal(function):
        def call(*given, **named):
            nonlocal count
            count += 1
            if count > survived:
                raise Killed
            return function(*given, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(moving, "write_atomic", mortal(moving.write_atomic))
        patch.setattr(statedir, "write_atomic", mortal(statedir.write_atomic))
        patch.setattr(moving, "sync_directory", mortal(moving.sync_directory))
        patch.setattr(Path, "rename", mortal(Path.rename))
        patch.setattr(Path, "unlink", mortal(Path.unlink))
        try:
            moving.move(layout, OLD, NEW, "/f")
            moving.settle(layout, NEW)
            finished = True
        except Killed:
            finished = False
    assert there(layout) in (OLD, NEW)
    if there(layout) == OLD:
        moving.move(layout, OLD, NEW, "/f")
    moving.settle(layout, NEW)
    assert there(layout) == NEW
    assert not finished or survived >= 8
