"""Ports that are dialled by address, in a network where every address is local: the one dialled says what was meant."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sandboxfile.control.egress import Accepted
from sandboxfile.gateway import dns, reading
from sandboxfile.model.policy import Policy, Rule

pytestmark = pytest.mark.anyio


@pytest.fixture
def serve(gateway: Any, jail: Any) -> Callable[..., Awaitable[Any]]:
    """A sandbox with transparent listeners on 443, 80, 22 and 5432, and a name server."""

    async def start(policy: Policy) -> Any:
        sandbox = await gateway.sandbox(policy)
        for port in (443, 80, 22, 5432):
            assert await sandbox.listen("transparent", port, jail.listener(port)) == Accepted()
        assert await sandbox.listen("names", 53, jail.names()) == Accepted()
        return sandbox

    return start


async def ask(jail: Any, name: str, kind: int = dns.A, server: str = "10.0.2.2") -> tuple[int, list[bytes]]:
    """Code and data of the answer to one question, which must come from the address that was asked."""
    question = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + dns.wire_name(name) + kind.to_bytes(2) + b"\0\1"
    with jail.udp() as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(sock, question, (server, 53))
        with anyio.fail_after(10):
            data, sender = await loop.sock_recvfrom(sock, 512)
    assert sender == (server, 53)
    assert data[:2] == b"\x12\x34"
    assert data[12:].startswith(question[12:])
    answers = int.from_bytes(data[6:8])
    rest, found = data[len(question) :], []
    for _ in range(answers):
        length = int.from_bytes(rest[10:12])
        found.append(rest[12 : 12 + length])
        rest = rest[12 + length :]
    assert not rest
    return data[3] & 15, found


async def look_up(jail: Any, name: str) -> str:
    code, (address,) = await ask(jail, name)
    assert code == dns.NO_ERROR
    return socket.inet_ntoa(address)


async def test_a_name_that_is_looked_up_and_dialled_is_tunnelled_to_what_it_means(
    gateway: Any,
    jail: Any,
    serve: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    hello: Callable[..., bytes],
) -> None:
    gateway.override(resolve={"api.example.com:443": f"127.0.0.1:{await gateway.origin()}"})
    await serve(make_policy("api.example.com:443"))
    address = await look_up(jail, "API.example.com")
    assert address.startswith(("198.18.", "198.19."))
    assert await look_up(jail, "api.example.com") == address
    client = await talk(jail.connect(address, 443))
    first = hello("api.example.com")
    await client.say(first)
    assert await client.hear(len(first)) == first
    client.writer.write_eof()
    assert await client.rest() == b""
    (record,) = await gateway.recorded()
    assert (record["host"], record["via"], record["inspected"]) == ("api.example.com", "transparent", False)


async def test_names_say_no_more_than_the_policy_allows(
    gateway: Any, jail: Any, serve: Any, make_policy: Callable[..., Policy]
) -> None:
    await serve(make_policy("api.example.com:443", "*.wild.example.com"))
    assert (await ask(jail, "secret-data.evil.example.com"))[0] == dns.NO_SUCH_NAME
    assert await ask(jail, "secret-data.evil.example.com", kind=28) == (dns.NO_SUCH_NAME, [])
    assert await ask(jail, "api.example.com", kind=28) == (dns.NO_ERROR, [])
    assert await ask(jail, "api.example.com", kind=65) == (dns.NO_ERROR, [])
    assert (await ask(jail, "a.wild.example.com"))[0] == dns.NO_ERROR
    assert (await ask(jail, "wild.example.com"))[0] == dns.NO_SUCH_NAME
    assert await ask(jail, "localhost") == (dns.NO_ERROR, [b"\x7f\0\0\1"])
    assert await ask(jail, "host.docker.internal") == (dns.NO_ERROR, [b"\x0a\0\2\2"])
    assert (await ask(jail, "api.example.com", server="192.0.2.53"))[0] == dns.NO_ERROR
    records = await gateway.recorded(2)
    assert [(r["protocol"], r["host"], r["verdict"], r["count"]) for r in records] == [
        ("dns", "secret-data.evil.example.com", "blocked", 1),
        ("dns", "wild.example.com", "blocked", 1),
    ]


async def test_an_address_of_ours_can_be_looked_up_backwards(
    jail: Any, serve: Any, make_policy: Callable[..., Policy]
) -> None:
    await serve(make_policy("api.example.com:443"))
    backwards = ".".join(reversed((await look_up(jail, "api.example.com")).split("."))) + ".in-addr.arpa"
    assert await ask(jail, backwards, kind=dns.PTR) == (dns.NO_ERROR, [dns.wire_name("api.example.com")])
    assert (await ask(jail, "1.0.0.10.in-addr.arpa", kind=dns.PTR))[0] == dns.NO_SUCH_NAME


async def test_a_server_that_speaks_first_is_not_kept_waiting(
    gateway: Any, jail: Any, serve: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-there\r\n")
        await reader.read()
        writer.close()

    gateway.override(resolve={"git.example.com:22": f"127.0.0.1:{await gateway.origin(greeting)}"})
    await serve(make_policy(Rule("git.example.com:22", protocol="tcp"), "api.example.com"))
    client = await talk(jail.connect(await look_up(jail, "git.example.com"), 22))
    assert await client.hear(15) == b"SSH-2.0-there\r\n"


@pytest.mark.parametrize("port", [22, 5432])
async def test_raw_tcp_that_no_rule_allows_is_closed_before_the_client_speaks(
    gateway: Any,
    jail: Any,
    serve: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    port: int,
) -> None:
    await serve(make_policy(Rule("git.example.com:22", protocol="tcp"), "api.example.com:443"))
    client = await talk(jail.connect(await look_up(jail, "api.example.com"), port))
    assert await client.rest() == b""
    (record,) = await gateway.recorded()
    assert (record["verdict"], record["protocol"], record["port"]) == ("blocked", "tcp", port)


async def test_bytes_that_are_neither_tls_nor_http_are_closed_at_once(
    gateway: Any, jail: Any, serve: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    await serve(make_policy("api.example.com"))
    client = await talk(jail.connect(await look_up(jail, "api.example.com"), 443))
    await client.say(b"\0\0\0\x08\x04\xd2\x16\x2f")
    assert await client.rest() == b""
    assert (await gateway.recorded())[0]["verdict"] == "blocked"


@pytest.mark.parametrize("name", ["evil.example.com", None])
async def test_a_server_name_other_than_the_name_dialled_is_closed(
    gateway: Any,
    jail: Any,
    serve: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    hello: Callable[..., bytes],
    name: str | None,
) -> None:
    gateway.override(resolve={"api.example.com": f"127.0.0.1:{await gateway.origin()}"})
    await serve(make_policy("api.example.com"))
    client = await talk(jail.connect(await look_up(jail, "api.example.com"), 443))
    await client.say(hello(name))
    assert await client.rest() == b""
    (record,) = await gateway.recorded()
    assert (record["verdict"], record["rule"]) == ("blocked", "server name")
    assert record["addresses"] == ["127.0.0.1"]


async def test_what_must_be_looked_into_goes_to_the_interceptor_with_the_name_that_was_meant(
    gateway: Any,
    jail: Any,
    serve: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    hello: Callable[..., bytes],
) -> None:
    await serve(make_policy("api.example.com", inspect="full"))
    address = await look_up(jail, "api.example.com")
    client = await talk(jail.connect(address, 443))
    await client.say(first := hello("api.example.com"))
    assert await client.rest() == b"web transparent api.example.com 443\n" + first
    client = await talk(jail.connect(address, 80))
    await client.say(b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
    assert (await client.rest()).startswith(b"web transparent api.example.com 80\nGET / ")


@pytest.mark.parametrize("address", ["169.254.169.254", "203.0.113.9", "10.1.2.3"])
async def test_a_literal_address_meets_the_policy_as_itself(
    gateway: Any,
    jail: Any,
    serve: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    address: str,
) -> None:
    await serve(make_policy("api.example.com"))
    client = await talk(jail.connect(address, 80))
    await client.say(b"GET / HTTP/1.1\r\n\r\n")
    assert (await client.rest()).startswith(f"web transparent {address} 80\n".encode())  # which denies it, readably


async def test_the_hosts_own_address_inside_means_localhost(
    gateway: Any, jail: Any, serve: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    gateway.override(resolve={"localhost:5432": f"127.0.0.1:{await gateway.origin()}"})
    await serve(make_policy(Rule("localhost:5432", protocol="tcp")))
    client = await talk(jail.connect("127.0.0.1", 5432))
    await client.say(b"hello")
    assert await client.hear(5) == b"hello"


async def test_an_address_of_ours_that_stands_for_no_name_is_closed(
    gateway: Any, jail: Any, serve: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]]
) -> None:
    await serve(make_policy(mode="allow"))
    client = await talk(jail.connect("198.18.77.77", 443))
    assert await client.rest() == b""
    assert (await gateway.recorded())[0]["rule"] == "unknown address"


async def test_a_client_that_never_speaks_is_closed(
    jail: Any,
    serve: Any,
    make_policy: Callable[..., Policy],
    talk: Callable[..., Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "TIMEOUT", 0.05)
    await serve(make_policy("api.example.com"))
    client = await talk(jail.connect(await look_up(jail, "api.example.com"), 443))
    assert await client.rest() == b""
