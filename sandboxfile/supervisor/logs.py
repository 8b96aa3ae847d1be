"""Logs that cannot grow for ever: the console, the main process, and the supervisor's own lines."""

import fcntl
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

LIMIT = 4 << 20  # bytes; then the file becomes NAME.1, replacing the one before it
_OWN_LIMIT = 1 << 20
_CHUNK = 1 << 16
_TAIL = 4000


class RotatingLog:
    """Appends to a file, mode 0600. Used by one task at a time; writing goes to the page cache, in a thread."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._limiter = CapacityLimiter(1)
        self._descriptor = -1
        self._size = 0
        self._open()

    async def write(self, data: bytes) -> None:
        """Append. A disk that is full loses the data, and nothing else: a log must not stop a sandbox."""
        await to_thread.run_sync(self._write, data, limiter=self._limiter)

    def tail(self) -> str:
        """The end of the current file, as text."""
        size = os.fstat(self._descriptor).st_size
        with self._path.open("rb") as file:
            file.seek(max(0, size - _TAIL))
            return file.read().decode(errors="replace")

    def close(self) -> None:
        """What is written later is lost."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _write(self, data: bytes) -> None:
        if self._descriptor < 0:
            return
        try:
            if self._size and self._size + len(data) > self._limit:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                os.close(self._descriptor)
                self._open()
            self._size += len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as exc:
            say(f"cannot write {self._path}: {exc.strerror}")

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size


async def drain(source: socket.socket, log: RotatingLog) -> None:
    """Move all that comes from a socket into a log, until its end. QEMU blocks when nobody reads its console."""
    source.setblocking(False)
    while True:
        await anyio.wait_readable(source)
        try:
            data = source.recv(_CHUNK)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not data:
            return
        await log.write(data)


def say(line: str) -> None:
    """A line into the supervisor's own log, which is its stderr; begun anew when it has become long."""
    try:
        number = sys.stderr.fileno()
        if os.fstat(number).st_size > _OWN_LIMIT:
            fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_APPEND)
            os.ftruncate(number, 0)
    except OSError:
        pass  # not a file
    print(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}", file=sys.stderr, flush=True)
