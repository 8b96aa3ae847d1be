"""Starts a machine and holds it: process, channels, network, QMP connection, hotplug slots. asyncio only.

Read this first. Whoever starts a machine owns it: drains its console (QEMU blocks otherwise), waits for its end, and
closes it. The machine dies with the process that started it.
"""

import os
import signal
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from sandboxfile.errors import MachineError
from sandboxfile.vm.descriptors import DescriptorSet
from sandboxfile.vm.ids import RunAs
from sandboxfile.vm.jail import JailedProcess, jail_failure, start_jailed
from sandboxfile.vm.machine import Descriptors, MachineSpec, qemu_arguments, slot_bus
from sandboxfile.vm.network import JailNetwork, places
from sandboxfile.vm.qmp import Event, Qmp
from sandboxfile.vm.shares import Share

_GREETING_TIMEOUT = 20.0  # seconds; 0.02 is usual
_PATIENCE = 5.0
_IN_USE = ("is busy", "is in use")  # what QEMU says of a character device, and of a block node


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What a machine boots from. `disk` is a qcow2 overlay of `base`; `tools` a read-only erofs image."""

    vmlinux: Path
    initrd: Path
    tools: Path
    base: Path
    disk: Path


async def start_machine(
    spec: MachineSpec,
    files: BootFiles,
    config: bytes,
    *,
    run_as: RunAs | None,
    monitor: socket.socket | None = None,
    ports: Collection[int],
) -> "RunningMachine":
    """Start QEMU in its jail; the guest boots meanwhile. `config` is what the guest reads as `opt/sbx/config`.

    `run_as` is `IdMap.run_as`: set for a root caller, and for no other. `monitor` listens: whoever
    connects to it speaks QMP to this QEMU. `ports` are the TCP ports besides 80 and 443 on which the
    guest reaches `RunningMachine.network`. Raises HostError or MachineError, with what QEMU printed.
    """
    listen = places(ports)
    descriptors = DescriptorSet()
    ours: list[socket.socket] = []

    def pair() -> int:
        number, end = descriptors.pair()
        ours.append(end)
        return number

    try:
        numbers = Descriptors(
            qmp=pair(),
            console=pair(),
            ports=tuple(pair() for _ in spec.ports),
            base=descriptors.open(files.base, os.O_RDONLY),
            disk=descriptors.open(files.disk, os.O_RDWR),
            tools=descriptors.open(files.tools, os.O_RDONLY),
            monitor=None if monitor is None else descriptors.own(os.dup(monitor.fileno())),
        )
        jailed = await start_jailed(
            qemu_arguments(spec, numbers),
            vmlinux=files.vmlinux,
            initrd=files.initrd,
            config=config,
            descriptors=descriptors,
            memory=spec.memory,
            kvm=spec.accelerator == "kvm",
            run_as=run_as,
            listen=listen,
        )
    except OSError as exc:
        _close_all(ours)
        raise MachineError(f"cannot open the machine's files: {exc}") from exc
    except BaseException:
        _close_all(ours)
        raise
    finally:
        descriptors.close()
    qmp, console, *channels = ours
    return await _greet(spec, jailed, qmp, console, channels)


@dataclass(slots=True)
class RunningMachine:
    """A QEMU that runs. `ports` are our connected ends by name; `console` is the guest's serial console, ours to drain.

    `pid` is QEMU's own, as this host sees it.
    """

    spec: MachineSpec
    ports: dict[str, socket.socket]
    console: socket.socket
    qmp: Qmp
    _jailed: JailedProcess
    _slots: dict[int, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        return self._jailed.pid

    @property
    def monitor_pid(self) -> int:
        """Bubblewrap's, the parent of all of the jail."""
        return self._jailed.process.pid

    @property
    def network(self) -> JailNetwork:
        """What the guest can reach: nothing, unless somebody accepts on these sockets."""
        return self._jailed.network

    @property
    def output(self) -> str:
        """What QEMU and its jail printed so far: empty, unless something is wrong."""
        return self._jailed.output.text()

    async def wait(self) -> int:
        """Wait for QEMU's end: its exit code, or 128 + the signal that ended it. Any number may wait."""
        code = await self._jailed.process.wait()
        return code if code >= 0 else 128 - code

    async def kill(self) -> int:
        """End QEMU with SIGKILL, wait until it is gone (its disk is free then), and give its exit code. Idempotent."""
        with anyio.CancelScope(shield=True):
            _kill(self._jailed)
            with anyio.move_on_after(_PATIENCE):
                await self.wait()
            if self._jailed.process.returncode is None:
                self._jailed.process.kill()  # the monitor, whose end ends QEMU as well
            await self.wait()
        return await self.wait()

    async def close(self) -> None:
        """Kill QEMU if need be, and close everything that is ours. Idempotent."""
        with anyio.CancelScope(shield=True):
            await self.kill()
            await self.qmp.close()
            _close_all([self.console, *self.ports.values()])
            await self._jailed.close()

    def slot_number(self, tag: str) -> int:
        """The slot of a share or a disk, as the guest counts: /sys/bus/pci/slots/NUMBER. Raises MachineError."""
        return self._slot(tag) + 1

    async def plug_share(self, tag: str, share: Share) -> None:
        """Make a share appear in the guest as virtiofs `tag` (up to 36 of [a-z0-9-]); takes over `share.socket`.

        The guest needs about 0.1 s to see it. Raises MachineError when all slots are taken or QEMU refuses.
        """
        slot = self.take_slot(tag)
        try:
            await self._add_share(slot, tag, share)
        except BaseException:
            self.free_slot(tag)
            raise
        finally:
            share.socket.close()

    async def unplug_share(self, tag: str, timeout: float = 20.0) -> None:
        """Take a share away, which the guest must agree to; unmount it there first.

        A guest takes 6 s, for PCI Express gives people time to press the button again; 1 s when it is told to power
        the slot off first (`echo 0 > /sys/bus/pci/slots/NUMBER/power`, see `slot_number`). Raises MachineError when it
        does not let go within `timeout` seconds; `Share.close` cuts its access then.
        """
        slot = self._slot(tag)
        await self.unplug_device(_device(slot, tag), f"share {tag}", timeout)
        await self.when_free("chardev-remove", {"id": _chardev(slot, tag)})
        self.free_slot(tag)

    async def unplug_device(self, device: str, what: str, timeout: float) -> None:
        """Have no device of this id, whoever takes it away. Raises MachineError when the guest does not let go."""
        gone = anyio.Event()

        def watch(event: Event) -> None:
            if event["event"] == "DEVICE_DELETED" and event["data"].get("device") == device:
                gone.set()

        with self.qmp.listening(watch):
            if device in await self.qmp.devices():
                await self._request_unplug(device)
                with anyio.move_on_after(timeout):
                    await gone.wait()
                if not gone.is_set() and device in await self.qmp.devices():
                    raise MachineError(f"the guest does not let go of the {what} ({timeout:.0f} s)")

    async def share_is_idle(self, tag: str) -> bool:
        """Whether the guest waits for no answer from a share's file server; False when QEMU (before 7.2) cannot say.

        A dead server's device may be unplugged only then: the guest's driver waits for every answer before it lets go,
        and holds a lock meanwhile that all virtiofs mounts need (Linux 6.1, virtio_fs_drain_queue).
        """
        device = _device(self._slot(tag), tag)
        if device not in await self.qmp.devices():
            return True
        path = f"/machine/peripheral/{device}/virtio-backend"
        for queue in (0, 1):  # hiprio, and the one request queue
            try:
                element = await self.qmp.execute("x-query-virtio-queue-element", {"path": path, "queue": queue})
            except MachineError:
                return False
            if element["avail"]["idx"] != element["used"]["idx"]:
                return False
        return True

    async def when_free(self, command: str, arguments: Mapping[str, object]) -> None:
        """Remove what a device used once it has let go, which is some time after QEMU says that it is deleted."""
        deadline = anyio.current_time() + _PATIENCE
        while True:
            try:
                await self.qmp.execute(command, arguments)
                return
            except MachineError as exc:
                if not any(words in str(exc) for words in _IN_USE) or anyio.current_time() > deadline:
                    raise
            await anyio.sleep(0.02)

    async def _request_unplug(self, device: str) -> None:
        try:
            await self.qmp.execute("device_del", {"id": device})
        except MachineError as exc:
            # Asked before, or gone in this moment because the guest has powered the slot off: both end in the event.
            if "already in the process" not in str(exc) and "not found" not in str(exc):
                raise

    async def _add_share(self, slot: int, tag: str, share: Share) -> None:
        chardev = _chardev(slot, tag)
        await self.qmp.execute("getfd", {"fdname": chardev}, fd=share.socket.fileno())
        address = {"type": "fd", "data": {"str": chardev}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        await self.qmp.execute("chardev-add", {"id": chardev, "backend": backend})
        device = {"driver": "vhost-user-fs-pci", "id": _device(slot, tag), "bus": slot_bus(slot)}
        try:
            await self.qmp.execute("device_add", {**device, "chardev": chardev, "tag": tag, "queue-size": 1024})
        except MachineError:
            await self.when_free("chardev-remove", {"id": chardev})
            raise

    def take_slot(self, tag: str) -> int:
        """A slot for what is called `tag`, counted from 0. Raises MachineError when none is free."""
        if tag in self._slots.values():
            raise MachineError(f"{tag} is attached already")
        for slot in range(self.spec.slots):
            if slot not in self._slots:
                self._slots[slot] = tag
                return slot
        raise MachineError(
            f"all {self.spec.slots} places for workspaces and volumes of this sandbox are taken",
            hint="remove one first, or share a directory that holds several",
        )

    def free_slot(self, tag: str) -> None:
        """Let something else have the slot of what is no longer there."""
        del self._slots[self._slot(tag)]

    def _slot(self, tag: str) -> int:
        for slot, held in self._slots.items():
            if held == tag:
                return slot
        raise MachineError(f"{tag} is not attached")


async def _greet(
    spec: MachineSpec, jailed: JailedProcess, qmp: socket.socket, console: socket.socket, ports: list[socket.socket]
) -> RunningMachine:
    try:
        connection = await Qmp.connect(qmp, _GREETING_TIMEOUT)
    except BaseException as exc:
        _kill(jailed)
        with anyio.CancelScope(shield=True):
            await jailed.process.wait()
            await jailed.close()
        _close_all([console, *ports])
        if isinstance(exc, MachineError):
            raise jail_failure(exc, jailed.output.text()) from exc
        raise
    return RunningMachine(spec, dict(zip(spec.ports, ports, strict=True)), console, connection, jailed)


def _kill(jailed: JailedProcess) -> None:
    try:
        signal.pidfd_send_signal(jailed.pidfd, signal.SIGKILL)
    except OSError:
        return  # it has ended


def _chardev(slot: int, tag: str) -> str:
    return f"chardev-{slot}-{tag}"


def _device(slot: int, tag: str) -> str:
    return f"share-{slot}-{tag}"


def _close_all(sockets: list[socket.socket]) -> None:
    for connected in sockets:
        connected.close()
