"""The frame of a process that outlives whoever starts it (`host.spawn`): alone by a lock, an exit code for each end.

0 its own end, 1 could not start, 75 somebody else holds the lock, 70 a bug. Light until the lock is held: whoever comes
second is told so at once.
"""

import os
import resource
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.statedir import try_lock

TAKEN = 75  # EX_TEMPFAIL
_BUG = 70  # EX_SOFTWARE


def run_alone(path: Path, missing: str, live: Callable[[int], Awaitable[int]]) -> int:
    """Hold the lock at `path`, whose descriptor `live` gets and closes; gives its exit code, or one of the module's.

    `missing` is said when there is no directory for the lock.
    """
    try:
        lock = try_lock(path)
    except FileNotFoundError:
        print(missing, file=sys.stderr)
        return 1
    if lock is None:
        return TAKEN
    os.chdir("/")  # a working directory would keep its file system from being unmounted
    _allow_many_files()
    _leave_no_core()

    import anyio

    from sandboxfile.host.saying import say

    try:
        return anyio.run(live, lock)
    except SandboxfileError as exc:
        for line in (str(exc), *exc.details()):
            say(line)
        return 1


def exit_with(main: Callable[[list[str]], int]) -> NoReturn:
    """End this process with the exit code of `main`."""
    try:
        code = main(sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        code = _BUG
    sys.stderr.flush()
    os._exit(code)  # a thread that is stuck in a client's dead stream or a dead name server must not keep us alive


def _allow_many_files() -> None:
    """Each command and each connection holds some, each file server one per file that the guest knows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _leave_no_core() -> None:
    """Secrets are in this memory. One byte: less than any dump has, and by it the kernel starts no collector either."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
