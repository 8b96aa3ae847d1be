"""Writes that survive a crash whole: one file, one directory. Light: programs that only look at things load it too."""

import ctypes
import os
import tempfile
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file as one step: temporary file, fsync, rename, fsync of the directory. Mode 0600."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Each of two directories takes the other's place, at one moment: RENAME_EXCHANGE of rename(2). Raises OSError.

    Not every file system can (EINVAL); nothing has changed then.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))


def sync_directory(path: Path) -> None:
    """Make renames and unlinks in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
