"""`python -m sandboxfile.supervisor PROJECT/NAME`: started detached by an apply, ends with its machine.

Exit codes: 0 stopped, 1 could not start, 2 wrong usage, 75 somebody else runs this sandbox, 70 a bug.
"""

import os
import resource
import sys
import traceback
from pathlib import Path

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import try_lock
from sandboxfile.names import SandboxId

_TAKEN = 75  # EX_TEMPFAIL


def main(argv: list[str]) -> int:
    """Run the supervisor; see the module."""
    try:
        (id,) = map(SandboxId.parse, argv)
    except ValueError:
        print("usage: python -m sandboxfile.supervisor PROJECT/NAME", file=sys.stderr)
        return 2
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())
    try:
        lock = try_lock(layout.sandbox(id).lock)
    except FileNotFoundError:
        print(f"there is no sandbox {id}", file=sys.stderr)
        return 1
    if lock is None:
        return _TAKEN
    os.chdir("/")  # a working directory would keep its file system from being unmounted
    _allow_many_files()
    return _supervise(layout, id, lock)


def _supervise(layout: Layout, id: SandboxId, lock: int) -> int:
    import anyio  # after the lock: whoever comes second is told so at once

    from sandboxfile.host.saying import say
    from sandboxfile.supervisor.runner import supervise

    try:
        return anyio.run(supervise, layout, id, lock, dict(os.environ))
    except SandboxfileError as exc:
        for line in (str(exc), *exc.details()):
            say(line)
        return 1


def _allow_many_files() -> None:
    """Each command holds ten descriptors, each file server one per file that the guest knows."""
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
    os._exit(code)  # a thread that is stuck in a client's dead stream must not keep us alive
