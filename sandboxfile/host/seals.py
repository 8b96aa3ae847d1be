"""Which file it is that a person approved, so that only who is at the host can have written it since.

That a path is read-only inside is no proof: its inode may have another name there, or be open since before. So a file
is sealed at a moment when nothing inside has it: as the inode that it is, with no other name. The number of an inode
is used again when a file is gone; the time of its birth is not. Where a filesystem tells none, no file is sealed.
"""

import os
import stat
from typing import NamedTuple

from sandboxfile.host import births
from sandboxfile.host.files import ENOUGH
from sandboxfile.planning.trusting import ABSENT, digest_of


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
        born = births.born(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or born is None:
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(ENOUGH)
        return Seal(found.st_dev, found.st_ino, born), digest_of(content) if content else ABSENT
    except OSError:
        return None
    finally:
        os.close(handle)
