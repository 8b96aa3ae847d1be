"""Disks that come and go while a machine runs: what the guest sees of them, what the host keeps, who may have them."""

import os
import subprocess

import pytest

from sandboxfile.errors import MachineError
from sandboxfile.host.process import run
from sandboxfile.host.statedir import is_locked, try_lock
from sandboxfile.vm.disks import disk_size
from sandboxfile.vm.plugged_disks import disk_device, grow_plugged_disk, plug_disk, unplug_disk

pytestmark = [pytest.mark.vm, pytest.mark.anyio]

MEBIBYTE = 1 << 20


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(64 * MEBIBYTE)], check=True)
    return path


@pytest.fixture
def lock(tmp_path):
    handle = try_lock(tmp_path / "lock")
    assert handle is not None
    yield handle
    os.close(handle)


FIND = "until dev=$(grep -lx {} /sys/block/vd*/serial 2>/dev/null); do sleep 0.05; done; dev=${{dev%/serial}}; "
DEVICE = FIND + "dev=/dev/${{dev##*/}}; "


async def power_off(guest, tag):
    await guest.run(f"echo 0 >/sys/bus/pci/slots/{guest.machine.slot_number(tag)}/power")


async def test_what_is_written_to_a_plugged_disk_is_in_its_file_when_it_is_unplugged(guest, disk, lock, tmp_path):
    await plug_disk(guest.machine, "volume1", disk, lock)
    size = await guest.run(DEVICE.format("volume1") + "blockdev --getsize64 $dev")
    assert size == str(64 * MEBIBYTE)
    await guest.run(DEVICE.format("volume1") + "echo written | dd of=$dev conv=notrunc 2>/dev/null; sync")
    await power_off(guest, "volume1")
    await unplug_disk(guest.machine, "volume1")
    assert await guest.run("grep -lx volume1 /sys/block/vd*/serial || echo none") == "none"
    raw = tmp_path / "raw"
    await run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], what="read it")  # nobody has it any more
    assert raw.read_bytes()[:8] == b"written\n"
    await plug_disk(guest.machine, "volume2", disk, lock)
    assert await guest.run(DEVICE.format("volume2") + "head -n 1 $dev") == "written"
    await power_off(guest, "volume2")
    await unplug_disk(guest.machine, "volume2")


async def test_it_grows_while_it_is_plugged_in_and_never_shrinks(guest, disk, lock):
    await plug_disk(guest.machine, "volume3", disk, lock)
    for size, expected in ((128, 128), (64, 128)):
        await grow_plugged_disk(guest.machine, "volume3", size * MEBIBYTE)
        found = await guest.run(DEVICE.format("volume3") + "blockdev --getsize64 $dev")
        assert found == str(expected * MEBIBYTE)
    await power_off(guest, "volume3")
    await unplug_disk(guest.machine, "volume3")
    assert await disk_size(disk) == 128 * MEBIBYTE


async def test_the_lock_is_held_for_as_long_as_qemu_has_the_disk(guest, disk, tmp_path):
    handle = try_lock(tmp_path / "lock")
    assert handle is not None
    await plug_disk(guest.machine, "volume4", disk, handle)
    os.close(handle)  # as when the supervisor dies
    assert is_locked(tmp_path / "lock")
    await guest.run(DEVICE.format("volume4"))
    await power_off(guest, "volume4")
    await unplug_disk(guest.machine, "volume4")
    assert not is_locked(tmp_path / "lock")


async def test_what_cannot_be_plugged_in_leaves_nothing(guest, lock, tmp_path):
    torn, link = tmp_path / "torn", tmp_path / "link"
    torn.write_bytes(b"no qcow2 at all" * 100)
    link.symlink_to("/etc/passwd")
    before = await guest.machine.qmp.devices()
    for path in (torn, link, tmp_path / "missing"):
        with pytest.raises(MachineError):
            await plug_disk(guest.machine, "volume5", path, lock)
    assert await guest.machine.qmp.devices() == before
    sets = {each["fdset-id"] for each in await guest.machine.qmp.execute("query-fdsets")}
    assert sets <= {1, 2, 3}


async def test_what_a_disk_says_of_files_beneath_it_is_not_followed(guest, lock, tmp_path):
    """A guest that has taken QEMU over could write that into the header of a disk that another sandbox gets next."""
    secret, disk = tmp_path / "secret", tmp_path / "disk.qcow2"
    secret.write_bytes(b"host only\n".ljust(MEBIBYTE, b"\0"))
    await run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(disk)], what="make it")
    assert str(secret) in await run(["qemu-img", "info", str(disk)], what="look at it")
    await plug_disk(guest.machine, "volume6", disk, lock)
    seen = await guest.run(DEVICE.format("volume6") + "head -c 9 $dev | od -An -c | tr -d ' '")
    assert set(seen) <= set("\\0*\n")
    await power_off(guest, "volume6")
    await unplug_disk(guest.machine, "volume6")


async def test_one_that_somebody_else_unplugged_is_cleared_up(guest, disk, lock):
    await plug_disk(guest.machine, "volume7", disk, lock)
    await guest.run(DEVICE.format("volume7"))
    slot = guest.machine.slot_number("volume7")
    assert disk_device(slot - 1, "volume7") in await guest.machine.qmp.devices()
    await power_off(guest, "volume7")
    await guest.machine.unplug_device(disk_device(slot - 1, "volume7"), "disk", 20)
    await unplug_disk(guest.machine, "volume7")
    await plug_disk(guest.machine, "volume7", disk, lock)
    await guest.run(DEVICE.format("volume7"))
    await power_off(guest, "volume7")
    await unplug_disk(guest.machine, "volume7")
