"""An origin server that keeps what it received, byte for byte: HTTP/1.1, HTTP/2, WebSocket; plain and over TLS."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
from wsproto import Connection as WebSocket
from wsproto import ConnectionType
from wsproto.events import CloseConnection, Message
from wsproto.extensions import PerMessageDeflate

PIECE = b"\0" * 65536
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Origin:
    """`heads` are request heads as they came; `connections` counts clients; `release` lets `/hold` go on."""

    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)  # somebody went away in the middle of a response
    release: asyncio.Event = field(default_factory=asyncio.Event)
    uploaded: int = 0
    http1: int = 0  # ports
    https: int = 0
    https_h1: int = 0
    strange: int = 0  # whose certificate nobody vouches for
    greeting: int = 0  # no TLS, no HTTP: speaks first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            tls = writer.get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() == "h2":
                await _Http2(self, reader, writer).serve()
            else:
                while await self._one(reader, writer):
                    pass
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            self.lost.set()
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        line, *rest = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest if text)}
        body = await self._body(reader, headers, keep=target == "/echo")
        _, path, *arguments = target.partition("?")[0].split("/")
        answer = getattr(self, f"_{path}", self._echo)
        await answer(reader, writer, method, headers, body, arguments)
        await writer.drain()
        return path not in ("until_end", "broken", "both", "ws") and headers.get("connection", "").lower() != "close"

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str], keep: bool) -> bytes:
        kept = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                data = await reader.readexactly(size)
                self.uploaded += size
                kept += data if keep else b""
                await reader.readexactly(2)
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
        left = int(headers.get("content-length", "0"))
        while left:
            data = await reader.read(min(left, 1 << 18))
            if not data:
                raise ConnectionResetError
            left -= len(data)
            self.uploaded += len(data)
            kept += data if keep else b""
        return kept

    async def _echo(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        text = self.heads[-1] + body
        writer.write(b"HTTP/1.1 200 OK\r\nX-Sandbox-Policy: blocked\r\nContent-Length: %d\r\n\r\n" % len(text))
        if method != "HEAD":
            writer.write(text)

    async def _refuse(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 9\r\n\r\nwrong key")

    async def _redirect(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        query = self.heads[-1].split(b" ")[1].partition(b"?")[2]
        key = headers.get("x-api-key", "").encode()
        where = b"https://%b/?%b" % (arguments[0].encode() if arguments else b"api.example.com", query)
        writer.write(
            b"HTTP/1.1 302 Found %b\r\nLocation: %b\r\nX-Key: %b\r\nContent-Length: 0\r\n\r\n" % (key, where, key)
        )

    async def _quote(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % headers["x-api-key"].encode())  # no header at all

    async def _upload(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        text = str(self.uploaded).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    async def _bytes(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        size = int(arguments[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()

    async def _hold(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        gone = asyncio.create_task(reader.read(1))
        go_on = asyncio.create_task(self.release.wait())
        await asyncio.wait([gone, go_on], return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise ConnectionResetError
        gone.cancel()
        await asyncio.wait([gone])  # or it would still be reading
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    async def _trailers(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        writer.write(b"4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n")

    async def _early(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def _unchanged(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 100\r\n\r\n')

    async def _until_end(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip at all")

    async def _broken(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        pass

    async def _both(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    async def _switch(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nraw")

    async def _ws(self, reader, writer, method, headers, body, arguments) -> None:  # type: ignore[no-untyped-def]
        key = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + _GUID).encode()).digest()).decode()
        deflate = PerMessageDeflate()
        extension = ""
        if "permessage-deflate" in headers.get("sec-websocket-extensions", ""):
            extension = f"Sec-WebSocket-Extensions: permessage-deflate{deflate.accept('permessage-deflate') and ''}\r\n"
        head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extension}"
        writer.write(f"{head}Sec-WebSocket-Accept: {key}\r\n\r\n".encode())
        socket = WebSocket(ConnectionType.SERVER, [deflate] if extension else [])
        while data := await reader.read(65536):
            socket.receive_data(data)
            for event in socket.events():
                if isinstance(event, Message):
                    writer.write(socket.send(event))
                elif isinstance(event, CloseConnection):
                    writer.write(socket.send(event.response()))
                    return
            await writer.drain()


class _Http2:
    """Answers `/bytes/N` with so many, `/trailers` with some, and anything else with the size of the body."""

    def __init__(self, origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._origin, self._reader, self._writer = origin, reader, writer
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self._waiting: dict[int, int] = {}  # bytes still to be sent
        self._paths: dict[int, str] = {}
        self._sizes: dict[int, int] = {}

    async def serve(self) -> None:
        self._h2.initiate_connection()
        self._writer.write(self._h2.data_to_send())
        while data := await self._reader.read(65536):
            for event in self._h2.receive_data(data):
                self._take(event)
            self._send()
            self._writer.write(self._h2.data_to_send())
            await self._writer.drain()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=stream, headers=headers):
                self._origin.heads.append(repr(headers).encode())
                self._paths[stream], self._sizes[stream] = dict(headers)[":path"], 0
            case h2.events.DataReceived(stream_id=stream, flow_controlled_length=size, data=data):
                self._sizes[stream] += len(data)
                self._origin.uploaded += len(data)
                if self._paths[stream] != "/stuck":
                    self._h2.acknowledge_received_data(size, stream)
            case h2.events.StreamEnded(stream_id=stream):
                self._answer(stream)

    def _answer(self, stream: int) -> None:
        path = self._paths[stream]
        self._h2.send_headers(stream, [(":status", "200"), ("x-protocol", "h2")])
        if path.startswith("/bytes/"):
            self._waiting[stream] = int(path.rpartition("/")[2])
        elif path == "/trailers":
            self._h2.send_data(stream, b"body")
            self._h2.send_headers(stream, [("x-sum", "42")], end_stream=True)
        else:
            self._h2.send_data(stream, str(self._sizes[stream]).encode(), end_stream=True)

    def _send(self) -> None:
        for stream in list(self._waiting):
            while self._waiting[stream]:
                room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
                if room <= 0:
                    break
                size = min(room, self._waiting[stream], len(PIECE))
                self._h2.send_data(stream, PIECE[:size])
                self._waiting[stream] -= size
            if not self._waiting[stream]:
                del self._waiting[stream]
                self._h2.end_stream(stream)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 hello\r\n")
    with suppress(ConnectionError):
        await reader.read(1 << 16)
    writer.close()


@asynccontextmanager
async def running(ours: ssl.SSLContext, plain: ssl.SSLContext, strange: ssl.SSLContext) -> AsyncIterator[Origin]:
    """`ours` offers HTTP/2, `plain` does not; both have certificates that the gateway trusts."""
    origin = Origin()
    servers = []
    for name, context in (("http1", None), ("https", ours), ("https_h1", plain), ("strange", strange)):
        server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context, limit=1 << 18)
        servers.append(server)
        setattr(origin, name, server.sockets[0].getsockname()[1])
    greeter = await asyncio.start_server(_greet, "127.0.0.1", 0)
    origin.greeting = greeter.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        for server in (*servers, greeter):
            server.close()
