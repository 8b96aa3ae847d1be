"""A volume's directory: whole or not at all, whatever happens when; and that a file system is in its disk."""

import os
import subprocess

import anyio
import pytest

from sandboxfile.applying import volumes
from sandboxfile.applying.volumes import create_volume, delete_volume, grow_volume, record_volume
from sandboxfile.control.messages import GrowVolume
from sandboxfile.errors import BusyError, HostError, NotFoundError
from sandboxfile.host import volumes as holding
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, try_lock
from sandboxfile.host.volumes import hold_volume, volume_ids, volume_source
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.vm.disks import disk_size

DATA, WEB = VolumeId("shop", "data"), SandboxId("shop", "web")
GIB = 1 << 30


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    return layout


def size_of(layout):
    return anyio.run(disk_size, layout.volume(DATA).disk)


def test_a_new_volume_is_an_empty_file_system_of_the_sandboxes_user(layout, tmp_path):
    anyio.run(create_volume, layout, DATA, GIB, "/f")
    paths = layout.volume(DATA)
    assert sorted(path.name for path in paths.root.iterdir()) == ["disk.qcow2", "record.json"]
    assert volume_source(layout, DATA) == "/f"
    assert size_of(layout) == GIB
    assert paths.disk.stat().st_blocks * 512 < 4 << 20
    raw = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(paths.disk), str(raw)], check=True)
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(["e2fsck", "-fn", str(raw)], check=True, capture_output=True, env=environment)
    listed = subprocess.run(
        ["debugfs", "-R", "ls -l /", str(raw)], check=True, capture_output=True, text=True, env=environment
    ).stdout
    entries = [line.split() for line in listed.splitlines() if line.strip()]
    assert [entry[-1] for entry in entries] == [".", ".."]
    assert entries[0][3:5] == ["1000", "1000"]


def test_made_again_a_volume_keeps_what_is_on_it_and_grows_at_most(layout):
    anyio.run(create_volume, layout, DATA, GIB, "/f")
    before = layout.volume(DATA).disk.stat().st_ino
    anyio.run(create_volume, layout, DATA, 2 * GIB, "/another")
    assert volume_source(layout, DATA) == "/f"
    anyio.run(create_volume, layout, DATA, GIB)
    assert layout.volume(DATA).disk.stat().st_ino == before
    assert size_of(layout) == 2 * GIB


@pytest.mark.parametrize("failing", ["mke2fs", "debugfs", "qemu-img"])
def test_a_volume_that_cannot_be_made_leaves_nothing(layout, monkeypatch, failing):
    real = volumes.run

    async def run(argv, **options):
        if argv[0] == failing:
            raise HostError("no room")
        return await real(argv, **options)

    monkeypatch.setattr(volumes, "run", run)
    with pytest.raises(HostError, match="no room"):
        anyio.run(create_volume, layout, DATA, GIB)
    assert list((layout.volumes / "shop").iterdir()) == []


def test_what_a_killed_apply_left_half_made_is_no_hindrance(layout):
    for left in (layout.volumes / "shop" / ".new-data", layout.volume(DATA).root):
        left.mkdir(parents=True)
        (left / "raw").touch()
    anyio.run(create_volume, layout, DATA, GIB)
    assert volume_ids(layout) == [DATA]
    assert [path.name for path in (layout.volumes / "shop").iterdir()] == ["data"]


def test_another_file_is_remembered_as_that_of_a_volume_which_must_be_there(layout):
    with pytest.raises(NotFoundError):
        record_volume(layout, DATA, "/f")
    anyio.run(create_volume, layout, DATA, GIB, "/f")
    record_volume(layout, DATA, "/another")
    assert volume_source(layout, DATA) == "/another"


def test_a_volume_that_a_sandbox_has_grows_in_it(layout, monkeypatch):
    asked = []

    async def request(socket, message, timeout):
        asked.append((socket, message))

    anyio.run(create_volume, layout, DATA, GIB)
    monkeypatch.setattr(volumes, "request", request)
    handle = anyio.run(hold_volume, layout, DATA, WEB)
    layout.sandbox(WEB).root.mkdir(parents=True)
    running = try_lock(layout.sandbox(WEB).lock)
    anyio.run(grow_volume, layout, DATA, 2 * GIB)
    assert asked == [(layout.sandbox(WEB).control, GrowVolume("data", 2 * GIB))]
    assert size_of(layout) == GIB
    os.close(running)
    os.close(handle)
    anyio.run(grow_volume, layout, DATA, 2 * GIB)
    assert len(asked) == 1
    assert size_of(layout) == 2 * GIB


def test_a_volume_is_deleted_as_a_whole_unless_a_sandbox_has_it(layout, monkeypatch):
    monkeypatch.setattr(holding, "_PATIENCE", 0.0)
    anyio.run(create_volume, layout, DATA, GIB)
    handle = anyio.run(hold_volume, layout, DATA, WEB)
    with pytest.raises(BusyError, match="shop/web"):
        anyio.run(delete_volume, layout, DATA)
    assert volume_ids(layout) == [DATA]
    os.close(handle)
    anyio.run(delete_volume, layout, DATA)
    anyio.run(delete_volume, layout, DATA)
    assert list(layout.volumes.iterdir()) == []
    assert list(layout.trash.iterdir()) == []
