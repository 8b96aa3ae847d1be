"""Starting a supervisor, waiting for it, stopping it; killing it when it no longer answers.

The supervisor is a process of its own that outlives the command. Who holds a sandbox's lock is asked of the kernel
(/proc/locks): what a file says about a process may be old.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import anyio

from sandboxfile.control.client import request
from sandboxfile.control.messages import Message, Output, Progress, Stop, WaitReady
from sandboxfile.errors import ControlError, MachineError
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked
from sandboxfile.names import SandboxId

_LISTEN_TIMEOUT = 30.0  # seconds for a supervisor to listen; 0.3 is usual
_READY_TIMEOUT = 180.0  # for the guest to answer; 3 is usual, many more at once under emulation
_STOP_TIMEOUT = 60.0
_POLL = 0.03
_TAIL = 4000  # characters of a log shown with a failure
_PASSED_ON = ("HOME", "PATH", "LANG", "USER", "LOGNAME", "TMPDIR", "PYTHONPATH", "SBX_HOME", "SBX_ACCEL")
Report = Callable[[str], None]


async def start(layout: Layout, id: SandboxId, report: Report) -> None:
    """Start the supervisor unless one holds the lock, and wait until the sandbox is ready.

    Raises MachineError with the end of the supervisor's log when it dies before.
    """
    paths = layout.sandbox(id)
    child = None if is_locked(paths.lock) else _spawn(paths, id)
    await _listening(paths, id, child)
    try:
        await request(paths.control, WaitReady(), showing(report), timeout=_READY_TIMEOUT)
    except ControlError as exc:
        raise MachineError(f"the sandbox {id} did not start: {exc.message}", output=tail(paths.supervisor_log)) from exc


async def stop(layout: Layout, id: SandboxId, report: Report) -> None:
    """Stop the machine and wait until its lock is free; one that does not answer is killed, and all it owns."""
    paths = layout.sandbox(id)
    if not is_locked(paths.lock):
        return
    try:
        await request(paths.control, Stop(), showing(report), timeout=_STOP_TIMEOUT)
    except ControlError as exc:
        report(f"killing it: {exc.message}")
        kill_holder(paths.lock)
    with anyio.move_on_after(_STOP_TIMEOUT):
        while is_locked(paths.lock):  # noqa: ASYNC110 - another process's lock sends us no event
            await anyio.sleep(_POLL)
        return
    raise MachineError(f"the sandbox {id} does not stop", output=tail(paths.supervisor_log))


def kill_holder(lock: Path) -> bool:
    """SIGKILL whoever holds the lock; its children die with it. Whether there was one."""
    pid = lock_holder(lock)
    if pid is None:
        return False
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if lock_holder(lock) != pid:  # the number may have passed to another process before we held it
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
    finally:
        os.close(process)
    return True


def lock_holder(lock: Path) -> int | None:
    """Who holds a flock on a file: proc_locks(5), `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`."""
    try:
        found = lock.stat()
    except FileNotFoundError:
        return None
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "FLOCK" in words and "->" not in words and place in words:
            return int(words[words.index(place) - 1])
    return None


def showing(report: Report) -> Callable[[Message], None]:
    """Pass on what a supervisor tells on the way."""

    def show(message: Message) -> None:
        match message:
            case Progress(text) | Output(text):
                report(text)

    return show


def tail(path: Path) -> str:
    """The end of a log."""
    try:
        return path.read_text(errors="replace")[-_TAIL:]
    except FileNotFoundError:
        return ""


def _spawn(paths: SandboxPaths, id: SandboxId) -> int:
    """A detached supervisor: own session, no terminal, output to its log. Not a Popen: nothing here may end it."""
    environment = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(("XDG_", "LC_"))
    }
    paths.supervisor_log.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "sandboxfile.supervisor", str(id)],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(paths.supervisor_log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


async def _listening(paths: SandboxPaths, id: SandboxId, child: int | None) -> None:
    """Wait until somebody listens; our child may lose the race for the lock against another command's."""
    failure: MachineError | None = None
    with anyio.move_on_after(_LISTEN_TIMEOUT):
        while not (is_locked(paths.lock) and paths.control.exists()):
            if child is not None and _has_ended(child):
                child = None
                failure = MachineError(f"the sandbox {id} did not start", output=tail(paths.supervisor_log))
            if failure is not None and not is_locked(paths.lock):
                raise failure
            await anyio.sleep(_POLL)
        return
    raise MachineError(f"the supervisor of {id} does not answer", output=tail(paths.supervisor_log))


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True
