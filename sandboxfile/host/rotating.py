"""A file that is appended to and cannot grow for ever: when full it becomes NAME.1, replacing the one before it."""

import os
from pathlib import Path

LIMIT = 4 << 20  # bytes


class RotatingFile:
    """Mode 0600; never follows a symlink. Used by one thread at a time."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        """Raises OSError when it cannot be opened."""
        self._path = path
        self._limit = limit
        self._descriptor = -1
        self._size = 0
        self._open()

    def write(self, data: bytes) -> None:
        """Append all of it. Raises OSError (a full disk); what was written of it by then stays."""
        if self._descriptor < 0:  # an earlier rotation failed half way
            self._open()
        if self._size and self._size + len(data) > self._limit:
            self._rotate()
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self._size += written
            view = view[written:]

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _rotate(self) -> None:
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        self.close()
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size
