"""A connection as mitmproxy's handler wants it: `read`, `write`, `drain`, `close` on one object, plain or TLS.

`reading` holds back: while it is not set, nothing is taken from the peer, and the kernel's buffers fill up. TLS is done
over memory, because an asyncio transport cannot begin it with bytes that were read already.
"""

import asyncio
import ssl
from contextlib import suppress
from typing import Any

SIZE = 1 << 18  # bytes taken at once

_buffer = bytearray(SIZE)  # of the one event loop: filled and emptied within one call
_view = memoryview(_buffer)


class Link:
    """Plain bytes. `seen` was read from `reader` already, and is read again first."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytes = b"") -> None:
        self._reader = reader
        self._writer = writer
        self._seen = seen
        self._held: list[bytes] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def read(self, _size: int = SIZE) -> bytes:
        """The next bytes, empty at the end. Gives what there is, however much was asked for."""
        await self.reading.wait()
        return await self._raw()

    async def _raw(self) -> bytes:
        seen, self._seen = self._seen, b""
        return seen or await self._reader.read(SIZE)

    async def peek(self, more_than: int = 0) -> bytes:
        """More than so many bytes of what comes, which stay to be read; fewer at the end."""
        while len(self._seen) <= more_than and (data := await self._reader.read(SIZE)):
            self._seen += data
        return self._seen

    def take(self, count: int) -> bytes:
        """So many of the bytes that were peeked."""
        taken, self._seen = self._seen[:count], self._seen[count:]
        return taken

    def release(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """What this is made of, for a link of another kind."""
        return self._reader, self._writer, self.take(len(self._seen))

    def write(self, data: bytes) -> None:
        """Send with `flush`: a head and the body that follows it go out in one piece."""
        self._held.append(data)

    def flush(self) -> None:
        if self._held:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held.clear()
            if not self.is_closing():
                self._send(data)

    def _send(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        self.flush()
        await self._writer.drain()

    def is_closing(self) -> bool:
        return self._writer.is_closing()

    def write_eof(self) -> None:
        self.flush()
        self._writer.write_eof()

    def close(self) -> None:
        self.flush()
        self._writer.close()

    async def wait_closed(self) -> None:
        await self._writer.wait_closed()

    def abort(self) -> None:
        """Drop the connection with all that is still to be sent."""
        self._held.clear()
        self._writer.transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._writer.get_extra_info(name, default)


class TlsLink(Link):
    """The same within TLS; `handshake` comes first."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        seen: bytes,
        context: ssl.SSLContext,
        server_name: str | None = None,
    ) -> None:
        """We are the client where a `server_name` (or address) is given: the one that the certificate must be for."""
        super().__init__(reader, writer, seen)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )

    @property
    def http2(self) -> bool:
        return self._tls.selected_alpn_protocol() == "h2"

    async def handshake(self) -> None:
        """Raises OSError, of which ssl.SSLError is one."""
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                pass
            finally:
                self._send_records()
            await self._writer.drain()
            if not (data := await self._raw()):
                raise ConnectionResetError("broke off the TLS handshake")
            self._incoming.write(data)

    async def read(self, _size: int = SIZE) -> bytes:
        """As of the base. Raises ssl.SSLError for what is no proper record."""
        await self.reading.wait()
        while True:
            try:
                if data := self._decrypted():
                    return data
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            if not (raw := await self._raw()):
                return b""  # without a goodbye: whoever needs to know the end has a length or chunks
            self._incoming.write(raw)

    def _decrypted(self) -> bytes:
        """All that can be had now, up to SIZE; empty when more is needed."""
        filled = 0
        try:
            while filled < SIZE:
                count = self._tls.read(SIZE - filled, _view[filled:])
                if not count:
                    raise ssl.SSLZeroReturnError
                filled += count  # type: ignore[operator]
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            if not filled:
                raise
        if self._outgoing.pending:
            self._send_records()
        return bytes(_view[:filled])

    def _send(self, data: bytes) -> None:
        done = self._tls.write(data)
        while done < len(data):
            done += self._tls.write(memoryview(data)[done:])
        self._send_records()

    def write_eof(self) -> None:
        self._goodbye()

    def close(self) -> None:
        self._goodbye()
        super().close()

    def _goodbye(self) -> None:
        self.flush()
        if not self.is_closing():
            with suppress(ssl.SSLError, ValueError):
                self._tls.unwrap()
            self._send_records()

    def _send_records(self) -> None:
        if self._outgoing.pending and not self._writer.is_closing():
            self._writer.write(self._outgoing.read())
