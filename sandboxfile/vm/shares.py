"""File servers: one virtiofsd per workspace, in its own user, mount and network namespaces. asyncio only.

What keeps a guest in bounds is on this side: the ids it can be, read-only mounts, pins on protected paths, no setuid
files, no path but the workspace. `share_launcher.py` does the work in the namespaces; this module drives it.

Protection is by mounts on what is at a path. What the *host* replaces (an editor that saves by renaming) or what
appears later is not covered until `reprotect` sees it: watch `stale`, every second or two.
"""

import errno
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process

from sandboxfile.errors import BusyError, HostError, MachineError, NotFoundError, SandboxfileError
from sandboxfile.host.births import born
from sandboxfile.host.process import run
from sandboxfile.model.desired import Mode, Workspace
from sandboxfile.vm.descriptors import DescriptorSet, OutputLog, receive
from sandboxfile.vm.file_servers import file_server_command, find_file_server
from sandboxfile.vm.filters import share_filter
from sandboxfile.vm.ids import IdMap

# (device, inode) of every component of a protected path; None: there is nothing to protect.
Identity = tuple[tuple[int, int], ...]
_Seen = tuple[tuple[int, int, int | None], ...]  # a file that is unlinked and written anew often has the same number

_LAUNCHER = Path(__file__).with_name("share_launcher.py")
_TIMEOUT = 20.0  # seconds; 0.1 is usual
_GRACE = 0.2


async def serve_share(workspace: Workspace, ids: IdMap, run_dir: Path) -> "Share":
    """Start the file server of a workspace. `run_dir` is a private directory; a socket is in it for a moment.

    The source must be a real path: one that goes through a symbolic link now is refused. Raises NotFoundError when it
    is not there, HostError when the host forbids, or when a protected path of an `rw` workspace cannot be protected.
    """
    output = OutputLog()
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptors = DescriptorSet()
    connected: socket.socket | None = None
    with control, theirs:
        try:
            server = find_file_server()
            listener, connected = _connected_pair(run_dir)
            descriptors.own(listener)
            config = {
                "parent": os.getpid(),
                "source": workspace.source,
                "mode": workspace.mode,
                "protect": list(workspace.protect),
                "filter": descriptors.data(share_filter()),
                "listener": listener,
                "argv": file_server_command(server, listener),
            }
            process = await _spawn("serve", theirs, descriptors.numbers, output)
        except BaseException:
            output.close()
            if connected is not None:
                connected.close()
            raise
        finally:
            descriptors.close()
        theirs.close()
        share = Share(workspace, connected, process, output)
        try:
            with anyio.fail_after(_TIMEOUT):
                await _guide(control, config, process.pid, ids, share)
        except BaseException as exc:
            text = output.text()
            await share.close()
            if isinstance(exc, TimeoutError):
                raise HostError(f"the file server of {workspace.source} did not start", output=text) from exc
            if isinstance(exc, SandboxfileError) and not exc.output:
                exc.output = text
            raise
    return share


class Share:
    """A running file server. `socket` is the connected end for QEMU, until `plug_share` takes it.

    `_seen` is what the host had at each protected path just before it was bound. Compared with what it has now, and
    not with what was bound: then nothing that happens in between goes unnoticed.
    """

    def __init__(self, workspace: Workspace, connected: socket.socket, process: Process, output: OutputLog) -> None:
        self.workspace = workspace
        self.mode: Mode = workspace.mode
        self.socket = connected
        self._process = process
        self._output = output
        self._root: tuple[int, int] = (0, 0)
        self._bound: dict[str, Identity | None] = {}
        self._refused: tuple[str, ...] = ()
        self._seen = self._look()

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What the file server printed so far."""
        return self._output.text()

    @property
    def unprotected(self) -> tuple[str, ...]:
        """Protected paths that are behind a symbolic link now: the guest can write there. Empty when all is well."""
        return self._refused

    def protected(self) -> dict[str, Identity | None]:
        """What is bound read-only for each protected path."""
        return dict(self._bound)

    def stale(self) -> list[str]:
        """Protected paths where the host now has something else than what is bound; cheap."""
        return [path for path, found in self._look().items() if found != self._seen[path]]

    async def reprotect(self) -> tuple[str, ...]:
        """Bind again what was replaced or has appeared; takes effect in the running guest. Gives `unprotected`.

        Only after `plug_share`. Raises MachineError when the file server is gone.
        """
        await self._adjust(None)
        return self.unprotected

    async def set_mode(self, mode: Mode) -> None:
        """Make a live share read-only or writable; processes in the guest go on. Only after `plug_share`.

        Raises BusyError when the guest has files open for writing (detach and attach then), and HostError when a
        protected path cannot be protected, which `rw` needs; the mode stays as it was.
        """
        if (await self._adjust(mode)).get("busy"):
            raise BusyError(f"files of {self.workspace.source} are open for writing in the sandbox")
        if mode == "rw" and self._refused:
            raise _refusal(self.workspace.source, self._refused)
        self.mode = mode

    async def wait(self) -> int:
        """Wait for its end; it ends with the machine, or when the share is unplugged."""
        return await self._process.wait()

    async def close(self) -> None:
        """End the file server: the guest's access is cut, agreed or not. Idempotent."""
        self.socket.close()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_GRACE):  # it ends by itself when QEMU has hung up
                await self._process.wait()
            if self.alive:
                for pid in (*_children(self.pid), self.pid):
                    _kill(pid)
                await self._process.wait()
            self._output.close()

    def _look(self) -> dict[str, _Seen | None]:
        return {path: _identity(self.workspace.source, path) for path in self.workspace.protect}

    def _remember(self, reply: dict[str, Any]) -> None:
        self._root = (reply["root"][0], reply["root"][1])
        self._refused = tuple(reply["refused"])
        self._bound = {
            path: None if found is None else tuple((device, inode) for device, inode in found)
            for path, found in reply["bound"].items()
        }

    async def _adjust(self, mode: Mode | None) -> dict[str, Any]:
        if not self.alive:
            raise MachineError(f"the file server of {self.workspace.source} is gone")
        config = {
            "pid": self.pid,
            "root": self._root,
            "protect": list(self.workspace.protect),
            "mode": mode,
        }
        seen = self._look()
        reply = await _ask_adjust(config)
        if "bound" not in reply:
            why = reply.get("error", "the helper died")
            raise MachineError(f"cannot adjust the share of {self.workspace.source}: {why}")
        self._remember(reply)
        self._seen = seen
        return reply


async def _guide(control: socket.socket, config: dict[str, Any], pid: int, ids: IdMap, share: Share) -> None:
    """The supervisor's half of `share_launcher.serve`."""
    source = share.workspace.source
    control.send(json.dumps(config).encode())
    _check(await _reply(control), source)
    await _write_maps(pid, ids)
    control.send(b"go")
    reply = await _reply(control)
    if reply.get("refused") and not reply.get("ok"):
        raise _refusal(source, reply["refused"])
    _check(reply, source)
    share._remember(reply)


async def _reply(control: socket.socket) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(await receive(control) or b"{}")
    return reply


def _check(reply: dict[str, Any], source: str) -> None:
    if reply.get("ok") or reply.get("unshared"):
        return
    number, text = reply.get("errno"), reply.get("error", "the file server's launcher died")
    if not str(text).startswith(f"open {source}:"):
        raise HostError(f"cannot share {source}: {text}", hint=_HINTS.get(number or 0))
    if number in (errno.ENOENT, errno.ENOTDIR):
        raise NotFoundError(f"the workspace {source} does not exist", hint="create the directory, or remove it")
    if number == errno.ELOOP:
        raise HostError(
            f"the workspace {source} is reached through a symbolic link now: it was exchanged after it was planned",
            hint="name the real directory, and plan again",
        )
    raise HostError(f"cannot share {source}: {text}")


def _refusal(source: str, paths: Sequence[str]) -> HostError:
    return HostError(
        f"cannot protect {', '.join(paths)} in the workspace {source}: a symbolic link is in the way",
        hint="replace the link by what it points to, share the workspace ro, or choose its `protect` paths",
    )


async def _write_maps(pid: int, ids: IdMap) -> None:
    """Give the launcher its ids: root writes them itself, others need the setuid helpers of uidmap."""
    for kind, extents in (("uid", ids.uids), ("gid", ids.gids)):
        if ids.run_as is not None:
            _write_map(pid, kind, "".join(f"{e.inside} {e.outside} {e.count}\n" for e in extents))
        else:
            numbers = [str(number) for e in extents for number in (e.inside, e.outside, e.count)]
            await run([f"new{kind}map", str(pid), *numbers], what=f"map {kind}s for a file server")


def _write_map(pid: int, kind: str, text: str) -> None:
    try:
        Path(f"/proc/{pid}/{kind}_map").write_text(text)
    except OSError as exc:
        raise HostError(f"cannot map {kind}s for a file server: {exc}", hint=_HINTS[errno.EPERM]) from exc


async def _ask_adjust(config: dict[str, Any]) -> dict[str, Any]:
    """Run the launcher's other half, which enters the namespaces of a running file server."""
    output = OutputLog()
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with control, theirs:
        try:
            process = await _spawn("adjust", theirs, [], output)
            theirs.close()
            try:
                with anyio.move_on_after(_TIMEOUT):
                    control.send(json.dumps(config).encode())
                    return await _reply(control)
                return {}
            finally:
                with anyio.CancelScope(shield=True):
                    if process.returncode is None:
                        process.kill()
                    await process.wait()
        finally:
            output.close()


async def _spawn(action: str, control: socket.socket, keep: Sequence[int], output: OutputLog) -> Process:
    # The kernel's parent-death signal follows the thread that forks: this must be the main thread, and is with asyncio.
    return await anyio.open_process(
        [sys.executable, "-I", "-S", str(_LAUNCHER), action, str(control.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=output.fileno(),
        stderr=output.fileno(),
        pass_fds=[control.fileno(), *keep],
        env={},
        cwd="/",
        start_new_session=True,
    )


def _connected_pair(run_dir: Path) -> tuple[int, socket.socket]:
    """A listening socket's descriptor, and a socket already connected to it; the path between them is gone again."""
    path = run_dir / f"{secrets.token_hex(8)}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        connected = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(path))
            try:
                listener.listen(1)
                connected.connect(str(path))
            finally:
                path.unlink()
        except OSError as exc:
            connected.close()
            raise HostError(f"cannot make a socket in {run_dir}: {exc}") from exc
        return listener.detach(), connected


def _identity(source: str, path: str) -> _Seen | None:
    """What the host has at a protected path, component by component, each with its birth."""
    here, found = Path(source), []
    try:
        for name in Path(path).parts:
            here = here / name
            handle = os.open(here, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                entry = os.fstat(handle)
                found.append((entry.st_dev, entry.st_ino, born(handle)))
            finally:
                os.close(handle)
    except OSError:
        return None
    return tuple(found)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


_HINTS = {
    errno.EPERM: "user namespaces must be allowed here: see `sbx doctor`",
    errno.ENOSPC: "user namespaces are used up or forbidden: sysctl user.max_user_namespaces",
    errno.ENOSYS: "Linux 5.12 or later is needed",
}
