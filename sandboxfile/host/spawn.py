"""Processes of our own that outlive whoever starts them: a supervisor, the gateway. Detached, and with nothing of ours.

They get a session of their own, no terminal, no descriptor but the standard three, and of our environment only what
they use. Not a Popen: nothing here may end them.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import anyio

_PASSED_ON = (
    *("HOME", "PATH", "LANG", "USER", "LOGNAME", "TMPDIR", "PYTHONPATH", "SBX_HOME", "SBX_ACCEL"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),  # what this host trusts
    "DBUS_SESSION_BUS_ADDRESS",  # where its keyring is
)
_PREFIXES = ("XDG_", "LC_")
PROXIES = ("https_proxy", "http_proxy", "no_proxy")  # this host's own way out, in lower or upper case
TIE = 3  # the descriptor by which a process that is to die with its starter knows of that
_LOG_LIMIT = 1 << 20  # bytes
_TAIL = 4000  # characters of a log shown with a failure


def spawn_detached(module: str, arguments: Sequence[str], log: Path, tie: int | None = None) -> int:
    """Run `python -m MODULE ARGUMENTS` with its output appended to `log`. Its pid, for `exit_code` or `ended`.

    `tie` is handed on as descriptor TIE: the reading end of a pipe, by whose end the process can tell ours.
    A log that has become long is begun anew: who starts the same again and again must not fill the disk.
    """
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            os.truncate(log, 0)
    _keep_descriptors()
    ties = [(os.POSIX_SPAWN_DUP2, tie, TIE)] if tie is not None else []
    return os.posix_spawn(
        sys.executable,
        # -P: the current directory may be a workspace, and nothing that a guest wrote may be imported.
        [sys.executable, "-P", "-m", module, *arguments],
        passed_on(os.environ),
        file_actions=[
            *ties,  # first: it may have one of the numbers that follow
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that such a process gets: what it uses, and no other secret of whoever starts it."""
    return {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith(_PREFIXES) or name.lower() in PROXIES
    }


def exit_code(pid: int) -> int | None:
    """How a process ended that we started: its exit code, minus the signal, or 1 when that is no longer known.

    None while it runs.
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 1
    return os.waitstatus_to_exitcode(status) if found else None


async def ended(pid: int) -> int:
    """Wait for the end of a process that we started; its exit code, or minus the signal. One task waits for each."""
    handle = os.pidfd_open(pid)
    try:
        await anyio.wait_readable(handle)
    finally:
        os.close(handle)
    code = exit_code(pid)
    assert code is not None
    return code


def tail(path: Path) -> str:
    """The end of a log."""
    try:
        return path.read_text(errors="replace")[-_TAIL:]
    except FileNotFoundError:
        return ""


def _keep_descriptors() -> None:
    """Hand on nothing that we inherited: whoever waits for the end of a pipe would wait for theirs."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            if int(entry.name) > 2:
                os.set_inheritable(int(entry.name), False)
