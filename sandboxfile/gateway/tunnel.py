"""Bytes between two connected sockets, both ways, untouched: the raw path.

Works on the bare sockets and the loop's own readiness callbacks, with one buffer for all tunnels: a wake-up costs a
receive and a send, and nothing is allocated. What a slow reader does not take stays in the kernel but for one
buffer's worth; while it waits, the other side is not read. A side that ends is ended on the other side as well, and the
other direction goes on. Idle tunnels end.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from sandboxfile.gateway.tenant import Flow

_BUFFER = 1 << 17  # bytes moved at once
_IDLE = 2 * 3600.0  # seconds without a byte in either direction
_HALF = 300.0  # the same, when one side has ended

_buffer = bytearray(_BUFFER)  # of the one event loop: filled and emptied within one callback
_view = memoryview(_buffer)


class Tunnel:
    """Owns both sockets. `run` moves bytes until both sides have ended; `cut` may be called at any time."""

    def __init__(
        self, client: socket.socket, server: socket.socket, *, idle: float = _IDLE, half: float = _HALF
    ) -> None:
        self.client = client
        self.server = server
        self._idle = idle
        self._half = half
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ways: tuple[_Way, ...] = ()

    async def run(self, flow: Flow, seen: bytes = b"") -> str:
        """Move bytes, `seen` to the server first; gives what went wrong, or nothing. Both sockets are closed then."""
        loop = asyncio.get_running_loop()
        if self._over.done():  # cut before it began
            return self._over.result()

        def sent(count: int) -> None:
            flow.sent += count

        def received(count: int) -> None:
            flow.received += count

        up = _Way(loop, self.client, self.server, sent, self._ended)
        down = _Way(loop, self.server, self.client, received, self._ended)
        self._ways = (up, down)
        try:
            down.begin()
            up.begin(seen)
            return await self._until_over(flow)
        finally:
            self.cut()

    def cut(self, error: str = "") -> None:
        """Close both sockets at once. Idempotent."""
        for way in self._ways:
            way.stop()
        self.client.close()
        self.server.close()
        if not self._over.done():
            self._over.set_result(error)

    def _ended(self, error: str) -> None:
        if error or all(way.over for way in self._ways):
            self.cut(error)

    async def _until_over(self, flow: Flow) -> str:
        moved = -1
        while True:
            half = any(way.over for way in self._ways)
            done, _ = await asyncio.wait((self._over,), timeout=self._half if half else self._idle)
            if done:
                return self._over.result()
            if moved == flow.sent + flow.received:
                return "idle for too long"
            moved = flow.sent + flow.received


class _Way:
    """One direction. `over`: its source has ended, and all of it has been passed on."""

    __slots__ = ("_count", "_ended", "_loop", "_rest", "_sink", "_source", "over")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        sink: socket.socket,
        count: Callable[[int], None],
        ended: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._source = source
        self._sink = sink
        self._count = count
        self._ended = ended
        self._rest = b""
        self.over = False

    def begin(self, seen: bytes = b"") -> None:
        # By number all along: the loop words an error about each socket that it does not know yet, and that costs.
        self._loop.add_reader(self._source.fileno(), self._move)
        if seen:
            self._pass_on(memoryview(seen))

    def stop(self) -> None:
        if (number := self._source.fileno()) >= 0:
            self._loop.remove_reader(number)
        if (number := self._sink.fileno()) >= 0:
            self._loop.remove_writer(number)

    def _move(self) -> None:
        try:
            got = self._source.recv_into(_buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._ended(_words(exc))
            return
        if got:
            self._pass_on(_view[:got])
        else:
            self._end()

    def _pass_on(self, data: memoryview) -> None:
        try:
            sent = self._sink.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as exc:
            self._ended(_words(exc))
            return
        self._count(sent)
        if sent < len(data):
            self._rest = bytes(data[sent:])
            self._loop.remove_reader(self._source.fileno())
            self._loop.add_writer(self._sink.fileno(), self._drain)

    def _drain(self) -> None:
        try:
            sent = self._sink.send(self._rest)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._ended(_words(exc))
            return
        self._count(sent)
        self._rest = self._rest[sent:]
        if not self._rest:
            self._loop.remove_writer(self._sink.fileno())
            self._loop.add_reader(self._source.fileno(), self._move)

    def _end(self) -> None:
        self._loop.remove_reader(self._source.fileno())
        with suppress(OSError):  # the other side is gone already
            self._sink.shutdown(socket.SHUT_WR)
        self.over = True
        self._ended("")


def _words(exc: OSError) -> str:
    return exc.strerror or str(exc)
