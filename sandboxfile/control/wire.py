"""One end of a control connection: lines and descriptors over a UNIX stream socket, on asyncio and on trio.

Used by `client` and `server`. Whatever arrives, no descriptor is lost: those that nobody takes are closed.
"""

import os
import socket
from collections.abc import Sequence

import anyio

from sandboxfile.control.messages import LINE_LIMIT
from sandboxfile.errors import ControlError

DESCRIPTORS = 3  # stdin, stdout, stderr: the most that one message carries
_CHUNK = 1 << 16


class Wire:
    """Owns a connected socket. One task may receive while others send; cancellation loses nothing received."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._received = bytearray()
        self._searched = 0
        self._descriptors: list[int] = []
        self._sending = anyio.Lock()
        self._broken = False  # a cancelled send left half a line

    async def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send all bytes; the descriptors go with the first. Raises ControlError when the other side is gone."""
        async with self._sending:
            if self._broken:
                raise ControlError("the control connection is broken")
            view = memoryview(data)
            self._broken = True
            while view:
                try:
                    sent = socket.send_fds(self.socket, [view], list(descriptors))
                except BlockingIOError:
                    await anyio.wait_writable(self.socket)
                except OSError as exc:
                    raise ControlError(f"the control connection is gone: {exc.strerror}") from exc
                else:
                    view, descriptors = view[sent:], ()
            self._broken = False

    async def receive(self) -> bytes | None:
        """The next line without its newline; None at the end. Raises ControlError for a line that is too long."""
        while True:
            end = self._received.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(self._received[:end])
                del self._received[: end + 1]
                self._searched = 0
                return line
            self._searched = len(self._received)
            if self._searched > LINE_LIMIT:
                raise ControlError("a message on the control connection is too long")
            if not await self._fill():
                return None

    async def _fill(self) -> bool:
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self.socket, _CHUNK, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
                break
            except BlockingIOError:
                await anyio.wait_readable(self.socket)
            except OSError:  # reset by the other side: the same as its end
                return False
        self._descriptors += descriptors
        if flags & socket.MSG_CTRUNC or len(self._descriptors) > DESCRIPTORS:
            raise ControlError("too many descriptors on the control connection")
        self._received += data
        return bool(data)

    def take_descriptors(self) -> tuple[int, ...]:
        """Those that came with what was received so far. The caller closes them."""
        taken, self._descriptors = tuple(self._descriptors), []
        return taken

    def close(self) -> None:
        """Close the socket and every descriptor that nobody took. No task may be waiting on it."""
        for descriptor in self.take_descriptors():
            os.close(descriptor)
        self.socket.close()
