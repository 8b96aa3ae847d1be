"""The files of a commit as `git ls-tree` tells them, with bounds on all that a commit can make large.

A few small objects unfold to any number of files when a directory is named in it again and again, so what git says is
read while it says it, and no further than the bounds. Directories count as files do: those without any unfold as well.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sandboxfile.errors import HostError

SIZE_LIMIT = 1 << 30  # bytes: of all files of a commit
FILE_LIMIT = 64 << 20  # bytes: of one file, which is held in memory
ENTRY_LIMIT = 100_000
LISTING_LIMIT = 32 << 20  # bytes: of what git says of them, their paths above all
DEPTH_LIMIT = 100  # directories
PATH_LIMIT = 4095  # bytes, as the kernel's

_CHUNK = 1 << 16
_HEAD_LIMIT = 256  # bytes: what is said of a file before its path


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a commit. `kind`: what it is; `id` that of its content, `size` in bytes."""

    path: str
    kind: str  # "file", "program", "symlink"
    id: str
    size: int


def entries_of(listing: IO[bytes], commit: str) -> Iterator[Entry]:
    """What `ls-tree -r -t -z -l` says; submodules are left out. Raises HostError as soon as there is too much."""
    files = used = 0
    for number, record in enumerate(_records(listing, commit), 1):
        used += len(record)
        if number > ENTRY_LIMIT or used > LISTING_LIMIT:
            raise _too_much(commit, f"{ENTRY_LIMIT} files and directories, or {LISTING_LIMIT >> 20} MiB of their paths")
        entry = _entry(record)
        if entry is None:
            continue
        files += entry.size
        if entry.size > FILE_LIMIT or files > SIZE_LIMIT:
            raise _too_much(commit, f"{FILE_LIMIT >> 20} MiB in a file (`{entry.path}`), or {SIZE_LIMIT >> 30} GiB")
        yield entry


def object_hash(kind: str, size: int, digits: int) -> "hashlib._Hash":
    """What becomes git's name for an object when its content is added: so many hexadecimal digits."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(f"{kind} {size}\0".encode("ascii"))
    return digest


def blob_id(data: bytes, digits: int) -> str:
    """git's name for a content, of so many hexadecimal digits."""
    digest = object_hash("blob", len(data), digits)
    digest.update(data)
    return digest.hexdigest()


def _records(listing: IO[bytes], commit: str) -> Iterator[bytes]:
    rest = b""
    while chunk := listing.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole
        if len(rest) > _HEAD_LIMIT + PATH_LIMIT:
            raise _too_much(commit, f"{PATH_LIMIT} bytes in a path")


def _entry(record: bytes) -> Entry | None:
    head, _, name = record.partition(b"\t")
    mode, kind, id, size = head.decode("ascii").split()
    path, parts = os.fsdecode(name), os.fsdecode(name).split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise HostError(f"the commit holds {path!r}, which is no path of a file")
    if len(name) > PATH_LIMIT or len(parts) > DEPTH_LIMIT:
        raise HostError(f"the commit holds a path longer than {PATH_LIMIT} bytes or {DEPTH_LIMIT} directories")
    kinds = {"100755": "program", "120000": "symlink"}
    return Entry(path, kinds.get(mode, "file"), id, int(size)) if kind == "blob" else None


def _too_much(commit: str, limit: str) -> HostError:
    return HostError(f"the commit {commit[:12]} holds more than {limit}")
