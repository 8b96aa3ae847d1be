"""An HTTP/1.1 server on a byte stream: keep-alive, pipelining, chunked both ways, `Expect`, upgrade to WebSocket.

Strict about where a message ends (a request with both a length and chunks, or with two lengths, is refused with 400 and
the connection closed), so that a test of request smuggling sees what the proxy before us let through.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from anyio import EndOfStream, IncompleteRead
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.stapled import StapledByteStream

from .ledger import Ledger, Seen
from .messages import Answer, Incoming, Response

_HEAD = 65536
_CHUNK = 65536
Upgrade = Callable[[Incoming, ByteStream], Awaitable[None]]


class Malformed(Exception):
    pass


class Connection:
    """One client, until either side has had enough."""

    def __init__(self, server: str, stream: ByteStream, sni: str | None, tls: bool, ledger: Ledger) -> None:
        self._server = server
        self._stream = stream
        self._buffered = BufferedByteReceiveStream(stream)
        self._sni = sni
        self._tls = tls
        self._ledger = ledger

    async def serve(self, answer: Answer, upgrade: Upgrade) -> None:
        try:
            while await self._one(answer, upgrade):
                pass
        except Malformed as exc:
            await self._respond(Response(400, body=f"{exc}\n".encode()), last=True)
        except (IncompleteRead, EndOfStream):
            pass

    async def _one(self, answer: Answer, upgrade: Upgrade) -> bool:
        incoming = await self._request()
        self._ledger.requested(incoming.seen)
        if incoming.header("upgrade").lower() == "websocket":
            await upgrade(incoming, StapledByteStream(self._stream, self._buffered))
            return False
        if incoming.header("expect").lower() == "100-continue":
            await self._stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        last = "close" in incoming.header("connection").lower() or incoming.seen.version == "HTTP/1.0"
        response = await answer(incoming)
        async for _ in incoming.body:  # what the answer did not want to read
            pass
        await self._respond(response, last, head_only=incoming.seen.method == "HEAD")
        return not last

    async def _request(self) -> Incoming:
        head = (await self._buffered.receive_until(b"\r\n\r\n", _HEAD)).decode("latin-1")
        line, *lines = head.split("\r\n")
        try:
            method, target, version = line.split(" ")
        except ValueError:
            raise Malformed(f"request line: {line[:200]!r}") from None
        headers = tuple(_header(text) for text in lines)
        seen = Seen(self._server, method, target, version, headers, self._sni)
        return Incoming(seen, self._tls, self._body(headers))

    def _body(self, headers: tuple[tuple[str, str], ...]) -> AsyncIterator[bytes]:
        lengths = [value for name, value in headers if name == "content-length"]
        encodings = [value.lower() for name, value in headers if name == "transfer-encoding"]
        if len(lengths) + len(encodings) > 1 or encodings not in ([], ["chunked"]):
            raise Malformed("it is not clear where the body ends")
        if lengths and not lengths[0].isdecimal():
            raise Malformed("Content-Length is not a number")
        return self._chunked() if encodings else self._exactly(int(lengths[0]) if lengths else 0)

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        while length:
            data = await self._buffered.receive(min(length, _CHUNK))
            length -= len(data)
            yield data

    async def _chunked(self) -> AsyncIterator[bytes]:
        while True:
            size = (await self._buffered.receive_until(b"\r\n", 100)).split(b";")[0]
            try:
                length = int(size, 16)
            except ValueError:
                raise Malformed(f"chunk size: {size!r}") from None
            async for data in self._exactly(length):
                yield data
            if not length:
                while await self._buffered.receive_until(b"\r\n", _HEAD):  # trailers
                    pass
                return
            if await self._buffered.receive_exactly(2) != b"\r\n":
                raise Malformed("a chunk does not end where it says")

    async def _respond(self, response: Response, last: bool, head_only: bool = False) -> None:
        length = response.known_length
        framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        headers = [*response.headers, ("Connection", "close" if last else "keep-alive")]
        if not response.bodiless:
            headers.append(framing)
        lines = [f"HTTP/1.1 {response.status} Origin", *(f"{name}: {value}" for name, value in headers)]
        await self._stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if head_only or response.bodiless:
            return
        async for chunk in response.chunks():
            await self._stream.send(chunk if length is not None else b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if length is None:
            await self._stream.send(b"0\r\n\r\n")


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or name != name.strip() or not name:
        raise Malformed(f"header: {line[:200]!r}")
    return name.lower(), value.strip()
