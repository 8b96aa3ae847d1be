"""Which file it is that a person approved, so that only who is at the host can have written it since.

That a path is read-only inside is no proof: its inode may have another name there, or be open since before. So a file
is sealed at a moment when nothing inside has it: as the inode that it is, with no other name. The number of an inode
is used again when a file is gone; the time of its birth is not. Where a filesystem tells none, no file is sealed.
"""

import os
import stat
import struct
from typing import NamedTuple

from sandboxfile.host.files import ENOUGH
from sandboxfile.planning.trusting import ABSENT, digest_of

_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_STATX = struct.Struct("=I76xqI164x")  # stx_mask and stx_btime


class Seal(NamedTuple):
    """Which file it is. `born`: nanoseconds since 1970."""

    device: int
    inode: int
    born: int


def look(path: str) -> tuple[Seal, str] | None:
    """What can be sealed at a path, and the digest of its content. None when nothing can. Never raises."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(handle)
        born = _born(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or born is None:
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(ENOUGH)
        return Seal(found.st_dev, found.st_ino, born), digest_of(content) if content else ABSENT
    except OSError:
        return None
    finally:
        os.close(handle)


def _born(handle: int) -> int | None:
    """When the file of a descriptor was made, None where nobody knows. Python has no statx(2) yet."""
    import ctypes  # here: most commands look at no seal

    answer = ctypes.create_string_buffer(_STATX.size)
    try:
        failed = ctypes.CDLL(None).statx(handle, b"", _AT_EMPTY_PATH, _STATX_BTIME, answer)
    except AttributeError:
        return None
    known, seconds, nanoseconds = _STATX.unpack(answer.raw)
    return None if failed or not known & _STATX_BTIME else seconds * 1_000_000_000 + nanoseconds
