"""A large file in a second place, as cheaply as the file systems allow. Blocking."""

import errno
import fcntl
import os
from pathlib import Path

from sandboxfile.errors import HostError

_FICLONE = 0x40049409  # ioctl_ficlone(2)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same file; across file systems a copy. Raises HostError."""
    try:
        os.link(source, target)
        return
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise HostError(f"cannot link {source} to {target}: {exc.strerror}") from exc
    copy_file(source, target)


def copy_file(source: Path, target: Path) -> None:
    """A new file with the same content: blocks shared, holes kept where possible. Raises HostError, leaves nothing."""
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            try:
                fcntl.ioctl(writer, _FICLONE, reader.fileno())
            except OSError:
                _copy_data(reader.fileno(), writer.fileno())
            os.fsync(writer.fileno())
    except OSError as exc:
        target.unlink(missing_ok=True)
        raise HostError(f"cannot copy {source} to {target}: {exc.strerror}", hint="is the disk full?") from exc


def _copy_data(source: int, target: int) -> None:
    """Copy the parts of a file that hold data; the holes between them stay holes."""
    length = os.fstat(source).st_size
    os.ftruncate(target, length)
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += os.sendfile(target, source, start, min(end - start, 1 << 26))
