"""Progress of a program that says nothing itself: the size of what it writes, looked at every second."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from sandboxfile.host.tasks import beside

SECONDS = 1.0
UNITS = ("bytes", "kB", "MB", "GB", "TB")


@asynccontextmanager
async def watched(path: Path, look: Callable[[int], None]) -> AsyncIterator[None]:
    """During the block, call `look` every second with the bytes below `path`. What it raises ends the block."""

    async def watch() -> None:
        while True:
            await anyio.sleep(SECONDS)
            look(size_of(path))

    async with beside(watch):
        yield


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; what goes away meanwhile counts for nothing."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(size_of(child) for child in path.iterdir())
        return path.lstat().st_size
    except OSError:
        return 0


def amount(size: int) -> str:
    """A number of bytes for people: `12.3 MB`."""
    value, unit = float(size), 0
    while value >= 999.95 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{size} bytes"
