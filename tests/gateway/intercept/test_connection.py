"""Attacks on one connection, cutting, reuse of upstream connections, and failing closed."""

import asyncio
import contextlib
import re

import h2.config
import h2.connection
import h2.events
import pytest

from sandboxfile.gateway.intercept import connection as connection_module
from sandboxfile.gateway.intercept import verdicts as verdicts_module
from sandboxfile.gateway.intercept.exchange import Exchange

from .conftest import Bench

pytestmark = pytest.mark.anyio
PATIENCE = 10.0


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """All that comes until the connection is closed."""
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                received += piece
    writer.close()
    return received


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    """One response with a Content-Length."""
    writer.write(data)
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)


HOST = b"Host: h1.example.com\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\nContent-Length: 5\r\n\r\n123456",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nEvil: b\r\n\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Host: evil.example.com\r\n\r\n",
        b"CONNECT evil.example.com:443 HTTP/1.1\r\nHost: evil.example.com:443\r\n\r\n",
        b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Expect: something\r\n\r\n",
    ],
)
async def test_what_is_malformed_is_refused_and_nothing_is_forwarded(bench: Bench, request_bytes: bytes) -> None:
    received = await answer(*(streams := await bench.tunnel()), request_bytes)
    streams[1].close()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"the request was refused: " in received
    assert bench.origin.heads == []
    assert not bench.tenant.flows[-1].decision.allowed


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET https://evil.example.com/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET https://other.example.com/ HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
        b"GET http://h1.example.com/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h1.example.com:80\r\n\r\n",
    ],
)
async def test_another_host_within_a_tunnel_is_refused(bench: Bench, request_bytes: bytes) -> None:
    received = await answer(*(streams := await bench.tunnel()), request_bytes)
    streams[1].close()
    assert received.startswith(b"HTTP/1.1 403 ")
    assert b"X-Sandbox-Policy: blocked" in received
    assert bench.origin.heads == []


async def test_a_kept_connection_is_decided_anew_for_each_request(bench: Bench) -> None:
    streams = await bench.tunnel()
    allowed = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    assert (await answer(*streams, allowed)).startswith(b"HTTP/1.1 200 ")
    other = b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n"
    assert (await answer(*streams, other)).startswith(b"HTTP/1.1 403 ")
    assert (await answer(*streams, allowed)).startswith(b"HTTP/1.1 200 ")
    bench.tenant.denied.add("h1.example.com")
    assert (await answer(*streams, allowed)).startswith(b"HTTP/1.1 403 ")
    streams[1].close()
    assert len(bench.origin.heads) == 2
    assert bench.tenant.dialled == ["h1.example.com:443"]


async def test_a_kept_connection_of_the_proxy_goes_where_each_request_says(bench: Bench) -> None:
    streams = await bench.raw()
    for host, status in (("api", b"200"), ("other", b"200"), ("evil", b"403"), ("api", b"200")):
        name = f"{host}.example.com"
        received = await answer(*streams, f"GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        assert received.split(b" ")[1] == status
    streams[1].close()
    assert [head.split(b"\r\n")[:2] for head in bench.origin.heads] == [
        [b"GET / HTTP/1.1", b"Host: api.example.com"],
        [b"GET / HTTP/1.1", b"Host: other.example.com"],
        [b"GET / HTTP/1.1", b"Host: api.example.com"],
    ]


async def test_an_upstream_connection_is_left_when_its_address_is_no_longer_allowed(bench: Bench) -> None:
    streams = await bench.tunnel()
    allowed = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    await answer(*streams, allowed)
    bench.tenant.addresses = ("127.0.0.1", "192.0.2.1")
    await answer(*streams, allowed)
    assert bench.origin.connections == 1
    bench.tenant.addresses = ("192.0.2.1",)
    await answer(*streams, allowed)
    assert bench.origin.connections == 2
    streams[1].close()


async def test_requests_sent_ahead_are_answered_in_turn(bench: Bench) -> None:
    bench.tenant.denied.add("/no")
    last = b"GET /c HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    ahead = b"".join(b"GET /%b HTTP/1.1\r\n%b\r\n" % (path, HOST) for path in (b"a", b"no", b"b"))
    received = await answers(*await bench.tunnel(), ahead + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"403", b"200", b"200"]
    assert [head.split(b" ")[1] for head in bench.origin.heads] == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize("data", [b"SSH-2.0-client\r\n", b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"*1\r\n$4\r\nPING\r\n"])
async def test_raw_bytes_in_a_tunnel_end_it_at_once(bench: Bench, data: bytes) -> None:
    received = await answers(*await bench.connect("h1.example.com:443"), data)
    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
    assert bench.tenant.dialled == []


async def test_raw_bytes_within_tls_end_it_at_once(bench: Bench) -> None:
    received = await answers(*await bench.tunnel(), b"\x01\x02raw\r\n")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert bench.tenant.dialled == []


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT h1.example.com HTTP/1.1\r\n\r\n",
        b"CONNECT h1.example.com:443\r\n\r\n",
        b"CONNECT a@h1.example.com:443 HTTP/1.1\r\n\r\n",
        b"CONNECT h1.example.com:443 HTTP/1.1\r\nHost: evil.example.com\r\n\r\n",
        b"CONNECT h1.example.com:443 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"CONNECT h1.example.com:99999 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h1.example.com\r\n\r\n",
        b"GET ftp://h1.example.com/ HTTP/1.1\r\nHost: h1.example.com\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x05\x01\x00",
    ],
)
async def test_a_proxy_refuses_what_it_does_not_understand(bench: Bench, head: bytes) -> None:
    received = await answer(*(streams := await bench.raw()), head)
    streams[1].close()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert bench.tenant.dialled == []


async def test_a_head_without_end_is_refused(bench: Bench) -> None:
    received = await answers(*await bench.tunnel(), b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 17))
    assert received.startswith(b"HTTP/1.1 400 ")


async def test_requests_sent_ahead_without_end_are_not_kept(bench: Bench) -> None:
    reader, writer = await bench.tunnel()
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.readuntil(b"first\r\n")
    writer.write(b"x" * (4 << 20))
    assert b"second" not in await answers(reader, writer, b"")


# --- cutting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2", "http/1.1")])
async def test_a_cut_ends_both_sides_at_once(bench: Bench, protocols: tuple[str, ...]) -> None:
    reader, writer = await bench.tunnel(protocols=protocols)
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.readuntil(b"first\r\n")
    flow = bench.tenant.flows[-1]
    assert flow.cut is not None
    flow.cut()
    assert await answers(reader, writer, b"") == b""
    async with asyncio.timeout(PATIENCE):
        await bench.origin.lost.wait()
        await flow.over.wait()


async def test_a_cut_ends_a_download_in_full_flow(bench: Bench) -> None:
    reader, writer = await bench.tunnel()
    writer.write(b"GET /bytes/1073741824 HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.readexactly(1 << 20)
    flow = bench.tenant.flows[-1]
    assert flow.cut is not None
    flow.cut()
    left = await answers(reader, writer, b"")
    assert len(left) < 64 << 20
    async with asyncio.timeout(PATIENCE):
        await bench.origin.lost.wait()
    assert 1 << 20 <= flow.received < 128 << 20


async def test_a_client_that_leaves_takes_its_undecided_request_along(bench: Bench) -> None:
    bench.tenant.slow = asyncio.Event()
    _, writer = await bench.tunnel()
    writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    await bench.tenant.asked.wait()
    writer.transport.abort()
    await asyncio.sleep(0.05)
    bench.tenant.slow.set()
    assert bench.origin.heads == []


async def test_a_server_of_a_cancelled_client_is_left(bench: Bench) -> None:
    reader, writer = await bench.tunnel()
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    await reader.readuntil(b"first\r\n")
    writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        await bench.origin.lost.wait()
        await bench.tenant.flows[-1].over.wait()


# --- failing closed --------------------------------------------------------------------------------------------------


async def test_a_mistake_while_deciding_ends_the_connection(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.tenant.fails = True
    streams = await bench.tunnel()
    assert await answers(*streams, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") == b""
    assert bench.tenant.dialled == []
    assert "a mistake of ours" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (verdicts_module, "place_of_request"),
        (verdicts_module, "prepare"),
        (verdicts_module, "decided_path"),
        (connection_module.ClientConnection, "_decide"),
        (connection_module.ClientConnection, "handle_hook"),
        (connection_module.ClientConnection, "may_use"),
        (connection_module.ClientConnection, "will_use"),
        (connection_module, "reach"),
        (Exchange, "_answer"),
        (Exchange, "_connected"),
    ],
)
async def test_a_mistake_anywhere_forwards_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], module: object, name: str
) -> None:
    def mistaken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    streams = await bench.tunnel()
    first = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\n"
    if name in ("may_use", "_answer"):  # needs a connection, and a denial
        await answer(*streams, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        bench.origin.heads.clear()
        bench.tenant.denied |= {"/"} if name == "_answer" else set()
    monkeypatch.setattr(module, name, mistaken)
    assert await answers(*streams, first + b"secret") == b""
    assert bench.origin.uploaded == 0
    assert name == "_connected" or bench.origin.heads == []
    assert "a mistake of ours" in capfd.readouterr().err


# --- HTTP/2 ----------------------------------------------------------------------------------------------------------


async def http2(
    bench: Bench, headers: list[tuple[str, str]], target: str = "api.example.com:443"
) -> dict[str, str] | None:
    """The headers of the response; None: the connection or the stream was ended."""
    reader, writer = await bench.tunnel(target, protocols=("h2",))
    config = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="utf-8"
    )
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    client.send_headers(1, headers, end_stream=True)
    writer.write(client.data_to_send())
    try:
        async with asyncio.timeout(PATIENCE):
            while data := await reader.read(65536):
                for event in client.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        return dict(event.headers)
                    if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                        return None
                writer.write(client.data_to_send())
            return None
    finally:
        writer.close()


USUAL = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "api.example.com")]


async def test_http2_is_answered_by_the_origin(bench: Bench) -> None:
    response = await http2(bench, USUAL)
    assert response is not None
    assert (response[":status"], response["x-protocol"]) == ("200", "h2")


@pytest.mark.parametrize(
    "headers",
    [
        [*USUAL, ("host", "evil.example.com")],
        [*USUAL[:3], (":authority", "other.example.com")],
        [*USUAL[:3]],
        [*USUAL[:3], ("host", "other.example.com")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "api.example.com")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/a b"), (":authority", "api.example.com")],
        [(":method", "GET"), (":scheme", "https"), (":path", "x"), (":authority", "api.example.com")],
        [
            (":method", "GET /x HTTP/1.1\r\nX: "),
            (":scheme", "https"),
            (":path", "/"),
            (":authority", "api.example.com"),
        ],
        [*USUAL, ("transfer-encoding", "chunked")],
        [*USUAL, ("x", "a\r\nevil: b")],
        [*USUAL, ("x:y", "a")],
        [*USUAL, ("content-length", "1"), ("content-length", "2")],
        [(":method", "CONNECT"), (":authority", "evil.example.com:443")],
        [(":method", "CONNECT"), (":protocol", "websocket"), *USUAL[1:]],
    ],
)
async def test_http2_requests_with_two_readings_are_refused(bench: Bench, headers: list[tuple[str, str]]) -> None:
    response = await http2(bench, headers)
    assert response is None or response[":status"] in ("400", "403")
    assert bench.origin.heads == []


async def test_http2_denials_are_readable(bench: Bench) -> None:
    headers = [*USUAL[:3], (":authority", "evil.example.com")]
    response = await http2(bench, headers, "evil.example.com:443")
    assert response is not None
    assert (response[":status"], response["x-sandbox-policy"]) == ("403", "blocked")
