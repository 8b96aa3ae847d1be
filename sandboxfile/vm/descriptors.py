"""Descriptors on their way to a child process: who owns them, and what a child prints.

A set owns what it is given until it is closed; the child has its own copies by then.
"""

import array
import errno
import fcntl
import os
import socket
from pathlib import Path

import anyio

_OUTPUT_LIMIT = 1 << 16
_MOST_SOCKETS = 200  # in one message; the kernel takes 253


class DescriptorSet:
    """Descriptors that one child inherits, under the same numbers."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._open: list[int] = []

    def own(self, descriptor: int) -> int:
        """Take over a descriptor."""
        self.numbers.append(descriptor)
        self._open.append(descriptor)
        return descriptor

    def open(self, path: Path, flags: int) -> int:
        """Open a file for the child."""
        return self.own(os.open(path, flags | os.O_CLOEXEC))

    def data(self, content: bytes) -> int:
        """A file that holds `content` and is on no disk, positioned at its start."""
        descriptor = self.own(os.memfd_create("sandboxfile"))
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def pair(self) -> tuple[int, socket.socket]:
        """A connected pair of stream sockets: the child's number, and our end, which the caller owns."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        return self.own(theirs.detach()), ours

    def close(self) -> None:
        """Close our copies; `numbers` stays. Idempotent."""
        while self._open:
            os.close(self._open.pop())


class OutputLog:
    """The first 64 KiB of what a child prints. In memory and bounded by the kernel, so that nobody must read along."""

    def __init__(self) -> None:
        self._last = ""
        self._descriptor = os.memfd_create("output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._descriptor, _OUTPUT_LIMIT)
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)

    def fileno(self) -> int:
        return self._descriptor

    def text(self) -> str:
        """What was printed so far, or until it was closed."""
        if self._descriptor < 0:
            return self._last
        return os.pread(self._descriptor, _OUTPUT_LIMIT, 0).rstrip(b"\0").decode(errors="replace")

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            self._last = self.text()
            os.close(self._descriptor)
            self._descriptor = -1


async def receive(connected: socket.socket, limit: int = 1 << 20) -> bytes:
    """One message of a packet socket, empty when the other side is gone."""
    connected.setblocking(False)
    while True:
        await anyio.wait_readable(connected)
        try:
            return connected.recv(limit)
        except BlockingIOError:
            continue


async def receive_sockets(connected: socket.socket, limit: int = 1 << 16) -> tuple[bytes, list[socket.socket]]:
    """One message of a packet socket, and the sockets that came with it: non-blocking, ours to close.

    Empty when the other side is gone. Raises OSError, and keeps nothing, when not all of it arrived.
    """
    connected.setblocking(False)
    space = socket.CMSG_SPACE(_MOST_SOCKETS * array.array("i").itemsize)
    while True:
        await anyio.wait_readable(connected)
        try:
            text, ancillary, flags, _ = connected.recvmsg(limit, space, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            continue
        received = [socket.socket(fileno=number) for data in ancillary for number in _numbers(*data)]
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            for each in received:
                each.close()
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        for each in received:
            each.setblocking(False)
        return text, received


def _numbers(level: int, kind: int, data: bytes) -> array.array[int]:
    """The descriptors of one ancillary message."""
    numbers = array.array("i")
    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return numbers
