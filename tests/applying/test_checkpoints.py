"""Checkpoints of sandboxes on disk: made, gone back to, and made another sandbox. Disks are real, machines are not."""

import errno
import os
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
DIGEST, OTHER = "d" * 64, "e" * 64
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


@pytest.fixture
def replaced(layout, keep_image):
    """The sandbox, made anew from another template since its checkpoint `good`; gives what it is now."""
    paths = layout.sandbox(WEB.id)
    mark(layout, "first")
    write_record(paths, replace(read_record(paths), setup_done=1))
    run(checkpoints.checkpoint, layout, WEB.id, "good")
    keep_image(layout, OTHER, disk=b"other" + bytes(2000))
    spec = replace(WEB, template="dev", image=Image(OTHER), agent="claude", env=(("A", "b"),), user="dev")
    run(storage.delete, layout, WEB.id, keep=True)
    run(storage.create, layout, spec, "/p/sandbox.yaml")
    mark(layout, "second")
    paths.authority.write_text("its own")
    return spec


def test_a_disk_from_before_a_replacement_comes_back_with_what_is_beneath_it(layout, replaced):
    paths = layout.sandbox(WEB.id)
    now = read_record(paths)
    run(checkpoints.restore, layout, WEB.id, "good")
    assert has(paths.disk, "first")
    assert paths.base.read_bytes().startswith(b"image")
    assert paths.base.samefile(find_checkpoint(paths, "good").paths.base)
    back = replace(replaced, template="shell", image=WEB.image, agent=WEB.agent, user=WEB.user)
    was = find_checkpoint(paths, "good").applied
    assert read_record(paths) == replace(now, spec=back, setup_done=1, content=was.content)
    assert paths.authority.read_text() == "its own"
    assert [path.name for path in paths.root.parent.iterdir() if path.name != "web"] == [".checkpoints"]
    os.close(try_lock(paths.lock))
    mark(layout, "third")
    run(checkpoints.restore, layout, WEB.id, "good")  # upon the same image by now
    assert not has(paths.disk, "third")


def test_a_file_system_that_cannot_exchange_directories_leaves_all_as_it_was(layout, replaced, monkeypatch):
    def refuse(*given):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(checkpoints, "exchange", refuse)
    with pytest.raises(HostError, match="Invalid argument") as caught:
        run(checkpoints.restore, layout, WEB.id, "good")
    assert "--checkpoint good" in caught.value.hint
    assert read_record(layout.sandbox(WEB.id)).spec == replaced
    assert sandbox_directories(layout) == [("shop", "web")]


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_the_exchange_it_is_the_one_or_the_other(layout, replaced, monkeypatch, before):
    def die(*given):
        if not before:
            exchange(*given)
        raise KeyboardInterrupt

    exchange = checkpoints.exchange
    monkeypatch.setattr(checkpoints, "exchange", die)
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda *given, **named: None)  # the dead clean nothing up
    with pytest.raises(KeyboardInterrupt):
        run(checkpoints.restore, layout, WEB.id, "good")
    monkeypatch.undo()
    paths = layout.sandbox(WEB.id)
    assert has(paths.disk, "second" if before else "first")
    assert read_record(paths).spec.template == ("dev" if before else "shell")
    storage.sweep(layout, "shop")
    assert sorted(path.name for path in paths.root.parent.iterdir()) == [".checkpoints", "web"]


def test_a_disk_that_was_larger_then_keeps_its_size(layout):
    paths = layout.sandbox(WEB.id)
    run(grow_disk, paths.disk, 4 * MIB)
    write_record(paths, replace(read_record(paths), spec=replace(WEB, resources=Resources(1, 1, 4 * MIB))))
    run(checkpoints.checkpoint, layout, WEB.id, "large")
    run(storage.delete, layout, WEB.id, keep=True)
    run(storage.create, layout, WEB, "/p/sandbox.yaml")
    run(checkpoints.restore, layout, WEB.id, "large")
    assert run(disk_size, paths.disk) == read_record(paths).spec.resources.disk == 4 * MIB


def test_one_that_a_plan_makes_takes_another_label_where_its_own_is_taken(layout):
    told = []
    for _ in range(2):
        run(checkpoints.checkpoint_before, layout, WEB.id, "before-20261121-223405", told.append)
    labels = [each.label for each in list_checkpoints(layout.sandbox(WEB.id))]
    assert sorted(labels) == ["before-20261121-223405", "before-20261121-223405-2"]
    assert told == ["copying the disk", "copying the disk, as before-20261121-223405-2"]


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
    run(checkpoints.checkpoint, layout, WEB.id, "good")
    find_checkpoint(layout.sandbox(WEB.id), "good").paths.tree.unlink()
    with pytest.raises(HostError):
        run(checkpoints.fork, layout, WEB.id, NEW, "good")
    assert sandbox_directories(layout) == [("shop", "web")]
    assert list(layout.sandbox(NEW.id).root.parent.iterdir()) == []


def test_a_running_one_is_asked_to_copy_its_disk_itself(home):
    async def ask():
        await machines.start(home.layout, home_id, home.told.append)
        await checkpoints.checkpoint(home.layout, home_id, "good")
        await machines.stop(home.layout, home_id, home.told.append)

    home_id = WEB.id
    anyio.run(ask)
    assert "CopyDisk" in home.asked()


@pytest.mark.parametrize("whole", [False, True], ids=["the disk alone", "with what is beneath it"])
def test_the_disk_of_a_fork_that_was_never_started_is_that_of_another_machine_whenever_it_comes_back(layout, whole):
    run(checkpoints.fork, layout, WEB.id, NEW, None)
    paths = layout.sandbox(NEW.id)
    run(checkpoints.checkpoint, layout, NEW.id, "new")
    paths.copied.unlink()  # its first start has made it a machine of its own
    run(checkpoints.checkpoint, layout, NEW.id, "own")
    if whole:
        write_record(paths, replace(read_record(paths), spec=replace(NEW, image=Image(OTHER))))
    run(checkpoints.restore, layout, NEW.id, "own")
    assert not paths.copied.exists()
    if whole:
        write_record(paths, replace(read_record(paths), spec=replace(NEW, image=Image(OTHER))))
    run(checkpoints.restore, layout, NEW.id, "new")
    assert paths.copied.exists()
