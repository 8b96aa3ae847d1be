"""Reading files that somebody else wrote: regular ones only, and no more of them than a sandbox file may have."""

import os
import stat
from pathlib import Path

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.language.document import FILE_LIMIT
from sandboxfile.model.desired import FileContent
from sandboxfile.planning.trusting import ABSENT, digest_of

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


ENOUGH = 4 * FILE_LIMIT + 1  # the limit counts characters, of at most four bytes


def read_file(path: Path, owners: frozenset[int] = frozenset(), *, limit: int = ENOUGH, links: bool = True) -> bytes:
    """The first `limit` bytes of a regular file; by default enough for `decode` and `parse` to say that it is too long.

    Without `links` the path itself must be the file. With `owners`: only when one of these users owns it and nobody
    else may write to it. Raises NotFoundError, and HostError when it is no regular file, may not be read, or may be
    somebody else's words.
    """
    follow = 0 if links else os.O_NOFOLLOW
    try:
        # Without O_NONBLOCK a FIFO would wait for a writer, for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | follow)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFoundError(f"there is no file {path}") from exc
    except OSError as exc:
        raise HostError(f"cannot read {path}: {exc.strerror}") from exc
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise HostError(f"cannot read {path}: it is not a regular file")
        if owners and status.st_uid not in owners:
            raise HostError(f"{path} belongs to another user (uid {status.st_uid})")
        if owners and status.st_mode & _OTHERS_WRITE:
            raise HostError(f"others may write to {path}", hint=f"chmod go-w {path}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(limit)
    except OSError as exc:
        raise HostError(f"cannot read {path}: {exc.strerror}") from exc
    finally:
        os.close(handle)


def as_read(path: Path, content: str | bytes | None) -> FileContent:
    """A file with the digest of what was read of it; one that holds nothing says as much as none."""
    return FileContent(str(Path.cwd() / path), digest_of(content) if content else ABSENT)


def read_text(path: Path) -> str | None:
    """The text of a program's configuration, as far as it is text; None when there is none that can be read."""
    try:
        return read_file(path).decode(errors="replace")
    except (HostError, NotFoundError):
        return None
