"""One process inside, seen from here: its streams with back-pressure, its end. Knows no SSH library.

The channel calls the lower half (asyncssh's session callbacks), everybody else the upper half.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import anyio

from sandboxfile.errors import GuestError

_HIGH, _LOW = 1 << 18, 1 << 16  # bytes held here before the guest must wait, and until it need not any more
_CHUNK = 1 << 16
_DRAIN = 3.0  # seconds without output after which what the process left behind no longer keeps its streams open
_STDERR = 1  # SSH_EXTENDED_DATA_STDERR


@dataclass(frozen=True, slots=True)
class Terminal:
    """A pty for a process. `kind` is TERM."""

    kind: str
    rows: int
    columns: int


class Channel(Protocol):
    """What a process needs of its SSH channel."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def send_signal(self, signal: str) -> None: ...
    def change_terminal_size(self, width: int, height: int) -> None: ...


class Process:
    """A started process. `id` marks it inside; `code` is its exit code once it has one, 128 + N for signal N."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.code: int | None = None
        self.on_closed: Callable[[], None] = lambda: None
        self._channel: Channel | None = None
        self._outputs = (bytearray(), bytearray())
        self._ended = False  # no more output comes
        self._reading_paused = False
        self._discarding = False
        self._news = anyio.Event()  # output or an end has come; replaced each time
        self._writable = anyio.Event()
        self._writable.set()
        self._exited = anyio.Event()
        self._closed = anyio.Event()

    async def read_stdout(self) -> bytes:
        """Some bytes; none at the end."""
        return await self._read(self._outputs[0])

    async def read_stderr(self) -> bytes:
        """Some bytes; none at the end. With a terminal all output is on stdout."""
        return await self._read(self._outputs[1])

    async def write(self, data: bytes) -> None:
        """All bytes to stdin. Raises BrokenPipeError when the process has ended."""
        for start in range(0, len(data), _CHUNK):
            await self._writable.wait()
            if self._channel is None:
                raise BrokenPipeError
            self._channel.write(data[start : start + _CHUNK])
        await self._writable.wait()

    def write_eof(self) -> None:
        """End its stdin. Does nothing when it has ended."""
        if self._channel is not None:
            self._channel.write_eof()

    def resize(self, rows: int, columns: int) -> None:
        if self._channel is not None:
            self._channel.change_terminal_size(columns, rows)

    def send_signal(self, name: str) -> None:
        """By sshd, which knows few signals and cannot reach processes of other users; `Guest.signal` can."""
        if self._channel is not None and name in ("HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"):
            self._channel.send_signal(name)

    async def wait(self) -> int:
        """Its exit code, as soon as it has ended; output may still come. Raises GuestError when the guest was lost."""
        await self._exited.wait()
        if self.code is None:
            raise GuestError(
                "the connection to the sandbox broke while a command ran in it",
                hint="`sbx status NAME` says whether the machine still runs",
            )
        return self.code

    async def closed(self) -> None:
        """Return when the guest closed the process's streams: it and whoever had inherited them have ended."""
        await self._closed.wait()

    def discard_output(self) -> None:
        """Nobody reads it any more: throw away what is here and what comes, so that its end is not held up."""
        self._discarding = True
        for output in self._outputs:
            output.clear()
        self._resume_reading()

    def close(self) -> None:
        """Give the streams up. Idempotent. The process itself is not told: `Guest.end` does that."""
        if self._channel is not None:
            self._channel.close()

    def abandon(self) -> None:
        """It could not be started."""
        if self._channel is not None:
            self._channel.close()
        elif not self._closed.is_set():
            self.connection_lost(None)

    async def _read(self, output: bytearray) -> bytes:
        while not output and not self._ended:
            news = self._news
            if self.code is None or self._reading_paused:
                await news.wait()
                continue
            with anyio.move_on_after(_DRAIN):
                await news.wait()
            if not news.is_set():
                return b""
        data = bytes(output[:_CHUNK])
        del output[:_CHUNK]
        if self._held() < _LOW:
            self._resume_reading()
        return data

    def _resume_reading(self) -> None:
        if self._reading_paused and self._channel is not None:
            self._reading_paused = False
            self._channel.resume_reading()

    def _held(self) -> int:
        return sum(len(output) for output in self._outputs)

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    # --- what the channel calls ----------------------------------------------------------------------------------

    def connection_made(self, chan: Channel) -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._discarding:
            return
        self._outputs[datatype == _STDERR].extend(data)
        if self._held() > _HIGH and self._channel is not None:
            self._reading_paused = True
            self._channel.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        self._ended = True
        self._tell()
        return True  # its stdin stays open

    def exit_status_received(self, status: int) -> None:
        self._exit(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002
        self._exit(_signal_code(signal))

    def pause_writing(self) -> None:
        self._writable = anyio.Event()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._channel = None
        self._ended = True
        self._tell()
        self._writable.set()
        self._exited.set()
        self._closed.set()
        self.on_closed()

    def _exit(self, code: int) -> None:
        self.code = code
        self._exited.set()
        self._tell()


def _signal_code(name: str) -> int:
    number = getattr(signal, f"SIG{name}", None)
    return 128 + number if isinstance(number, signal.Signals) else 255
