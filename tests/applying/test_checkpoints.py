"""Checkpoints of sandboxes on disk: made, gone back to, and made another sandbox. Disks are real, machines are not."""

from dataclasses import replace
from functools import partial

import anyio
import pytest

from sandboxfile.applying import checkpoints, machines, storage
from sandboxfile.errors import BusyError, HostError, NotFoundError
from sandboxfile.host.checkpoints import PASSING, find_checkpoint, list_checkpoints, make_checkpoint
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, read_record, sandbox_directories, try_lock, write_record
from sandboxfile.model.desired import Command, DesiredSandbox, Image, Resources
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.vm.disks import disk_size, grow_disk

MIB = 1 << 20
DIGEST = "d" * 64
ONE = (Command(("one",)),)
WEB = DesiredSandbox(SandboxId("shop", "web"), "shell", Image(DIGEST), resources=Resources(1, 1, MIB), setup=ONE)
NEW = replace(WEB, id=SandboxId(UNMANAGED, "other"))


@pytest.fixture
def layout(tmp_path, keep_image):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    keep_image(layout, DIGEST, disk=b"image" + bytes(1000))
    anyio.run(storage.create, layout, WEB, "/p/sandbox.yaml")
    return layout


def mark(layout, text, id=WEB.id):
    """Write something into a disk that qemu-img leaves alone: it is the header's own backing of nothing."""
    with layout.sandbox(id).disk.open("ab") as file:
        file.write(text.encode())


def has(path, text):
    return text.encode() in path.read_bytes()


def run(function, *given, **named):
    return anyio.run(partial(function, *given, **named))


def test_a_stopped_sandbox_is_copied_and_goes_back(layout):
    mark(layout, "first")
    run(checkpoints.checkpoint, layout, WEB.id, "good")
    mark(layout, "second")
    paths = layout.sandbox(WEB.id)
    write_record(paths, replace(read_record(paths), setup_done=1))
    run(checkpoints.restore, layout, WEB.id, "good")
    assert has(paths.disk, "first")
    assert not has(paths.disk, "second")
    assert read_record(paths).setup_done == 0
    assert read_record(paths).spec == WEB


def test_a_disk_that_was_made_larger_stays_so(layout):
    paths = layout.sandbox(WEB.id)
    run(checkpoints.checkpoint, layout, WEB.id, "small")
    larger = replace(WEB, resources=Resources(1, 1, 4 * MIB))
    write_record(paths, replace(read_record(paths), spec=larger))
    run(grow_disk, paths.disk, 4 * MIB)
    run(checkpoints.restore, layout, WEB.id, "small")
    assert run(disk_size, paths.disk) == 4 * MIB
    assert run(disk_size, find_checkpoint(paths, "small").paths.disk) == MIB


def test_one_that_runs_is_not_given_another_disk(layout):
    run(checkpoints.checkpoint, layout, WEB.id, "good")
    held = try_lock(layout.sandbox(WEB.id).lock)
    with pytest.raises(BusyError, match="running"):
        run(checkpoints.restore, layout, WEB.id, "good")
    assert held is not None
    with pytest.raises(NotFoundError):
        run(checkpoints.fork, layout, WEB.id, NEW, "none")


@pytest.mark.parametrize("label", [None, "good"])
def test_a_fork_has_the_disk_and_nothing_else_of_the_first(layout, label):
    paths, new = layout.sandbox(WEB.id), layout.sandbox(NEW.id)
    mark(layout, "first")
    write_record(paths, replace(read_record(paths), setup_done=1))
    run(checkpoints.checkpoint, layout, WEB.id, "good")
    mark(layout, "second")
    paths.authority.write_text("secret")
    paths.command.write_text("sandboxes: {}")
    run(checkpoints.fork, layout, WEB.id, NEW, label)
    assert has(new.disk, "first")
    assert has(new.disk, "second") == (label is None)
    assert new.base.samefile(paths.base)
    applied = read_record(new)
    assert (applied.spec, applied.source, applied.setup_done) == (NEW, "", 1)
    assert applied.content == read_record(paths).content
    assert sorted(path.name for path in new.root.iterdir()) == [
        "base.ext4", "command.yaml", "copied", "disk.qcow2", "image.json", "record.json", "tree.gz",
    ]  # fmt: skip
    assert [each.label for each in list_checkpoints(paths)] == ["good"]
    assert not (paths.checkpoints / PASSING).exists()
    mark(layout, "third", NEW.id)
    assert not has(paths.disk, "third")


def test_a_fork_begins_anew_where_one_was_killed_and_takes_no_name(layout):
    make_checkpoint(layout.sandbox(WEB.id), PASSING)
    mark(layout, "since")
    run(checkpoints.fork, layout, WEB.id, NEW, None)
    assert has(layout.sandbox(NEW.id).disk, "since")
    with pytest.raises(HostError, match="other already"):
        run(checkpoints.fork, layout, WEB.id, NEW, None)


def test_a_fork_that_cannot_be_finished_leaves_nothing(layout):
    (layout.sandbox(WEB.id).tree).unlink()
    with pytest.raises(HostError):
        run(checkpoints.fork, layout, WEB.id, NEW, None)
    assert sandbox_directories(layout) == [("shop", "web")]
    assert list(layout.sandbox(NEW.id).root.parent.iterdir()) == []
    assert list(layout.sandbox(WEB.id).checkpoints.iterdir()) == []


def test_a_running_one_is_asked_to_copy_its_disk_itself(home):
    async def ask():
        await machines.start(home.layout, home_id, home.told.append)
        await checkpoints.checkpoint(home.layout, home_id, "good")
        await machines.stop(home.layout, home_id, home.told.append)

    home_id = WEB.id
    anyio.run(ask)
    assert "CopyDisk" in home.asked()
