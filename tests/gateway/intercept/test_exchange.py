"""Bodies, streams and WebSockets: what goes through, how it is counted, and that none of it is kept."""

import asyncio
import contextlib
import os
import resource
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from wsproto import WSConnection
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from sandboxfile.gateway.intercept.exchange import websocket_accept

from .conftest import Bench
from .test_connection import HOST, PATIENCE, answer, answers

pytestmark = pytest.mark.anyio
MEBIBYTE = 1 << 20


def memory() -> int:
    """Resident bytes of this process, which is client, gateway and origin."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_a_download_is_streamed_and_counted(bench: Bench, version: str) -> None:
    before = memory()
    size = 96 * MEBIBYTE
    code, out, _ = await bench.curl(version, "-o", os.devnull, f"https://api.example.com/bytes/{size}")
    assert (code, "[200 " in out) == (0, True)
    assert bench.tenant.flows[-1].received == size
    assert memory() - before < 24 * MEBIBYTE


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_an_upload_is_streamed_and_counted(bench: Bench, tmp_path: Path, version: str) -> None:
    size = 64 * MEBIBYTE
    file = tmp_path / "upload"
    file.touch()
    os.truncate(file, size)
    before = memory()
    code, out, _ = await bench.curl(version, "-T", str(file), "https://api.example.com/upload")
    assert (code, out[: len(str(size))]) == (0, str(size))
    assert bench.tenant.flows[-1].sent == size
    assert memory() - before < 24 * MEBIBYTE


async def test_a_chunked_upload_arrives_whole(bench: Bench) -> None:
    body = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
    head = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    received = await answer(*(streams := await bench.tunnel()), head + body)
    streams[1].close()
    assert received.endswith(b"\r\n\r\nhello world")
    assert bench.tenant.flows[-1].sent == 11


async def test_a_malformed_chunk_ends_the_request(bench: Bench) -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    received = await answers(*await bench.tunnel(), head + b"5 \nhello\r\n0\r\n\r\n")
    assert not received.startswith(b"HTTP/1.1 200")
    assert bench.origin.uploaded == 0


async def test_events_arrive_as_they_are_sent(bench: Bench) -> None:
    reader, writer = await bench.tunnel()
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"first\r\n")
        bench.origin.release.set()
        await reader.readuntil(b"second\r\n0\r\n\r\n")
    writer.close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/trailers", b"4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n"),
        ("/early", b"\r\n\r\nok"),
        ("/unchanged", b"Content-Length: 100\r\n\r\n"),
        ("/until_end", b"Content-Encoding: gzip\r\n\r\nnot gzip at all"),
    ],
)
async def test_responses_pass_unchanged(bench: Bench, path: str, expected: bytes) -> None:
    head = f"GET {path} HTTP/1.1\r\n".encode() + HOST + b"Connection: close\r\n\r\n"
    received = await answers(*await bench.tunnel(), head)
    assert received.endswith(expected)
    assert received.count(b"HTTP/1.1 ") == 1


async def test_head_has_a_length_and_no_body(bench: Bench) -> None:
    code, out, _ = await bench.curl("--http1.1", "-I", "https://h1.example.com/a", "https://h1.example.com/b")
    assert code == 0
    assert out.count("[200 1.1]") == 2
    assert bench.origin.connections == 1


@pytest.mark.parametrize("path", ["/broken", "/both", "/switch"])
async def test_a_response_that_is_none_is_a_502(bench: Bench, path: str) -> None:
    _, out, _ = await bench.curl("--http1.1", f"https://h1.example.com{path}")
    assert out.startswith("The gateway of the sandbox got no proper response from h1.example.com:443: ")
    assert out.endswith("[502 1.1]")
    assert bench.tenant.flows[-1].status == 502


async def test_a_client_that_waits_to_be_told_is_told(bench: Bench) -> None:
    reader, writer = await bench.tunnel()
    writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert (await answer(reader, writer, b"hello")).endswith(b"hello")
    writer.close()


async def test_a_client_that_waits_is_denied_before_it_sends(bench: Bench) -> None:
    reader, writer = await bench.tunnel("evil.example.com:443")
    head = b"POST / HTTP/1.1\r\nHost: evil.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    received = await answer(reader, writer, head)
    writer.close()
    assert received.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in received


async def test_nothing_is_read_from_a_client_before_the_verdict(bench: Bench) -> None:
    bench.tenant.slow = asyncio.Event()
    before = memory()
    reader, writer = await bench.tunnel()
    size = 64 * MEBIBYTE
    writer.write(b"POST /upload HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)

    async def upload() -> None:
        for _ in range(size // MEBIBYTE):
            writer.write(b"x" * MEBIBYTE)
            await writer.drain()

    uploading = asyncio.create_task(upload())
    await bench.tenant.asked.wait()
    done, _ = await asyncio.wait([uploading], timeout=0.5)
    assert not done
    assert memory() - before < 32 * MEBIBYTE
    bench.tenant.slow.set()
    async with asyncio.timeout(PATIENCE):
        await uploading
    assert (await answer(reader, writer, b"")).endswith(str(size).encode())
    writer.close()


async def test_an_offer_of_http2_in_clear_is_passed_over(bench: Bench) -> None:
    code, out, _ = await bench.curl("--http2", "http://api.example.com/")
    assert code == 0
    assert "upgrade" not in out.lower()
    assert out.endswith("[200 1.1]")


# --- WebSockets ------------------------------------------------------------------------------------------------------


async def websocket(
    bench: Bench, path: str, deflate: bool
) -> tuple[WSConnection, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await bench.tunnel()
    client = WSConnection(ConnectionType.CLIENT)
    extensions = [PerMessageDeflate()] if deflate else []
    writer.write(client.send(Request(host="h1.example.com", target=path, extensions=extensions)))
    async with asyncio.timeout(PATIENCE):
        while client.state is ConnectionState.CONNECTING:
            client.receive_data(await reader.read(65536) or None)
            for event in client.events():
                assert isinstance(event, AcceptConnection | RejectConnection | Message)
                if isinstance(event, AcceptConnection):
                    assert bool(event.extensions) == deflate
    return client, reader, writer


@pytest.mark.parametrize("deflate", [False, True])
async def test_a_websocket_talks_both_ways(bench: Bench, deflate: bool) -> None:
    client, reader, writer = await websocket(bench, "/ws", deflate)
    heard = b""
    async with asyncio.timeout(PATIENCE):
        for count in range(50):
            writer.write(client.send(TextMessage(f"message {count}")))
        writer.write(client.send(BytesMessage(b"x" * 100_000)))
        while not heard.endswith(b"x" * 100_000):
            client.receive_data(await reader.read(65536))
            for event in client.events():
                assert isinstance(event, Message)
                heard += event.data.encode() if isinstance(event.data, str) else event.data
        writer.write(client.send(CloseConnection(1000)))
        while await reader.read(65536):
            pass
        await bench.tenant.flows[-1].over.wait()
    writer.close()
    assert heard.startswith(b"message 0message 1")
    flow = bench.tenant.flows[-1]
    assert flow.status == 101
    assert flow.sent > 100
    assert flow.received > 100


async def test_a_message_of_any_size_is_passed_on_and_not_kept(bench: Bench) -> None:
    client, reader, writer = await websocket(bench, "/ws", False)
    size = 32 * MEBIBYTE
    before = memory()
    heard = 0

    async def talk() -> None:
        for number in range(size // MEBIBYTE):
            writer.write(client.send(BytesMessage(b"x" * MEBIBYTE, message_finished=number == size // MEBIBYTE - 1)))
            await writer.drain()

    talking = asyncio.create_task(talk())
    async with asyncio.timeout(60):
        while heard < size:
            data = await reader.read(1 << 18)
            heard += len(data)
        await talking
    assert memory() - before < 24 * MEBIBYTE
    writer.close()


async def test_a_websocket_that_is_cut_ends(bench: Bench) -> None:
    _, reader, writer = await websocket(bench, "/ws", False)
    flow = bench.tenant.flows[-1]
    assert flow.cut is not None
    flow.cut()
    assert await answers(reader, writer, b"") == b""


# --- HTTP/2 ----------------------------------------------------------------------------------------------------------


class Client:
    """An HTTP/2 client that gives as little room as a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int = 65535) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.events: list[h2.events.Event] = []
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def ask(self, path: str, method: str = "GET", *, host: str = "api.example.com", end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", method), (":scheme", "https"), (":path", path), (":authority", host)]
        self.h2.send_headers(stream, headers, end_stream=end)
        self.flush()
        return stream

    async def until(self, kind: type[h2.events.Event], stream: int, *, take: bool = False) -> list[h2.events.Event]:
        """All events up to one of this kind."""
        async with asyncio.timeout(PATIENCE):
            while not any(
                isinstance(event, kind) and getattr(event, "stream_id", 0) == stream for event in self.events
            ):
                data = await self.reader.read(65536)
                assert data, "the connection was closed"
                for event in self.h2.receive_data(data):
                    if take and isinstance(event, h2.events.DataReceived):
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    self.events.append(event)
                self.flush()
        return self.events


async def test_http2_streams_share_one_upstream_connection(bench: Bench) -> None:
    client = Client(*await bench.tunnel("api.example.com:443", protocols=("h2",)))
    streams = [client.ask(f"/{number}") for number in range(20)]
    for stream in streams:
        await client.until(h2.events.StreamEnded, stream)
    client.writer.close()
    assert bench.origin.connections == 1
    assert len(bench.origin.heads) == 20


async def test_http2_trailers_arrive(bench: Bench) -> None:
    client = Client(*await bench.tunnel("api.example.com:443", protocols=("h2",)))
    events = await client.until(h2.events.TrailersReceived, client.ask("/trailers"))
    client.writer.close()
    trailers = [event.headers for event in events if isinstance(event, h2.events.TrailersReceived)]
    assert dict(trailers[0]) == {"x-sum": "42"}


async def test_an_http2_client_that_does_not_read_holds_up_its_stream_only(bench: Bench) -> None:
    before = memory()
    client = Client(*await bench.tunnel("api.example.com:443", protocols=("h2",)), window=1024)
    client.ask(f"/bytes/{256 * MEBIBYTE}")
    other = client.ask("/other")
    await client.until(h2.events.StreamEnded, other)
    await asyncio.sleep(0.5)  # nothing announces what must not happen
    assert memory() - before < 24 * MEBIBYTE
    assert bench.tenant.flows[0].received < 4 * MEBIBYTE
    client.writer.close()


async def test_an_http1_server_waits_for_an_http2_client(bench: Bench) -> None:
    reader, writer = await bench.tunnel("api.example.com:443", protocols=("h2",))
    bench.tenant.hosts["api.example.com", 443] = bench.tenant.hosts["h1.example.com", 443]
    bench.tenant.addresses = ("127.0.0.1",)
    client = Client(reader, writer, window=1024)
    before = memory()
    stream = client.ask("/bytes/65536")
    bench.tenant.addresses = ("192.0.2.1",)  # the connection made beforehand is not used
    big = client.ask(f"/bytes/{256 * MEBIBYTE}")
    await client.until(h2.events.ResponseReceived, big)
    await asyncio.sleep(0.5)
    assert memory() - before < 24 * MEBIBYTE
    assert bench.tenant.flows[-1].received < 4 * MEBIBYTE
    assert stream != big
    client.writer.close()


async def test_an_http2_server_that_does_not_read_stops_the_upload(bench: Bench) -> None:
    before = memory()
    client = Client(*await bench.tunnel("api.example.com:443", protocols=("h2",)))
    stream = client.ask("/stuck", "POST", end=False)
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            while True:
                room = min(client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size)
                if room > 0:
                    client.h2.send_data(stream, b"x" * room)
                    client.flush()
                    sent += room
                    await client.writer.drain()
                else:
                    for event in client.h2.receive_data(await client.reader.read(65536)):
                        client.events.append(event)
                    client.flush()
    assert 0 < sent < 8 * MEBIBYTE
    assert memory() - before < 24 * MEBIBYTE
    client.writer.close()


async def test_a_body_of_http2_cannot_become_a_request_of_http1(bench: Bench) -> None:
    reader, writer = await bench.tunnel("api.example.com:443", protocols=("h2",))
    bench.tenant.hosts["api.example.com", 443] = bench.tenant.hosts["h1.example.com", 443]
    bench.tenant.addresses = ("192.0.2.1",)
    client = Client(reader, writer)
    stream = client.ask("/echo", "POST", end=False)
    client.h2.send_data(stream, b"GET /smuggled HTTP/1.1\r\nHost: evil.example.com\r\n\r\n", end_stream=True)
    client.flush()
    await client.until(h2.events.StreamEnded, stream)
    client.writer.close()
    assert [head.split(b" ")[1] for head in bench.origin.heads] == [b"/echo"]
    assert b"Transfer-Encoding: chunked" in bench.origin.heads[0]


async def test_a_denied_http2_stream_leaves_the_others_alone(bench: Bench) -> None:
    bench.tenant.denied.add("/no")
    client = Client(*await bench.tunnel("api.example.com:443", protocols=("h2",)))
    held, denied = client.ask("/a", "POST", end=False), client.ask("/no", "POST", end=False)
    client.h2.send_data(denied, b"x" * 1000)
    client.flush()
    events = await client.until(h2.events.StreamEnded, denied)
    assert [dict(e.headers)[":status"] for e in events if isinstance(e, h2.events.ResponseReceived)] == ["403"]
    client.h2.send_data(held, b"hello", end_stream=True)
    client.flush()
    await client.until(h2.events.StreamEnded, held)
    client.writer.close()


async def test_streams_that_are_reset_at_once_do_not_pile_up(bench: Bench) -> None:
    client = Client(*await bench.tunnel("api.example.com:443", protocols=("h2",)))
    bench.tenant.slow = asyncio.Event()
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            for _ in range(400):
                client.h2.reset_stream(client.ask("/"))
                client.flush()
                await client.writer.drain()
            while await client.reader.read(65536):
                pass
    assert len(bench.tenant.authorized) < 300
    assert bench.origin.heads == []
    client.writer.close()


async def test_the_end_of_a_request_is_not_waited_for_when_the_server_answers_early(bench: Bench) -> None:
    reader, writer = await bench.tunnel("api.example.com:443", protocols=("http/1.1",))
    writer.write(b"POST /until_end HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 5\r\n\r\nhello")
    assert (await answers(reader, writer, b"")).endswith(b"not gzip at all")


def test_the_key_of_the_protocol_is_the_one_of_the_standard() -> None:
    assert websocket_accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3
