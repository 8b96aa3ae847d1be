"""The volumes of a running sandbox: a lock, a hotplugged disk and a mount each, added and removed live.

What is plugged in is asked of QEMU, not remembered. One change at a time. A change that fails leaves nothing half
done. A disk is never unplugged under a mounted file system: one that programs use stays, and they are named.
"""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from sandboxfile.errors import BusyError, GuestError, NotFoundError, SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.saying import say
from sandboxfile.host.volumes import hold_volume
from sandboxfile.model.desired import Mount
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.vm.launch import RunningMachine
from sandboxfile.vm.plugged_disks import grow_plugged_disk, plug_disk, unplug_disk

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

_TOOLS = "/run/sbx/bin"
_MOUNT_TIMEOUT = 60.0  # seconds
_UNMOUNT_TIMEOUT = 90.0  # it writes out what is not yet on the disk
_GROW_TIMEOUT = 300.0


@dataclass(slots=True)
class _Plugged:
    tag: str  # the disk's serial number as well
    mount: Mount
    lock: int
    mounted: bool = False


class Volumes:
    """Those of one machine. `machine` and `guest` are set when they are there."""

    def __init__(self, layout: Layout, id: SandboxId) -> None:
        self._layout = layout
        self._id = id
        self._by_target: dict[str, _Plugged] = {}
        self._count = 0
        self._turn = anyio.Lock()
        self.machine: RunningMachine | None = None
        self.guest: Guest | None = None

    # --- at boot -------------------------------------------------------------------------------------------------

    async def hold_all(self, mounts: Sequence[Mount]) -> None:
        """Take all of them, so that nobody else has them; needs no machine yet. Raises BusyError, NotFoundError."""
        for mount in mounts:
            self._by_target[mount.target] = await self._hold(mount)

    async def plug_all(self, machine: RunningMachine) -> None:
        """Plug them in; the guest may still be booting."""
        self.machine = machine
        for plugged in self._by_target.values():
            await self._plug(plugged)

    async def mount_all(self) -> None:
        """Mount all of them, in one go. Raises GuestError."""
        await self._mount(sorted(self._by_target))

    # --- while running -------------------------------------------------------------------------------------------

    async def attach(self, mount: Mount) -> None:
        """Have this volume there. Raises what taking, plugging or mounting it raises."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if mount not in await self.attached():
                    for target, plugged in list(self._by_target.items()):
                        if target == mount.target or plugged.mount.volume == mount.volume:
                            await self._detach(target)
                    await self._attach(mount)
                else:
                    await self._mount([mount.target])

    async def detach(self, target: str) -> None:
        """Have no volume there. Raises BusyError, and leaves it as it is, when programs use it."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                await self._detach(target)

    async def grow(self, volume: str, size: int) -> None:
        """Make the disk of a volume that is plugged in larger, and its file system. Raises NotFoundError."""
        async with self._turn:
            found = [each for each in self._by_target.values() if each.mount.volume == volume]
            if not found or self.machine is None:
                raise NotFoundError(f"the volume {volume} is not plugged into {self._id}", hint="plan again")
            await grow_plugged_disk(self.machine, found[0].tag, size)
            await self._mount([found[0].mount.target], _GROW_TIMEOUT)

    async def mount_below(self, target: str) -> None:
        """Mount those again that went away with the mount of a workspace around them."""
        async with self._turn:
            inside = [other for other, plugged in self._by_target.items() if plugged.mounted]
            await self._mount(sorted(other for other in inside if other.startswith(f"{target}/")))

    async def attached(self) -> tuple[Mount, ...]:
        """Those that the machine has, and that were mounted."""
        if self.machine is None or not self._by_target:
            return ()
        devices = await self.machine.qmp.devices()
        return tuple(
            plugged.mount
            for _, plugged in sorted(self._by_target.items())
            if plugged.mounted and any(device.endswith(f"-{plugged.tag}") for device in devices)
        )

    def close(self) -> None:
        """Let others have them; the machine has ended."""
        for plugged in self._by_target.values():
            os.close(plugged.lock)
        self._by_target.clear()

    # --- one change ----------------------------------------------------------------------------------------------

    async def _hold(self, mount: Mount) -> _Plugged:
        lock = await hold_volume(self._layout, VolumeId(self._id.project, mount.volume), self._id)
        self._count += 1
        return _Plugged(f"volume{self._count}", mount, lock)

    async def _plug(self, plugged: _Plugged) -> None:
        assert self.machine is not None
        disk = self._layout.volume(VolumeId(self._id.project, plugged.mount.volume)).disk
        await plug_disk(self.machine, plugged.tag, disk, plugged.lock)

    async def _attach(self, mount: Mount) -> None:
        plugged = await self._hold(mount)
        try:
            await self._plug(plugged)
        except BaseException:
            os.close(plugged.lock)
            raise
        self._by_target[mount.target] = plugged
        try:
            await self._mount([mount.target])
        except SandboxfileError:
            with suppress(SandboxfileError):
                await self._detach(mount.target)
            raise
        say(f"volume {mount.volume} mounted at {mount.target}")

    async def _detach(self, target: str) -> None:
        plugged = self._by_target.get(target)
        if plugged is None:
            return
        assert self.machine is not None
        code, output = await self._run(f"{_TOOLS}/sbx-umount-volume", plugged.tag, target, timeout=_UNMOUNT_TIMEOUT)
        if code != 0:
            raise BusyError(
                f"the volume {plugged.mount.volume} cannot be unmounted: {output.strip().partition(': ')[2]}",
                hint=f"end those programs, or restart the sandbox: sbx restart {self._id.name}",
            )
        plugged.mounted = False
        # Powered off by hand, the guest lets go in one second; otherwise it waits five for somebody's second thoughts.
        power = f"/sys/bus/pci/slots/{self.machine.slot_number(plugged.tag)}/power"
        await self._run(f"{_TOOLS}/sh", "-c", f"echo 0 >{power}")
        await unplug_disk(self.machine, plugged.tag)
        os.close(plugged.lock)
        del self._by_target[target]
        say(f"volume {plugged.mount.volume} unplugged")

    async def _mount(self, targets: Sequence[str], timeout: float = _MOUNT_TIMEOUT) -> None:
        if not targets:
            return
        words = [f"{_TOOLS}/sbx-mount-volume {self._by_target[each].tag} {shlex.quote(each)}" for each in targets]
        argv = (f"{_TOOLS}/sh", "-c", " && ".join(words))
        code, output = await self._run(*argv, timeout=timeout)
        if code != 0:
            raise GuestError("a volume cannot be mounted", command=argv, output=output)
        for target in targets:
            self._by_target[target].mounted = True

    async def _run(self, *argv: str, timeout: float = 30.0) -> tuple[int, str]:
        assert self.guest is not None
        ended = await self.guest.run(argv, timeout=timeout)
        return ended.code, ended.output
