"""The ways to files: every place that is passed, and which directory that is, whatever it is called by now.

A directory that was exposed and then moved is known again by its inode. Numbers of inodes are used again: where the
filesystem tells generations, those keep an old directory and a new one apart; where it does not, they are taken for
one, which asks once too often.
"""

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterable
from typing import NamedTuple

_LINK_LIMIT = 40  # as the kernel's MAXSYMLINKS
_GENERATION = 0x80087601  # FS_IOC_GETVERSION


class Identity(NamedTuple):
    """Which directory it is, whatever it is called. `generation` tells those apart that had one inode; 0: unknown."""

    device: int
    inode: int
    generation: int = 0

    def may_be(self, other: "Identity") -> bool:
        """Whether both are one directory, as far as anybody knows."""
        return self[:2] == other[:2] and (self.generation == other.generation or 0 in (self[2], other[2]))


def way(path: str) -> tuple[str, ...]:
    """Every place that is passed on the way to an absolute path, symlinks and what they lead to; its end is the last.

    What does not exist is passed as if it were a directory. Never raises.
    """
    current, links, passed = "/", 0, [os.path.normpath(path)]
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while pending:
        part = pending.pop()
        if part == "..":
            current = os.path.dirname(current)  # noqa: PTH120
            continue
        step = os.path.join(current, part)  # noqa: PTH118
        passed.append(step)
        target = _link(step) if links < _LINK_LIMIT else None
        if target is None:
            current = step
            continue
        links += 1
        current = "/" if target.startswith("/") else current
        pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return (*passed, current)


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return None


def known_again(identities: Iterable[Identity], places: Iterable[str]) -> frozenset[str]:
    """Those of the places that are a directory which was exposed, perhaps under another name."""
    by_inode: dict[tuple[int, int], list[Identity]] = {}
    for each in identities:
        by_inode.setdefault(each[:2], []).append(each)
    found = set()
    for place in places:
        seen = _look(place)
        alike = by_inode.get(seen[:2], ()) if seen is not None else ()
        now = identity(place) if alike else None  # asked for only here: it opens the directory
        if now is not None and any(map(now.may_be, alike)):
            found.add(place)
    return frozenset(found)


def identity(path: str) -> Identity | None:
    """That of a directory, None when it is none. Never raises."""
    seen = _look(path)
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            now = os.fstat(handle)
            seen = Identity(now.st_dev, now.st_ino)
            answer = fcntl.ioctl(handle, _GENERATION, bytes(8))
            return seen._replace(generation=int.from_bytes(answer, sys.byteorder))
        finally:
            os.close(handle)
    return seen  # not every filesystem knows generations, and not every directory may be opened


def _look(path: str) -> Identity | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return Identity(status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
