"""Logs that cannot grow for ever, written while nothing waits for the disk: the console and the main process."""

import os
import socket
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

from sandboxfile.host.rotating import LIMIT, RotatingFile
from sandboxfile.host.saying import say

_CHUNK = 1 << 16
_TAIL = 4000


class RotatingLog:
    """Appends to a file, mode 0600. Used by one task at a time; writing goes to the page cache, in a thread."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._file = RotatingFile(path, limit)
        self._closed = False
        self._limiter = CapacityLimiter(1)

    async def write(self, data: bytes) -> None:
        """Append. A disk that is full loses the data, and nothing else: a log must not stop a sandbox."""
        await to_thread.run_sync(self._write, data, limiter=self._limiter)

    def tail(self) -> str:
        """The end of the current file, as text."""
        with self._path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode(errors="replace")

    def close(self) -> None:
        """What is written later is lost."""
        self._closed = True
        self._file.close()

    def _write(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            self._file.write(data)
        except OSError as exc:
            say(f"cannot write {self._path}: {exc.strerror}")


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
