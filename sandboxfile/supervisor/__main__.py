"""`python -m sandboxfile.supervisor PROJECT/NAME [--tied]`: started detached by an apply, ends with its machine.

Tied: it also ends, and at once, when the pipe that is its descriptor TIE has no writer any more: with its builder.

Exit codes: 0 stopped, 2 wrong usage, and those of `host.detached`.
"""

import os
import sys
from pathlib import Path

from sandboxfile.host.detached import exit_with, run_alone
from sandboxfile.host.layout import Layout
from sandboxfile.host.spawn import TIE
from sandboxfile.names import SandboxId


def main(argv: list[str]) -> int:
    """Run the supervisor; see the module."""
    tied = TIE if argv[1:] == ["--tied"] else None
    try:
        (id,) = map(SandboxId.parse, argv[:1] if tied is not None else argv)
    except ValueError:
        print("usage: python -m sandboxfile.supervisor PROJECT/NAME [--tied]", file=sys.stderr)
        return 2
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())

    async def live(lock: int) -> int:
        from sandboxfile.supervisor.runner import supervise

        return await supervise(layout, id, lock, dict(os.environ), tied)

    return run_alone(layout.sandbox(id).lock, f"there is no sandbox {id}", live)


if __name__ == "__main__":
    exit_with(main)
