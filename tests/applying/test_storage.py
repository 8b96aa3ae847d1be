"""A sandbox's directory: whole or not at all, whatever happens when."""

import json
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio
import pytest

from sandboxfile.applying import storage
from sandboxfile.errors import BuildError, BusyError, HostError
from sandboxfile.host import history
from sandboxfile.host.checkpoints import list_checkpoints, make_checkpoint
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import (
    ensure_directories,
    is_locked,
    read_record,
    sandbox_directories,
    try_lock,
    write_record,
)
from sandboxfile.images.store import find_image
from sandboxfile.model.desired import DesiredSandbox, Image, Resources
from sandboxfile.names import BUILDS, SandboxId
from sandboxfile.vm.disks import disk_size

DIGEST = "d" * 64
WEB = DesiredSandbox(SandboxId("shop", "web"), "shell", Image(DIGEST), resources=Resources(1, 1, 1 << 20))
SOURCE = "/p/sandbox.yaml"
CONTENT = b"image" + bytes(100_000) + b"end"


@pytest.fixture
def layout(tmp_path, keep_image):
    """A state with one image in the cache."""
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    keep_image(layout, DIGEST, disk=CONTENT)
    return layout


def create(layout, spec=WEB):
    anyio.run(storage.create, layout, spec, SOURCE)


def left_over(layout):
    """Everything below sandboxes and trash that is not a whole sandbox."""
    found = [path.name for path in layout.trash.iterdir()]
    for project in layout.sandboxes.iterdir():
        found += [path.name for path in project.iterdir() if path.name.startswith(".")]
    return found


def test_a_new_sandbox_has_its_image_its_disk_and_its_record(layout):
    create(layout)
    paths = layout.sandbox(WEB.id)
    assert paths.base.read_bytes() == CONTENT
    assert paths.base.samefile(layout.images / DIGEST / "rootfs.ext4")
    assert anyio.run(disk_size, paths.disk) == 1 << 20
    applied = read_record(paths)
    assert (applied.spec, applied.source, applied.setup_done) == (WEB, SOURCE, 0)
    assert applied.content == f"sha256:{DIGEST}"
    assert paths.tree.samefile(layout.images / DIGEST / "tree.gz")
    assert json.loads(paths.image.read_bytes())["content"] == applied.content
    assert applied.created_at.endswith("+00:00")
    assert sandbox_directories(layout) == [("shop", "web")]
    assert left_over(layout) == []


def test_an_image_is_of_use_when_a_sandbox_is_made_from_it(layout):
    manifest = layout.images / DIGEST / "manifest.json"
    os.utime(manifest, (1, 1))
    create(layout)
    assert find_image(layout, DIGEST).used > 1


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("too", [True, False])
def test_checkpoints_go_only_when_that_is_meant(layout, keep, too):
    create(layout)
    paths = layout.sandbox(WEB.id)
    make_checkpoint(paths, "good")
    anyio.run(partial(storage.delete, layout, WEB.id, keep=keep, checkpoints=too))
    assert not paths.root.exists()
    assert [each.label for each in list_checkpoints(paths)] == ([] if too else ["good"])
    assert list(layout.trash.iterdir()) == []
    if too:
        assert list(layout.sandboxes.iterdir()) == []


def test_what_a_killed_checkpoint_left_is_swept(layout):
    create(layout)
    place = layout.sandbox(WEB.id).checkpoints
    make_checkpoint(layout.sandbox(WEB.id), "good")
    (place / ".new-other").mkdir()
    storage.sweep(layout, "other")
    assert (place / ".new-other").exists()
    storage.sweep(layout, "shop")
    assert [path.name for path in place.iterdir()] == ["good"]


def test_creating_again_keeps_what_is_there(layout):
    create(layout)
    disk = layout.sandbox(WEB.id).disk.stat().st_ino
    create(layout)
    assert layout.sandbox(WEB.id).disk.stat().st_ino == disk


def test_another_sandbox_of_that_name_is_not_replaced(layout):
    create(layout)
    other = DesiredSandbox(WEB.id, "other", WEB.image)
    with pytest.raises(HostError, match="exists already"):
        create(layout, other)
    assert read_record(layout.sandbox(WEB.id)).spec == WEB


def test_without_its_image_nothing_is_made(layout):
    with pytest.raises(BuildError, match="no longer in the cache"):
        create(layout, DesiredSandbox(WEB.id, "other", Image("e" * 64)))
    assert sandbox_directories(layout) == []


@pytest.mark.parametrize("place", ["link_or_copy", "create_overlay", "write_record", "_on_disk"])
@pytest.mark.parametrize("how", [HostError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_nothing(layout, monkeypatch, place, how):
    def fail(*_):
        raise how("no")

    monkeypatch.setattr(storage, place, fail)
    with pytest.raises(how):
        create(layout)
    assert (sandbox_directories(layout), left_over(layout)) == ([], [])


@pytest.mark.parametrize("place", ["link_or_copy", "create_overlay", "write_record", "_on_disk"])
def test_what_is_killed_half_way_is_no_sandbox_and_swept_by_the_next_apply(layout, monkeypatch, place):
    def fail(*_):
        raise HostError("killed")

    monkeypatch.setattr(storage, place, fail)
    monkeypatch.setattr(storage, "_remove_tree", lambda path: None)  # nothing tidies up after SIGKILL
    with pytest.raises(HostError):
        create(layout)
    monkeypatch.undo()
    assert (sandbox_directories(layout), left_over(layout)) == ([], [".new-web"])
    storage.sweep(layout, "other")
    assert left_over(layout) == [".new-web"]
    storage.sweep(layout, "shop")
    assert left_over(layout) == []
    create(layout)


def test_copies_of_disks_that_killed_commands_left_are_swept_by_the_next_apply(layout):
    create(layout)
    paths = layout.sandbox(WEB.id)
    paths.checkpoints.mkdir(parents=True)
    (paths.checkpoints / "mine").mkdir()
    (paths.root / ".coming.qcow2").write_text("of a restore")
    for name in (".fork", ".gone", ".new-half"):
        (paths.checkpoints / name).mkdir()
    lock = try_lock(paths.lock)
    storage.sweep(layout, "other")
    assert (paths.root / ".coming.qcow2").exists()
    storage.sweep(layout, "shop")  # its supervisor may still be copying
    assert sorted(entry.name for entry in paths.checkpoints.iterdir()) == [".new-half", "mine"]
    assert not (paths.root / ".coming.qcow2").exists()
    os.close(lock)
    storage.sweep(layout, "shop")
    assert [entry.name for entry in paths.checkpoints.iterdir()] == ["mine"]


def test_a_leftover_is_no_hindrance_even_unswept(layout):
    (layout.sandboxes / "shop/.new-web/x").mkdir(parents=True)
    create(layout)
    assert left_over(layout) == []


def test_deleting_leaves_nothing_and_again_is_as_good(layout):
    create(layout)
    control = layout.sandbox(WEB.id).control
    control.touch()
    for _ in range(2):
        anyio.run(storage.delete, layout, WEB.id)
        assert list(layout.sandboxes.iterdir()) == list(layout.trash.iterdir()) == []
        assert not control.exists()
    assert (layout.images / DIGEST / "rootfs.ext4").read_bytes() == CONTENT


def test_deleting_one_leaves_the_other(layout):
    create(layout)
    api = DesiredSandbox(SandboxId("shop", "api"), "shell", WEB.image, resources=WEB.resources)
    create(layout, api)
    anyio.run(storage.delete, layout, WEB.id)
    assert sandbox_directories(layout) == [("shop", "api")]


def test_one_that_runs_is_not_deleted(layout):
    create(layout)
    lock = try_lock(layout.sandbox(WEB.id).lock)
    with pytest.raises(BusyError):
        anyio.run(storage.delete, layout, WEB.id)
    os.close(lock)
    assert layout.sandbox(WEB.id).disk.exists()
    assert not is_locked(layout.sandbox(WEB.id).lock)


def test_deleting_killed_half_way_is_finished_by_the_next_apply(layout, monkeypatch):
    create(layout)
    monkeypatch.setattr(storage, "_remove_tree", lambda path: None)
    anyio.run(storage.delete, layout, WEB.id)
    monkeypatch.undo()
    assert sandbox_directories(layout) == []
    assert len(left_over(layout)) == 1
    storage.sweep(layout, "any")
    assert left_over(layout) == []


def test_a_deletion_in_the_middle_does_not_take_the_project_from_under_a_creation(layout, monkeypatch):
    """It was the last one there, so it removed the project's directory."""
    original = storage._remove_tree

    def remove(path):
        original(path)
        path.parent.rmdir()

    (layout.sandboxes / "shop").mkdir()
    monkeypatch.setattr(storage, "_remove_tree", remove)
    create(layout)
    assert sandbox_directories(layout) == [("shop", "web")]


def test_creating_and_deleting_at_the_same_time_in_one_project(layout):
    """A replaced sandbox and a new one: the deletion must not take the project's directory from under the creation."""
    specs = [DesiredSandbox(SandboxId("shop", f"b{n}"), "s", WEB.image, resources=WEB.resources) for n in range(6)]

    async def both():
        async with anyio.create_task_group() as group:
            for spec in specs:
                group.start_soon(storage.create, layout, spec, SOURCE)
                group.start_soon(storage.delete, layout, WEB.id)

    create(layout)
    anyio.run(both)
    assert sandbox_directories(layout) == [("shop", spec.id.name) for spec in specs]


@pytest.fixture
def build_machine(layout):
    """The directory of a build machine, and whatever may stand beside it."""
    id = SandboxId(BUILDS, "0123")
    paths = layout.sandbox(id)
    paths.root.mkdir(parents=True)
    (paths.root / "disk.qcow2").touch()
    paths.control.touch()
    return paths


@pytest.mark.parametrize("hold", ["left behind", "none"])
def test_the_machine_of_a_killed_builder_is_swept(layout, build_machine, hold):
    if hold == "left behind":
        layout.build_hold("0123").touch()
    (build_machine.root.parent / ".new-0123").mkdir()
    storage.sweep(layout, "shop")
    assert not build_machine.root.parent.exists()
    assert not build_machine.control.exists()


def test_the_machine_of_a_living_builder_is_not_swept(layout, build_machine):
    hold = try_lock(layout.build_hold("0123"))
    storage.sweep(layout, "shop")
    assert build_machine.root.exists()
    os.close(hold)


def test_a_build_machine_that_still_runs_is_left_to_the_next_sweep(layout, build_machine):
    running = try_lock(build_machine.lock)
    storage.sweep(layout, "shop")
    assert build_machine.root.exists()
    os.close(running)
    storage.sweep(layout, "shop")
    assert not build_machine.root.exists()


def test_nobody_sees_build_machines(layout, build_machine):
    assert sandbox_directories(layout) == []


# --- put aside, and back -----------------------------------------------------------------------------------------


def remembered(layout):
    history.begin(layout, "shop", datetime.now(UTC))


def test_one_to_go_back_to_is_put_aside_and_comes_back_with_its_disk(layout):
    create(layout)
    paths = layout.sandbox(WEB.id)
    paths.disk.write_bytes(b"precious")
    remembered(layout)
    anyio.run(partial(storage.delete, layout, WEB.id, keep=True))
    assert sandbox_directories(layout) == []
    storage.bring_back(layout, WEB.id)
    assert paths.disk.read_bytes() == b"precious"
    assert read_record(paths).spec == WEB
    storage.bring_back(layout, WEB.id)  # done already
    assert left_over(layout) == []


def test_one_that_was_made_since_is_deleted_and_takes_no_place(layout):
    create(layout)
    remembered(layout)
    anyio.run(partial(storage.delete, layout, WEB.id, keep=True))
    paths = layout.sandbox(WEB.id)
    create(layout)
    write_record(paths, replace(read_record(paths), created_at="2099-01-01T00:00:00+00:00"))
    anyio.run(partial(storage.delete, layout, WEB.id, keep=True))
    assert sandbox_directories(layout) == []
    storage.bring_back(layout, WEB.id)
    assert read_record(paths).created_at != "2099-01-01T00:00:00+00:00"


def test_one_whose_record_cannot_be_read_is_deleted_all_the_same(layout):
    create(layout)
    remembered(layout)
    layout.sandbox(WEB.id).record.write_text("{")
    anyio.run(partial(storage.delete, layout, WEB.id, keep=True))
    assert not layout.kept(WEB.id).exists()
    assert left_over(layout) == []


def test_what_was_put_aside_does_not_replace_another_and_is_missed_when_it_is_gone(layout):
    create(layout)
    remembered(layout)
    anyio.run(partial(storage.delete, layout, WEB.id, keep=True))
    create(layout)
    with pytest.raises(HostError, match="there is a sandbox"):
        storage.bring_back(layout, WEB.id)
    anyio.run(storage.delete, layout, WEB.id)
    history.drop_kept(layout, WEB.id)
    with pytest.raises(HostError, match="no longer there"):
        storage.bring_back(layout, WEB.id)


@pytest.mark.parametrize("survived", range(4))
def test_whatever_putting_aside_and_bringing_back_is_killed_at_the_disk_is_in_one_of_two_places(
    layout, survived, monkeypatch
):
    class Killed(BaseException):
        pass

    left = [survived]

    def mortal(function):
        def call(*given):
            if not left[0]:
                raise Killed
            left[0] -= 1
            return function(*given)

        return call

    create(layout)
    paths = layout.sandbox(WEB.id)
    paths.disk.write_bytes(b"precious")
    remembered(layout)
    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(Path, "rename", mortal(Path.rename))
        patch.setattr(storage, "sync_directory", mortal(storage.sync_directory))
        anyio.run(partial(storage.delete, layout, WEB.id, keep=True))
        storage.bring_back(layout, WEB.id)
    places = [place / paths.disk.name for place in (paths.root, layout.kept(WEB.id))]
    assert [place.read_bytes() for place in places if place.exists()] == [b"precious"]
    storage.bring_back(layout, WEB.id)
    assert paths.disk.read_bytes() == b"precious"
