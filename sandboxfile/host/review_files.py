"""Opens, reads and sums up entries of a tree that somebody hostile wrote, within bounds; says what was beyond them.

No link is followed, nothing but regular files is read and nothing is waited for. What cannot be read, or no longer may
be, is told apart by its size and times: the time of the last change of an inode is the kernel's, no program sets it.
"""

import errno
import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

PART_BYTES = 1 << 20  # longer files are compared whole, not by their parts
SMALL_BYTES = 256 << 20  # of files up to that length
LARGE_BYTES = 256 << 20  # of longer ones: they take nothing from the others
SUMMED = 200_000  # entries of directories that are summed up
SUM_DEPTH = 60
_LINKS = 40  # on one way, as the kernel has it

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Reading:
    """`mark` tells contents apart. `content` is absent of a long file; `complete`: all of it was read."""

    mark: bytes
    content: bytes | None
    complete: bool


class Reader:
    """What one look may read in all."""

    def __init__(self) -> None:
        self._left = {"small": SMALL_BYTES, "large": LARGE_BYTES}
        self._entries = SUMMED

    def read(self, file: int) -> Reading:
        """An open regular file, to its end."""
        status = os.fstat(file)
        size = "large" if status.st_size > PART_BYTES else "small"
        hashed, beginning = hashlib.sha256(), bytearray()
        try:
            if status.st_size > self._left[size]:
                return Reading(stamp(status), None, False)
            while data := os.read(file, 1 << 20):
                self._left[size] -= len(data)
                if self._left[size] < 0:  # it grew meanwhile
                    return Reading(stamp(status), None, False)
                hashed.update(data)
                beginning += data if len(beginning) <= PART_BYTES else b""
        except OSError:
            return Reading(stamp(status), None, False)
        if len(beginning) <= PART_BYTES:
            return Reading(bytes(beginning), bytes(beginning), True)
        return Reading(b"sha256 " + hashed.digest(), None, True)

    def sum_up(self, handle: int) -> Reading:
        """All that is in an open directory at whatever depth, by names, modes, sizes and times; nothing is read."""
        hashed = hashlib.sha256()
        complete = self._sum(handle, hashed, 0)
        return Reading(b"sum " + hashed.digest(), None, complete)

    def _sum(self, handle: int, hashed: "hashlib._Hash", depth: int) -> bool:
        try:
            entries = self._entries_of(handle)
        except OSError:
            return False
        complete = self._entries > 0 and depth < SUM_DEPTH
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # it is gone
            name = os.fsencode(entry.name) + b"\0"
            if not entry.is_dir(follow_symlinks=False):
                hashed.update(name + b"%o " % status.st_mode + stamp(status))
                continue
            hashed.update(name + b"%o {" % status.st_mode)
            if complete:
                with opened(handle, entry.name, DIRECTORY) as inner:
                    complete = inner is not None and self._sum(inner, hashed, depth + 1)
            hashed.update(b"}")
        return complete

    def _entries_of(self, handle: int) -> list["os.DirEntry[str]"]:
        found = []
        with os.scandir(handle) as entries:
            for entry in entries:
                if self._entries <= 0:
                    break
                self._entries -= 1
                found.append(entry)
        return sorted(found, key=lambda entry: entry.name)


# --- where names lead --------------------------------------------------------------------------------------------


def inside(roots: Sequence[str], full: str) -> str | None:
    """Where an absolute path leads, relative to the last of `roots`, which are names of one directory, and no links.

    None when it leads elsewhere, where nothing is touched, or to nothing.
    """
    done: list[str] = []
    rest, links = _below(roots, full), 0
    while rest:
        part = rest.pop(0)
        if part == ".." and not done:
            rest = _below(roots, posixpath.normpath(posixpath.join(roots[-1], "..", *rest)))
        elif part == "..":
            done.pop()
        elif part not in ("", "."):
            try:
                link = os.readlink(posixpath.join(roots[-1], *done, part))  # noqa: PTH115 - as text, whatever is in it
            except (OSError, ValueError) as exc:
                if isinstance(exc, OSError) and exc.errno == errno.EINVAL:  # it is no link
                    done.append(part)
                    continue
                return None
            links += 1
            to = _below(roots, link) if link.startswith("/") else link.split("/")
            if to is None or links > _LINKS:
                return None
            done, rest = [] if link.startswith("/") else done, to + rest
    return None if rest is None else "/".join(done)


def _below(roots: Sequence[str], full: str) -> list[str] | None:
    for path in (full, posixpath.normpath(full)):
        for root in roots:
            prefix = root.rstrip("/") + "/"
            if f"{path}/".startswith(prefix):
                return path[len(prefix) :].split("/")
    return None


# --- system calls ------------------------------------------------------------------------------------------------


@contextmanager
def opened(handle: int, name: str, flags: int) -> Iterator[int | None]:
    """An entry of an open directory, itself and no link's target; None when it cannot be had."""
    try:
        inner = os.open(name, flags, dir_fd=handle)
    except (OSError, ValueError):  # ValueError: what a file names can have any character
        yield None
        return
    try:
        yield inner
    finally:
        os.close(inner)


@contextmanager
def opened_below(top: int, path: str) -> Iterator[int | None]:
    """A directory below an open one, no link on the way."""
    handle: int | None = os.dup(top)
    try:
        for name in filter(None, path.split("/")):
            assert handle is not None
            with opened(handle, name, DIRECTORY) as inner:
                os.close(handle)
                handle = None if inner is None else os.dup(inner)
            if handle is None:
                break
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def link_target(handle: int, name: str) -> bytes | None:
    """Where a link leads; None when it is none."""
    try:
        return os.fsencode(os.readlink(name, dir_fd=handle))
    except (OSError, ValueError):
        return None


def status_of(handle: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=handle)
    except (OSError, ValueError):
        return None


def stamp(status: os.stat_result) -> bytes:
    return b"%d %d %d %d " % (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
