"""The workspaces of a running sandbox: a file server, a hotplugged device and a mount each, added and removed live.

What is attached is asked of QEMU and of the file servers, not remembered: a server that was killed is not attached.
One change at a time. A change that fails leaves nothing half done.
"""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from sandboxfile.errors import BusyError, GuestError, MachineError, SandboxfileError
from sandboxfile.guest.channel import Guest
from sandboxfile.host.tasks import together
from sandboxfile.model.desired import Workspace
from sandboxfile.supervisor.logs import say
from sandboxfile.vm.ids import IdMap
from sandboxfile.vm.launch import RunningMachine
from sandboxfile.vm.shares import Share, serve_share

_TOOLS = "/run/sbx/bin"
_WATCH_INTERVAL = 1.0  # seconds
_MOUNT_TIMEOUT = 60.0

# A file server that died never answers, and whoever asked it sleeps for ever, holding a lock that every virtiofs mount
# needs (6.1: unmounting and unplugging wait for answers under virtio_fs_mutex). So its connection is aborted: users get
# errors. Then the mount is taken away, but kept in a corner, and the device stays: neither is ever torn down.
_ABORT = """\
export PATH=/run/sbx/bin
connections=/sys/fs/fuse/connections
grep -q " $connections fusectl " /proc/mounts || mount -t fusectl fusectl $connections
awk -v tag="$1" '/ - virtiofs / && $(NF - 1) == tag { split($3, device, ":"); print device[2] }' /proc/self/mountinfo |
  sort -u | while read -r number; do echo 1 >$connections/$number/abort; done
"""
_BURY = f"""\
{_ABORT}
mkdir -p "/run/sbx/var/dead/$1"
mount -o bind "$2" "/run/sbx/var/dead/$1"
umount -l "$2"
"""


@dataclass(slots=True)
class _Attached:
    tag: str
    share: Share

    @property
    def workspace(self) -> Workspace:
        """As it is now: the mode may have been changed."""
        return replace(self.share.workspace, mode=self.share.mode)


class Workspaces:
    """Those of one machine. `machine` and `guest` are set when they are there."""

    def __init__(self, ids: IdMap, run_dir: Path) -> None:
        self._ids = ids
        self._run_dir = run_dir
        self._by_target: dict[str, _Attached] = {}
        self._count = 0
        self._turn = anyio.Lock()
        self._mourned: set[str] = set()
        self.machine: RunningMachine | None = None
        self.guest: Guest | None = None

    # --- at boot -------------------------------------------------------------------------------------------------

    async def serve_all(self, workspaces: Sequence[Workspace]) -> None:
        """Start all file servers at once; needs no machine yet."""
        await together(*(partial(self._serve, workspace) for workspace in workspaces))

    async def _serve(self, workspace: Workspace) -> None:
        self._count += 1
        tag = f"ws{self._count}"
        self._by_target[workspace.target] = _Attached(tag, await serve_share(workspace, self._ids, self._run_dir))

    async def plug_all(self, machine: RunningMachine) -> None:
        """Plug all served shares in; the guest may still be booting."""
        self.machine = machine
        for attached in self._by_target.values():
            await machine.plug_share(attached.tag, attached.share)

    async def mount_all(self) -> None:
        """Mount all plugged shares, parents first, in one go. Raises GuestError."""
        await self._mount(sorted(self._by_target))

    # --- while running -------------------------------------------------------------------------------------------

    async def attach(self, workspace: Workspace) -> None:
        """Have this workspace attached, exactly so. Raises what sharing or mounting it raises."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                if not await self._adapt(workspace):
                    await self._detach(workspace.target)
                    await self._attach(workspace)

    async def detach(self, target: str) -> None:
        """Have nothing attached there; programs that use it lose it."""
        with anyio.CancelScope(shield=True):
            async with self._turn:
                await self._detach(target)

    async def attached(self) -> tuple[Workspace, ...]:
        """Those that work: the machine has the device, and the file server lives."""
        if self.machine is None:
            return ()
        devices = await self.machine.qmp.devices()
        return tuple(
            attached.workspace
            for _, attached in sorted(self._by_target.items())
            if attached.share.alive and any(device.endswith(f"-{attached.tag}") for device in devices)
        )

    async def watch(self) -> None:
        """Protect again what the host has replaced, every second; say what is wrong in the log."""
        while True:
            await anyio.sleep(_WATCH_INTERVAL)
            for attached in list(self._by_target.values()):
                try:
                    await self._look_after(attached)
                except SandboxfileError as exc:
                    say(f"workspace {attached.workspace.source}: {exc}")

    async def close(self) -> None:
        """End all file servers."""
        for attached in self._by_target.values():
            await attached.share.close()

    # --- one change ----------------------------------------------------------------------------------------------

    async def _adapt(self, workspace: Workspace) -> bool:
        """Whether what is attached there is this workspace, after changing at most its mode."""
        present = self._by_target.get(workspace.target)
        if present is None or present.workspace not in await self.attached():
            return False
        if replace(present.workspace, mode=workspace.mode) != workspace:
            return False
        if present.share.mode != workspace.mode:
            try:
                await present.share.set_mode(workspace.mode)
            except BusyError:
                return False  # files are open for writing: only taking it away makes it read-only
            say(f"workspace {workspace.source} is {workspace.mode} now")
        await self._mount([workspace.target])
        return True

    async def _attach(self, workspace: Workspace) -> None:
        assert self.machine is not None
        self._count += 1
        attached = _Attached(f"ws{self._count}", await serve_share(workspace, self._ids, self._run_dir))
        try:
            await self.machine.plug_share(attached.tag, attached.share)
        except BaseException:
            await attached.share.close()
            raise
        self._by_target[workspace.target] = attached
        try:
            await self._mount([workspace.target, *self._below(workspace.target)])
        except SandboxfileError:
            with suppress(SandboxfileError):
                await self._detach(workspace.target)
            raise
        say(f"workspace {workspace.source} attached at {workspace.target} ({workspace.mode})")

    async def _detach(self, target: str) -> None:
        attached = self._by_target.get(target)
        if attached is None:
            return
        if attached.share.alive:
            await self._run(f"{_TOOLS}/sbx-umount", target)
            await self._unplug(attached)
        else:
            await self._run(f"{_TOOLS}/sh", "-c", _BURY, "sh", attached.tag, target)
        await attached.share.close()
        del self._by_target[target]
        say(f"workspace {attached.workspace.source} detached")
        await self._mount(self._below(target))

    async def _unplug(self, attached: _Attached) -> None:
        assert self.machine is not None
        # Powered off by hand, the guest lets go in one second; otherwise it waits five for somebody's second thoughts.
        power = f"/sys/bus/pci/slots/{self.machine.slot_number(attached.tag)}/power"
        await self._run(f"{_TOOLS}/sh", "-c", f"echo 0 >{power}", may_fail=True)
        await self.machine.unplug_share(attached.tag)

    def _below(self, target: str) -> list[str]:
        """Those inside another one's directory, parents first: they come and go with its mount."""
        return sorted(other for other in self._by_target if other.startswith(f"{target}/"))

    async def _mount(self, targets: Sequence[str]) -> None:
        if not targets:
            return
        words = [f"{_TOOLS}/sbx-mount {self._by_target[target].tag} {shlex.quote(target)}" for target in targets]
        await self._run(f"{_TOOLS}/sh", "-c", " && ".join(words), timeout=_MOUNT_TIMEOUT)

    async def _run(self, *argv: str, may_fail: bool = False, timeout: float = 30.0) -> None:
        assert self.guest is not None
        try:
            ended = await self.guest.run(argv, timeout=timeout)
        except GuestError:
            if may_fail:
                return
            raise
        if ended.code != 0 and not may_fail:
            raise GuestError(f"{argv[0]} failed inside the sandbox", command=argv, output=ended.output)

    async def _look_after(self, attached: _Attached) -> None:
        share = attached.share
        if not share.alive:
            if attached.tag not in self._mourned:
                self._mourned.add(attached.tag)
                say(
                    f"the file server of {share.workspace.source} has ended: `sbx up` attaches it again. {share.output}"
                )
            return
        if not await to_thread.run_sync(share.stale):
            return
        async with self._turn:
            stale = share.stale()
            left = await share.reprotect()
        say(f"workspace {share.workspace.source}: replaced on the host and protected again: {', '.join(stale)}")
        if left:
            say(f"workspace {share.workspace.source}: NOT protected, a symbolic link is in the way: {', '.join(left)}")
