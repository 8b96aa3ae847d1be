"""`python -m sandboxfile.gateway`: started detached by a supervisor, ends with the last one. One per user.

Exit codes: 0 nobody needed it any more, 1 could not start, 2 wrong usage, 75 there is one already, 70 a bug.
"""

import os
import resource
import sys
import traceback
from pathlib import Path

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import try_lock

_TAKEN = 75  # EX_TEMPFAIL


def main(argv: list[str]) -> int:
    """Run the gateway; see the module."""
    if argv:
        print("usage: python -m sandboxfile.gateway", file=sys.stderr)
        return 2
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())
    try:
        lock = try_lock(layout.gateway_lock)
    except FileNotFoundError:
        print(f"there is no directory {layout.state}", file=sys.stderr)
        return 1
    if lock is None:
        return _TAKEN
    os.chdir("/")  # a working directory would keep its file system from being unmounted
    _allow_many_files()
    return _serve(layout, lock)


def _serve(layout: Layout, lock: int) -> int:
    import anyio  # after the lock: whoever comes second is told so at once

    from sandboxfile.gateway.runner import run
    from sandboxfile.host.saying import say

    try:
        return anyio.run(run, layout, lock)
    except SandboxfileError as exc:
        for line in (str(exc), *exc.details()):
            say(line)
        return 1


def _allow_many_files() -> None:
    """Each connection holds two descriptors, of any number of sandboxes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run() -> int:
    try:
        return main(sys.argv[1:])
    except BaseException:
        traceback.print_exc()
        return 70  # EX_SOFTWARE


if __name__ == "__main__":
    code = _run()
    sys.stderr.flush()
    os._exit(code)  # a thread that is stuck in a dead name server must not keep us alive
