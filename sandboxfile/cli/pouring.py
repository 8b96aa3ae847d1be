"""A pipe of the user's into a file and a file out into a pipe, without holding up what runs beside.

Pipes are waited for; a plain file as standard input or output is always ready, and epoll(7) knows none.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel

_IN, _OUT = 1 << 18, 1 << 12  # bytes at a time; a pipe that is ready takes PIPE_BUF without blocking: pipe(7)


async def pour_in(descriptor: int, target: Path, report: Callable[[int], None]) -> None:
    """Copy all that comes into a new file; `report` is told the bytes so far. Raises OSError."""
    waits, total = not _is_file(descriptor), 0
    with target.open("xb") as file:
        while True:
            await (anyio.wait_readable(descriptor) if waits else anyio.lowlevel.checkpoint())
            data = os.read(descriptor, _IN)
            if not data:
                return
            file.write(data)
            total += len(data)
            report(total)


async def pour_out(source: Path, descriptor: int) -> None:
    """Copy a whole file. Raises BrokenPipeError when nobody reads any more, OSError."""
    waits = not _is_file(descriptor)
    with source.open("rb") as file:
        while data := file.read(_OUT if waits else _IN):
            await (anyio.wait_writable(descriptor) if waits else anyio.lowlevel.checkpoint())
            while data:
                data = data[os.write(descriptor, data) :]


def _is_file(descriptor: int) -> bool:
    """Also a device like /dev/null, which epoll refuses as well."""
    mode = os.fstat(descriptor).st_mode
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))
