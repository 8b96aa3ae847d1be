"""One TCP connection to a service inside, seen from here: bytes both ways, half-close, back-pressure. Knows no SSH.

The channel calls the lower half (asyncssh's session callbacks), everybody else the upper half. What is held here is
bounded whatever the guest does: it is made to wait by the window that it was given, and a writer by `hold`.
"""

from collections.abc import Callable
from typing import Protocol

import anyio

from sandboxfile.errors import GuestError

WINDOW = 1 << 18  # bytes that the guest may send before somebody has read them
_HIGH, _LOW = 1 << 17, 1 << 16  # bytes held here before reading is paused, and until it goes on
_CHUNK = 1 << 16


class NothingListensError(GuestError):
    """No service inside takes connections at this port."""


class Channel(Protocol):
    """What a tunnel needs of its SSH channel."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Tunnel:
    """An open connection; `close` it. `on_closed` is called once, when it is over."""

    def __init__(self) -> None:
        self.on_closed: Callable[[], None] = lambda: None
        self._channel: Channel | None = None
        self._received = bytearray()
        self._reading_paused = False
        self._ended = False  # nothing more comes
        self._failure: Exception | None = None
        self._full = self._held = False  # its own channel takes no more; the connection that it shares does not
        self._news = anyio.Event()  # data or the end has come; replaced each time
        self._writable = anyio.Event()
        self._writable.set()

    async def read(self) -> bytes:
        """Some bytes; none once the service has sent its last. Raises ConnectionResetError when the guest was lost."""
        while not self._received and not self._ended:
            await self._news.wait()
        data = bytes(self._received[:_CHUNK])
        del self._received[:_CHUNK]
        if self._reading_paused and len(self._received) < _LOW and self._channel is not None:
            self._reading_paused = False
            self._channel.resume_reading()
        if not data and self._failure is not None:
            raise ConnectionResetError("the connection to the sandbox broke") from self._failure
        return data

    async def write(self, data: bytes) -> None:
        """All bytes. Raises BrokenPipeError when the service has hung up."""
        for start in range(0, len(data), _CHUNK):
            while not self._writable.is_set():  # of all that wake up, the first one may fill it again
                await self._writable.wait()
            if self._channel is None:
                raise BrokenPipeError
            self._channel.write(data[start : start + _CHUNK])  # raises the same, once the guest has closed it

    def write_eof(self) -> None:
        """Say that nothing more comes from here. Does nothing when it is over."""
        if self._channel is not None:
            self._channel.write_eof()

    def close(self) -> None:
        """Hang up; what was written still goes out. Idempotent."""
        if self._channel is not None:
            self._channel.close()

    def abort(self) -> None:
        """Hang up, and drop what has not gone out. Idempotent."""
        if self._channel is not None:
            self._channel.abort()

    def hold(self, held: bool) -> None:
        """Make writers wait, or let them go on: the connection that all tunnels of a lane share is full, or is not."""
        self._held = held
        self._weigh()

    # --- what the channel calls ----------------------------------------------------------------------------------

    def connection_made(self, chan: Channel) -> None:
        self._channel = chan
        self._weigh()

    def data_received(self, data: bytes, datatype: int | None) -> None:  # noqa: ARG002
        self._received.extend(data)
        if len(self._received) > _HIGH and not self._reading_paused and self._channel is not None:
            self._reading_paused = True
            self._channel.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        self._ended = True
        self._tell()
        return True  # our direction stays open

    def pause_writing(self) -> None:
        self._full = True
        self._weigh()

    def resume_writing(self) -> None:
        self._full = False
        self._weigh()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended:
            self._failure = exc
        self._channel = None
        self._ended = True
        self._tell()
        self._weigh()
        self.on_closed()

    def _weigh(self) -> None:
        waits = (self._full or self._held) and self._channel is not None
        if waits and self._writable.is_set():
            self._writable = anyio.Event()
        elif not waits:
            self._writable.set()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()
