"""`python -m sandboxfile.gateway`: started detached by a supervisor, ends with the last one. One per user.

Exit codes: 0 nobody needed it any more, 2 wrong usage, and those of `host.detached`.
"""

import os
import sys
from pathlib import Path

from sandboxfile.host.detached import exit_with, run_alone
from sandboxfile.host.layout import Layout


def main(argv: list[str]) -> int:
    """Run the gateway; see the module."""
    if argv:
        print("usage: python -m sandboxfile.gateway", file=sys.stderr)
        return 2
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())

    async def live(lock: int) -> int:
        from sandboxfile.gateway.runner import run

        return await run(layout, lock)

    return run_alone(layout.gateway_lock, f"there is no directory {layout.state}", live)


if __name__ == "__main__":
    exit_with(main)
