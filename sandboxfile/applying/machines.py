"""Starting a supervisor, waiting for it, stopping it; killing it when it no longer answers.

The supervisor is a process of its own that outlives the command. Who holds a sandbox's lock is asked of the kernel
(/proc/locks, /proc/PID/fd): what a file says about a process may be old.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio

from sandboxfile.control.client import connect, request
from sandboxfile.control.messages import GetStatus, Message, Output, Progress, Provide, Stop, WaitReady
from sandboxfile.errors import ControlError, MachineError, SandboxfileError
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.spawn import exit_code, spawn_detached, tail
from sandboxfile.host.statedir import is_locked
from sandboxfile.names import SandboxId

_LISTEN_TIMEOUT = 30.0  # seconds for a supervisor to listen; 0.3 is usual
_READY_TIMEOUT = 300.0  # for the guest to answer; 3 is usual, and a supervisor gives up before we do
_PATIENCE = 10.0  # for a supervisor to answer anything at all
_STOP_TIMEOUT = 90.0  # for the main process, the guest and QEMU to end, each in its time
_GONE_TIMEOUT = 20.0  # from the last word, or the kill, until the lock is free
_POLL = 0.03
_MODULE = "sandboxfile.supervisor"
Report = Callable[[str], None]


async def start(
    layout: Layout,
    id: SandboxId,
    report: Report,
    *,
    tie: int | None = None,
    values: tuple[tuple[str, str], ...] = (),
) -> None:
    """Start the supervisor unless one holds the lock, and wait until the sandbox is ready.

    With `tie`, the reading end of a pipe, it dies when the writing end is closed, and its machine with it. `values` are
    those of credentials that come from the environment.
    Raises MachineError with the end of the supervisor's log when it dies before.
    """
    paths = layout.sandbox(id)
    child = None if is_locked(paths.lock) else _spawn(paths, id, tie)
    await _until_it_listens(paths, id, child)
    try:
        if values:
            await request(paths.control, Provide(values), timeout=_PATIENCE)
        await request(paths.control, WaitReady(), showing(report), timeout=_READY_TIMEOUT)
    except ControlError as exc:
        raise MachineError(f"the sandbox {id} did not start: {exc.message}", output=tail(paths.supervisor_log)) from exc


async def stop(layout: Layout, id: SandboxId, report: Report) -> None:
    """Stop the machine and wait until its lock is free; one that does not answer is killed, and all it owns."""
    paths = layout.sandbox(id)
    if not is_locked(paths.lock):
        return
    try:
        await _any_answer(paths)
        await request(paths.control, Stop(), showing(report), timeout=_STOP_TIMEOUT)
    except ControlError as exc:
        report(f"killing it: {exc.message}")
        kill_holder(paths.lock)
    with anyio.move_on_after(_GONE_TIMEOUT):
        while is_locked(paths.lock):  # noqa: ASYNC110 - another process's lock sends us no event
            await anyio.sleep(_POLL)
        return
    raise MachineError(f"the sandbox {id} does not stop", output=tail(paths.supervisor_log))


async def _any_answer(paths: SandboxPaths) -> None:
    """Raises ControlError when the supervisor says nothing at all; that its machine is silent is an answer."""
    try:
        await request(paths.control, GetStatus(), timeout=_PATIENCE)
    except ControlError:
        raise
    except SandboxfileError:
        return


def kill_holder(lock: Path) -> bool:
    """SIGKILL the supervisor that holds the lock; its children die with it. Whether there was one."""
    pid = lock_holder(lock)
    if pid is None:
        return False
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # The number may have passed to another process before we held it, and another sbx may hold the lock briefly.
        if lock_holder(lock) != pid or not _is_supervisor(pid):
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True


def lock_holder(lock: Path) -> int | None:
    """Who holds a flock on a file: proc_locks(5), `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`.

    The device there is the file system's, which stat(2) of btrfs and overlayfs does not tell: so a candidate counts
    when it has the file open.
    """
    try:
        wanted = lock.stat()
    except FileNotFoundError:
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1:2] == ["FLOCK"] and words[3:4] == ["WRITE"] and _has_open(int(words[4]), wanted):
            return int(words[4])
    return None


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if os.path.samestat(entry.stat(), wanted):
                    return True
    except OSError:  # gone, or somebody else's
        pass
    return False


def _is_supervisor(pid: int) -> bool:
    try:
        return _MODULE.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def showing(report: Report) -> Callable[[Message], None]:
    """Pass on what a supervisor tells on the way."""

    def show(message: Message) -> None:
        match message:
            case Progress(text) | Output(text):
                report(text)

    return show


def _spawn(paths: SandboxPaths, id: SandboxId, tie: int | None) -> int:
    """A detached supervisor, with a log of its own."""
    paths.supervisor_log.unlink(missing_ok=True)
    return spawn_detached(_MODULE, [str(id), *(["--tied"] if tie is not None else [])], paths.supervisor_log, tie)


async def _until_it_listens(paths: SandboxPaths, id: SandboxId, child: int | None) -> None:
    """Wait until somebody listens; our child may lose the race for the lock against another command's."""
    ended = False
    with anyio.move_on_after(_LISTEN_TIMEOUT):
        while not await _answers(paths.control):
            ended = ended or child is None or _has_ended(child)
            if ended and not is_locked(paths.lock):
                raise MachineError(f"the sandbox {id} did not start", output=tail(paths.supervisor_log))
            await anyio.sleep(_POLL)
        return
    raise MachineError(f"the supervisor of {id} does not answer", output=tail(paths.supervisor_log))


async def _answers(control: Path) -> bool:
    """Whether somebody listens; the socket of a supervisor that was killed is still there, and refuses."""
    try:
        async with connect(control, timeout=1):
            return True
    except ControlError:
        return False


def _has_ended(pid: int) -> bool:
    return exit_code(pid) is not None
