"""Overlays, with the real qemu-img."""

import json
import subprocess

import pytest

from sandboxfile.errors import HostError, MachineError
from sandboxfile.vm.disks import create_overlay, disk_size, grow_disk

pytestmark = pytest.mark.anyio
MEBIBYTE = 1 << 20


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.raw"
    with path.open("wb") as file:
        file.truncate(4 * MEBIBYTE)
    return path


def described(disk):
    return json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", disk]))


async def test_an_overlay_has_its_size_and_names_nothing_beneath_it(base, tmp_path):
    disk = tmp_path / "disk.qcow2"
    await create_overlay(base, disk, 64 * MEBIBYTE)
    found = described(disk)
    assert (found["format"], found["virtual-size"]) == ("qcow2", 64 * MEBIBYTE)
    assert "backing-filename" not in found
    assert await disk_size(disk) == 64 * MEBIBYTE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.raw", "disk.qcow2"]


async def test_an_existing_disk_is_never_replaced(base, tmp_path):
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(b"somebody's work")
    with pytest.raises(HostError, match="exists already"):
        await create_overlay(base, disk, 64 * MEBIBYTE)
    assert disk.read_bytes() == b"somebody's work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.raw", "disk.qcow2"]


async def test_a_disk_smaller_than_its_image_is_refused(base, tmp_path):
    with pytest.raises(MachineError, match="smaller than its image"):
        await create_overlay(base, tmp_path / "disk.qcow2", 4 * MEBIBYTE - 512)
    assert not (tmp_path / "disk.qcow2").exists()


async def test_a_failure_of_the_program_leaves_nothing_and_says_the_command(base, tmp_path):
    with pytest.raises(HostError) as caught:
        await create_overlay(base, tmp_path / "missing/disk.qcow2", 64 * MEBIBYTE)
    assert caught.value.command[:2] == ("qemu-img", "create")


async def test_a_disk_grows_and_never_shrinks(base, tmp_path):
    disk = tmp_path / "disk.qcow2"
    await create_overlay(base, disk, 64 * MEBIBYTE)
    await grow_disk(disk, 128 * MEBIBYTE)
    assert await disk_size(disk) == 128 * MEBIBYTE
    await grow_disk(disk, 32 * MEBIBYTE)
    assert described(disk)["virtual-size"] == 128 * MEBIBYTE


@pytest.mark.parametrize("content", [b"", b"QFI\xfb", b"no disk" * 100])
async def test_what_is_no_disk_has_no_size(tmp_path, content):
    path = tmp_path / "disk.qcow2"
    path.write_bytes(content)
    with pytest.raises(MachineError, match="not a qcow2 disk"):
        await disk_size(path)
    with pytest.raises(MachineError, match="cannot read"):
        await disk_size(tmp_path / "none")
