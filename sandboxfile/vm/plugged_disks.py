"""Disks that come and go while a machine runs: virtio-blk in a hotplug slot, found inside by its serial number.

QEMU gets the open file, never a name; what stands in the disk's own header about files beneath it is not followed.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandboxfile.errors import MachineError
from sandboxfile.vm.launch import RunningMachine
from sandboxfile.vm.machine import slot_bus

# Sets of descriptors, one for each slot; the disks of the start have lower numbers.
_FIRST_SET, _FIRST_LOCK = 100, 200


async def plug_disk(machine: RunningMachine, tag: str, disk: Path, lock: int) -> None:
    """Make a qcow2 file appear in the guest as a disk with the serial number `tag` (up to 20 of [a-z0-9]).

    Nobody else may use the file: that is what `lock` stands for, a descriptor of which QEMU keeps a copy for as long as
    it has the disk. Raises MachineError when it cannot be opened, all slots are taken, or QEMU refuses.
    """
    try:
        descriptor = os.open(disk, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as exc:
        raise MachineError(f"cannot open the disk {disk}: {exc.strerror}") from exc
    try:
        slot = machine.take_slot(tag)
        try:
            await _add(machine, slot, tag, descriptor, lock)
        except BaseException:
            await _remove_file(machine, slot, tag)
            machine.free_slot(tag)
            raise
    finally:
        os.close(descriptor)


async def unplug_disk(machine: RunningMachine, tag: str, timeout: float = 20.0) -> None:
    """Take a disk away, which the guest must agree to; unmount it there first. All that was written is in the file.

    Raises MachineError when the guest does not let go within `timeout` seconds.
    """
    slot = machine.slot_number(tag) - 1
    await machine.unplug_device(disk_device(slot, tag), f"disk {tag}", timeout)
    await machine.when_free("blockdev-del", {"node-name": tag})
    for first in (_FIRST_SET, _FIRST_LOCK):
        await machine.qmp.execute("remove-fd", {"fdset-id": first + slot})
    machine.free_slot(tag)


async def grow_plugged_disk(machine: RunningMachine, tag: str, size: int) -> None:
    """Make it larger; the guest sees it at once, its file system grows separately."""
    if size > await machine.qmp.disk_size(tag):
        await machine.qmp.grow_disk(size, tag)


def disk_device(slot: int, tag: str) -> str:
    """The device's id, as `Qmp.devices` has it."""
    return f"disk-{slot}-{tag}"


async def _add(machine: RunningMachine, slot: int, tag: str, descriptor: int, lock: int) -> None:
    number = _FIRST_SET + slot
    await machine.qmp.execute("add-fd", {"fdset-id": _FIRST_LOCK + slot}, fd=lock)
    await machine.qmp.execute("add-fd", {"fdset-id": number}, fd=descriptor)
    node: dict[str, Any] = {
        **{"driver": "qcow2", "node-name": tag, "backing": None, "discard": "unmap", "detect-zeroes": "unmap"},
        "file": {"driver": "file", "filename": f"/dev/fdset/{number}", "discard": "unmap"},
    }
    await machine.qmp.execute("blockdev-add", node)
    device = {"driver": "virtio-blk-pci", "id": disk_device(slot, tag), "bus": slot_bus(slot)}
    await machine.qmp.execute("device_add", {**device, "drive": tag, "serial": tag})


async def _remove_file(machine: RunningMachine, slot: int, tag: str) -> None:
    """What came before the failure, as far as it came."""
    with suppress(MachineError):
        await machine.qmp.execute("blockdev-del", {"node-name": tag})
    for first in (_FIRST_SET, _FIRST_LOCK):
        with suppress(MachineError):
            await machine.qmp.execute("remove-fd", {"fdset-id": first + slot})
