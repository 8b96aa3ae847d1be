"""Waiting until a file of a project is another one, whatever writes it and however. The only door to watchfiles.

What counts is how the files are, not what was reported: notices only say when to look, and without any (network file
systems, too many watches) it is looked at every two seconds. So nothing is missed between one look and the next one,
a file may come or go, be a link, or be replaced by another one of its name.
"""

import os
from collections.abc import Collection, Iterable
from contextlib import aclosing, suppress
from pathlib import Path

import anyio

_STILL = 0.2  # seconds without a change until the files are taken for finished
_PATIENCE = 20  # times that; somebody may be writing for ever
_LOOK_EVERY = 2.0  # seconds
_ENTRY_LIMIT = 50_000  # of a directory that is watched as a whole

# By path: what stat(2) says of what is there now, behind links; None when nothing is. Of a directory, all in it.
Look = dict[Path, object]


def look_at(paths: Iterable[Path]) -> Look:
    """How these are now. Never raises."""
    return {path: _state(path) for path in paths}


async def changed(paths: Collection[Path], before: Look) -> tuple[Path, ...]:
    """Wait until some of the paths are not as they were, and have been left alone a moment since; gives those."""
    while True:
        while look_at(paths) == before:
            await _notice(places(paths))
        now = await _settled(paths)
        if found := tuple(path for path in sorted(paths) if now[path] != before.get(path)):
            return found


async def _settled(paths: Collection[Path]) -> Look:
    now = look_at(paths)
    for _ in range(_PATIENCE):
        await anyio.sleep(_STILL)
        latest = look_at(paths)
        if latest == now:
            break
        now = latest
    return now


def places(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The directories to watch, none of them for what is deeper: those of the paths, and where links lead to.

    Where there is none yet, the nearest above it.
    """
    found: set[Path] = set()
    for path in paths:
        for each in (Path(os.path.abspath(path)), Path(os.path.realpath(path))):  # noqa: PTH100 - links stay
            found.add(next(above for above in each.parents if above.is_dir()))
            found.update([each] if each.is_dir() else [])
    return tuple(sorted(found))


async def _notice(directories: Collection[Path]) -> None:
    """Return when something may have changed in one of them, or after a while."""
    from watchfiles import awatch

    with suppress(OSError, RuntimeError), anyio.move_on_after(_LOOK_EVERY):  # gone meanwhile, or too many watches
        watch = awatch(*directories, recursive=False, watch_filter=None, debounce=100, step=20, rust_timeout=500)
        async with aclosing(watch) as notices:
            async for _ in notices:
                return
    await anyio.sleep(_STILL)


def _state(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    one = _marks(found)
    if not path.is_dir():
        return one
    below: list[object] = [one]
    with suppress(OSError):
        for directory, _, names in os.walk(path):
            for name in names:
                with suppress(OSError):
                    below.append((directory, name, _marks(os.lstat(os.path.join(directory, name)))))  # noqa: PTH118
            if len(below) > _ENTRY_LIMIT:
                break
    return tuple(below)


def _marks(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)
