"""The workspaces of a running sandbox: a file server, a hotplugged device and a mount each, added and removed live.

What is attached is asked of QEMU and of the file servers, not remembered: a server that was killed is not attached.
One change at a time. A change that fails leaves nothing half done.
"""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from sandboxfile.errors import BusyError, GuestError, MachineError, SandboxfileError
from sandboxfile.host.saying import say
from sandboxfile.host.tasks import beside, together
from sandboxfile.model.desired import Workspace
from sandboxfile.vm.ids import IdMap
from sandboxfile.vm.launch import RunningMachine
from sandboxfile.vm.shares import Share, serve_share

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

_TOOLS = "/run/sbx/bin"
_WATCH_INTERVAL = 1.0  # seconds
_MOUNT_TIMEOUT = 60.0

# A mount whose file server died while programs waited for its answers can never be torn down: the guest would wait for
# them under a lock that every virtiofs mount needs. A mount namespace that nobody uses keeps it while it is taken away.
_BURY = """\
export PATH=/run/sbx/bin
setsid unshare -m --propagation private sleep 2147483647 </dev/null >/dev/null 2>&1 &
ours=$(readlink /proc/self/ns/mnt)
tries=0
until [ "$(readlink /proc/$!/ns/mnt)" != "$ours" ]; do
  tries=$((tries + 1))
  [ $tries -lt 50 ] || exit 1
  sleep 0.1
done
umount -l "$1"
"""


@dataclass(slots=True)
class _Attached:
    tag: str
    share: Share
    leaving: bool = False  # its file server's end is what we want
    stuck: bool = False  # its file server died, and programs inside wait for it
    mourned: anyio.Event = field(default_factory=anyio.Event)  # what had to be done at its death is done

    @property
    def workspace(self) -> Workspace:
        """As it is now: the mode may have been changed."""
        return replace(self.share.workspace, mode=self.share.mode)


class Workspaces:
    """Those of one machine. `machine` and `guest` are set when they are there.

    `stuck`: a file server died under programs that used it, so whatever looks at all mounts inside (sync) may hang.
    `on_exchanged` is called when protected files of a workspace may be others than before, first of all at its start:
    before something inside can get at those that were there.
    """

    def __init__(self, ids: IdMap, run_dir: Path, on_exchanged: Callable[[Workspace], None]) -> None:
        self._ids = ids
        self._run_dir = run_dir
        self._on_exchanged = on_exchanged
        self._by_target: dict[str, _Attached] = {}
        self._count = 0
        self._turn = anyio.Lock()
        self._watchers: TaskGroup | None = None
        self.stuck = False
        self.machine: RunningMachine | None = None
        self.guest: Guest | None = None

    # --- at boot -------------------------------------------------------------------------------------------------

    async def serve_all(self, workspaces: Sequence[Workspace]) -> None:
        """Start all file servers at once; needs no machine yet."""
        self._count = len(workspaces)
        await together(*(partial(self._serve, f"ws{number}", one) for number, one in enumerate(workspaces, start=1)))

    async def _serve(self, tag: str, workspace: Workspace) -> None:
        self._by_target[workspace.target] = _Attached(tag, await self._served(workspace))

    async def _served(self, workspace: Workspace) -> Share:
        share = await serve_share(workspace, self._ids, self._run_dir)
        try:
            await self._exchanged(workspace)
        except BaseException:
            await share.close()
            raise
        return share

    async def _exchanged(self, workspace: Workspace) -> None:
        try:
            await to_thread.run_sync(self._on_exchanged, workspace)
        except SandboxfileError as exc:
            say(f"workspace {workspace.source}: {exc}")

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
        """Protect again what the host has replaced, every second, and clear up after a file server at its death."""
        async with beside() as group:
            self._watchers = group
            for attached in self._by_target.values():
                group.start_soon(self._mourn, attached)
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
        attached = _Attached(f"ws{self._count}", await self._served(workspace))
        try:
            await self.machine.plug_share(attached.tag, attached.share)
        except BaseException:
            await attached.share.close()
            raise
        self._by_target[workspace.target] = attached
        if self._watchers is not None:
            self._watchers.start_soon(self._mourn, attached)
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
            attached.leaving = True
        else:
            await attached.mourned.wait()
        if attached.workspace in await self.attached():
            await self._run(f"{_TOOLS}/sbx-umount", target)
            await self._unplug(attached)
        else:
            await self._bury(attached)
        await attached.share.close()
        del self._by_target[target]
        say(f"workspace {attached.workspace.source} detached")
        await self._mount(self._below(target))

    async def _bury(self, attached: _Attached) -> None:
        """Take away a mount whose file server died, or whose device somebody else unplugged."""
        assert self.machine is not None
        target = attached.workspace.target
        bury = ("sh", "-c", _BURY, "sh", target) if attached.stuck else ("umount", "-l", target)
        await self._run(f"{_TOOLS}/{bury[0]}", *bury[1:])
        if attached.share.alive:
            await self.machine.unplug_share(attached.tag)

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

    async def _mourn(self, attached: _Attached) -> None:
        """At the death of a file server take its device away at once: programs then get errors instead of waiting."""
        await attached.share.wait()
        if attached.leaving or self.machine is None or not await _runs(self.machine):
            return
        source, said = attached.workspace.source, attached.share.output
        say(f"the file server of {source} has ended: `sbx up` attaches it again. {said}")
        with anyio.CancelScope(shield=True):
            try:
                attached.stuck = not await self.machine.share_is_idle(attached.tag)
                self.stuck = self.stuck or attached.stuck
                if attached.stuck:
                    say("programs inside were waiting for it: only a restart of the sandbox ends their waiting")
                else:
                    await self._unplug(attached)
            except SandboxfileError as exc:
                say(f"workspace {source}: {exc}")
            finally:
                attached.mourned.set()

    async def _look_after(self, attached: _Attached) -> None:
        share = attached.share
        if not share.alive or not await to_thread.run_sync(share.stale):
            return
        async with self._turn:
            stale = share.stale()
            await self._exchanged(share.workspace)
            left = await share.reprotect()
        say(f"workspace {share.workspace.source}: replaced on the host and protected again: {', '.join(stale)}")
        if left:
            say(f"workspace {share.workspace.source}: NOT protected, a symbolic link is in the way: {', '.join(left)}")


async def _runs(machine: RunningMachine) -> bool:
    """False when the machine is ending, and its file servers with it."""
    try:
        return await machine.qmp.status() in ("running", "paused")
    except MachineError:
        return False
