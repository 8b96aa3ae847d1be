"""The explicit proxy with real sockets: what is tunnelled, what is refused and how, what the interceptor gets."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sandboxfile.gateway import reading
from sandboxfile.model.policy import Policy, Rule

pytestmark = pytest.mark.anyio

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def connect(target: str) -> bytes:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


async def test_a_tunnel_carries_bytes_both_ways_once_the_server_name_agrees(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], hello: Callable[..., bytes]
) -> None:
    gateway.override(resolve={"api.example.com:443": f"127.0.0.1:{await gateway.origin()}"})
    sandbox = await gateway.sandbox(make_policy("api.example.com:443"))
    client = await talk(await sandbox.proxy())
    await client.say(connect("api.example.com:443"))
    assert await client.head() == CONNECTED
    first = hello("api.example.com")
    await client.say(first)
    assert await client.hear(len(first)) == first
    await client.say(b"x" * 300_000)
    assert await client.hear(300_000) == b"x" * 300_000
    client.writer.write_eof()
    assert await client.rest() == b""
    (record,) = await gateway.recorded()
    assert record["verdict"] == "allowed"
    assert (record["host"], record["port"], record["protocol"]) == ("api.example.com", 443, "https")
    assert (record["via"], record["inspected"], record["addresses"]) == ("proxy", False, ["127.0.0.1"])
    assert record["sent"] == record["received"] == len(first) + 300_000
    assert record["rule"] == "api.example.com:443"


async def test_a_hello_sent_in_single_bytes_with_the_connect_before_it_is_tunnelled(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], hello: Callable[..., bytes]
) -> None:
    gateway.override(resolve={"api.example.com": f"127.0.0.1:{await gateway.origin()}"})
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    first = hello("API.example.com")
    await client.say(connect("api.example.com:443") + first[:10])
    assert await client.head() == CONNECTED
    for byte in first[10:60]:
        await client.say(bytes([byte]))
    await client.say(first[60:] + b"more")
    assert await client.hear(len(first) + 4) == first + b"more"


@pytest.mark.parametrize("name", ["evil.example.com", None])
async def test_a_server_name_that_does_not_agree_never_reaches_the_server(
    gateway: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    hello: Callable[..., bytes],
    name: str | None,
) -> None:
    heard = bytearray()

    async def listening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(100))
        writer.close()

    gateway.override(resolve={"api.example.com": f"127.0.0.1:{await gateway.origin(listening)}"})
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    await client.say(connect("api.example.com:443"))
    assert await client.head() == CONNECTED
    await client.say(hello(name))
    assert await client.rest() == b""
    (record,) = await gateway.recorded()
    assert (record["verdict"], record["rule"]) == ("blocked", "server name")
    assert "api.example.com" in record["reason"]
    assert not heard


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05\x02hell"])
async def test_bytes_that_are_no_tls_hello_close_a_tunnel_for_tls(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], first: bytes
) -> None:
    gateway.override(resolve={"api.example.com": f"127.0.0.1:{await gateway.origin()}"})
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    await client.say(connect("api.example.com:443"))
    assert await client.head() == CONNECTED
    await client.say(first)
    assert await client.rest() == b""
    assert (await gateway.recorded())[0]["verdict"] == "blocked"


async def test_raw_tcp_goes_through_where_a_rule_names_it_and_the_server_may_speak_first(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.write(await reader.read(100))
        writer.close()

    gateway.override(resolve={"db.example.com:5432": f"127.0.0.1:{await gateway.origin(greeting)}"})
    sandbox = await gateway.sandbox(make_policy(Rule("db.example.com:5432", protocol="tcp")))
    client = await talk(await sandbox.proxy())
    await client.say(connect("db.example.com:5432"))
    assert await client.hear(len(CONNECTED) + 11) == CONNECTED + b"220 hello\r\n"
    await client.say(b"QUIT")
    assert await client.rest() == b"QUIT"
    client.writer.close()
    assert (await gateway.recorded())[0]["protocol"] == "tcp"


async def test_a_denied_bypass_is_refused_in_plain_words(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    gateway.override(resolve={"pin.example.com": "10.9.8.7"})
    sandbox = await gateway.sandbox(make_policy("*.example.com", bypass=("*.example.com",)))
    client = await talk(await sandbox.proxy())
    await client.say(connect("pin.example.com:443"))
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"10.9.8.7" in answer
    assert b"sbx policy explain web" in answer
    (record,) = await gateway.recorded()
    assert record["verdict"] == "blocked"
    assert record["reason"].encode() in answer


@pytest.mark.parametrize("port", [22, 25])
async def test_a_denied_port_where_servers_speak_first_is_refused_in_plain_words(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], port: int
) -> None:
    sandbox = await gateway.sandbox(make_policy("api.example.com:443"))
    client = await talk(await sandbox.proxy())
    await client.say(connect(f"git.example.com:{port}"))
    assert (await client.rest()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
        connect("denied.example.com:443"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_must_be_looked_into_or_explained_goes_to_the_interceptor_with_its_first_bytes(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], head: bytes
) -> None:
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    await client.say(head)
    assert await client.rest() == b"web explicit\n" + head


async def test_a_host_that_is_inspected_in_full_is_never_tunnelled(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(make_policy("api.example.com", inspect="full"))
    client = await talk(await sandbox.proxy())
    await client.say(connect("api.example.com:443"))
    assert (await client.rest()).startswith(b"web explicit\n")


async def test_an_address_can_be_what_makes_a_name_bypassed(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], hello: Callable[..., bytes]
) -> None:
    gateway.override(resolve={"api.example.com": f"127.0.0.1:{await gateway.origin()}", "two.example.com": "192.0.2.1"})
    rules = make_policy("api.example.com", "two.example.com", bypass=("127.0.0.0/8",), inspect="full")
    sandbox = await gateway.sandbox(rules)
    proxy = await sandbox.proxy()
    client = await talk(proxy)
    await client.say(connect("api.example.com:443"))
    assert await client.head() == CONNECTED
    await client.say(hello("api.example.com"))
    assert await client.hear(5)
    other = await talk(proxy)
    await other.say(connect("two.example.com:443"))
    assert (await other.rest()).startswith(b"web explicit\n")


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT api.example.com HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:0 HTTP/1.1\r\n\r\n",
        b"CONNECT api.example.com:443 HTTP/1.1 x\r\n\r\n",
        b"CONNECT a:b:443 HTTP/1.1\r\n\r\n",
        b"CONNECT \xff.example.com:443 HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_malformed_connect_is_answered_as_such(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], head: bytes
) -> None:
    sandbox = await gateway.sandbox(make_policy(mode="allow"))
    client = await talk(await sandbox.proxy())
    await client.say(head)
    assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_a_server_that_is_not_there_is_a_bad_gateway_and_logged_as_an_error(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    gateway.override(resolve={"api.example.com": "127.0.0.1:1"})
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    await client.say(connect("api.example.com:443"))
    assert (await client.rest()).startswith(b"HTTP/1.1 502 ")
    (record,) = await gateway.recorded()
    assert record["verdict"] == "allowed"
    assert record["error"]


async def test_a_head_without_end_is_refused(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    client.writer.write(b"CONNECT api.example.com:443 HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
    assert (await client.rest())[:13] in (b"HTTP/1.1 431 ", b"")  # a reset may overtake the answer


async def test_a_client_that_says_nothing_is_closed(
    gateway: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "TIMEOUT", 0.05)
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    await client.say(b"CONNECT api")
    assert await client.rest() == b""


async def test_a_half_closed_tunnel_goes_on_in_the_other_direction(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    async def after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read(-1)
        for _ in range(20):
            writer.write(data * 1000)
            await writer.drain()
        writer.close()

    gateway.override(resolve={"db.example.com": f"127.0.0.1:{await gateway.origin(after_the_end)}"})
    sandbox = await gateway.sandbox(make_policy(Rule("db.example.com:5432", protocol="tcp")))
    client = await talk(await sandbox.proxy())
    await client.say(connect("db.example.com:5432") + b"0123456789")
    assert await client.head() == CONNECTED
    client.writer.write_eof()
    assert len(await client.rest()) == 200_000


async def test_a_client_that_does_not_read_holds_its_server_back(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    written = 0
    blocked = anyio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        try:
            while True:
                writer.write(b"x" * 65536)
                with anyio.move_on_after(0.5) as scope:
                    await writer.drain()
                if scope.cancelled_caught:
                    blocked.set()
                    return
                written += 65536
        except OSError:
            pass
        finally:
            writer.close()

    gateway.override(resolve={"db.example.com": f"127.0.0.1:{await gateway.origin(flood)}"})
    sandbox = await gateway.sandbox(make_policy(Rule("db.example.com:5432", protocol="tcp")))
    client = await talk(await sandbox.proxy())
    await client.say(connect("db.example.com:5432"))
    with anyio.fail_after(30):
        await blocked.wait()
    assert written < 64 << 20  # what the kernel's buffers hold, and ours
