"""Reading and writing the descriptors that a client passed, without blocking and without changing them.

O_NONBLOCK belongs to the open file, which the client shares with the user's shell, so it is never set there. Pipes and
terminals are opened a second time for a file of our own; sockets have MSG_DONTWAIT; the rest (files, devices) cannot
be waited for and is read and written in threads. Each stream has its own thread limit, so that one whose peer does
not read delays no other.
"""

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import anyio
from anyio import CapacityLimiter, to_thread

CHUNK = 1 << 16
_TERMINAL_MAJORS = (4, *range(136, 144))  # consoles and ptys; never /dev/tty and /dev/ptmx, which open something else


class Stream(Protocol):
    """One direction of one descriptor."""

    async def read(self) -> bytes:
        """Some bytes; none at the end. Cancelled: nothing was taken (or, from a file, nobody misses it)."""

    async def write(self, data: bytes) -> None:
        """All bytes. Raises OSError: BrokenPipeError when nobody reads any more."""

    def close(self) -> None: ...


@asynccontextmanager
async def opened(descriptor: int, flags: int) -> AsyncIterator[Stream]:
    """A stream over a descriptor, which stays the caller's. `flags`: os.O_RDONLY or os.O_WRONLY."""
    stream = _stream(descriptor, flags)
    try:
        yield stream
    finally:
        stream.close()


def _stream(descriptor: int, flags: int) -> Stream:
    found = os.fstat(descriptor)
    if stat.S_ISSOCK(found.st_mode):
        return _Socket(descriptor)
    terminal = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _TERMINAL_MAJORS
    if stat.S_ISFIFO(found.st_mode) or terminal:
        # Without O_NOCTTY a session leader without terminal, as we are, would make the user's its own.
        try:
            return _Polled(os.open(f"/proc/self/fd/{descriptor}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError as exc:
            if exc.errno == errno.ENXIO and stat.S_ISFIFO(found.st_mode):
                return _Broken()
            # Somebody else's terminal or pipe (after su): what was opened for us still works, in a thread.
    return _Threaded(descriptor)


class _Polled:
    """An open file of our own, non-blocking."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self) -> bytes:
        while True:
            await anyio.wait_readable(self._descriptor)
            try:
                return os.read(self._descriptor, CHUNK)
            except BlockingIOError:  # somebody else was faster
                continue
            except OSError as exc:
                if exc.errno == errno.EIO:  # the terminal hung up
                    return b""
                raise

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class _Socket:
    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))

    async def read(self) -> bytes:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    def close(self) -> None:
        self._socket.close()


class _Threaded:
    """Blocking calls in threads. One that is cancelled is left behind, and keeps the descriptor open until it ends."""

    def __init__(self, descriptor: int) -> None:
        self._owned = _Owned(descriptor)
        self._limiter = CapacityLimiter(1)

    async def read(self) -> bytes:
        with suppress(PermissionError):  # a file: epoll does not take it, and it never makes us wait
            await anyio.wait_readable(self._owned.number)  # the thread then does not wait, and takes nothing too late
        return await to_thread.run_sync(_read, self._owned, abandon_on_cancel=True, limiter=self._limiter)

    async def write(self, data: bytes) -> None:
        await to_thread.run_sync(_write, self._owned, data, abandon_on_cancel=True, limiter=self._limiter)

    def close(self) -> None:
        pass


class _Owned:
    """A duplicate that is closed when neither the stream nor a thread of its uses it any more."""

    def __init__(self, descriptor: int) -> None:
        self.number = os.dup(descriptor)

    def __del__(self) -> None:
        os.close(self.number)


def _read(owned: _Owned) -> bytes:
    return os.read(owned.number, CHUNK)


def _write(owned: _Owned, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(owned.number, view) :]


class _Broken:
    """A pipe that nobody reads."""

    async def read(self) -> bytes:
        return b""

    async def write(self, data: bytes) -> None:  # noqa: ARG002
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def close(self) -> None:
        pass
