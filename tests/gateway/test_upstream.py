"""Connections out: the addresses that were checked and no others, and the host's own proxy where it has one."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sandboxfile.gateway import resolver as resolving
from sandboxfile.gateway.upstream import Routes
from sandboxfile.model.policy import Policy, Rule

pytestmark = pytest.mark.anyio

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.mark.parametrize(
    ("entry", "host", "direct"),
    [
        ("example.com", "example.com", True),
        ("example.com", "api.example.com", True),
        (".example.com", "api.example.com", True),
        ("*.example.com", "api.example.com", True),
        ("example.com", "badexample.com", False),
        ("EXAMPLE.com ", "example.com", True),
        ("example.com:443", "example.com", True),
        ("example.com:80", "example.com", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("203.0.113.9", "203.0.113.9", True),
        ("3.9", "203.0.113.9", False),
        ("2001:db8::1", "2001:db8::1", True),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("*", "example.com", True),
        ("", "example.com", False),
        ("other.example.com,example.com", "example.com", True),
    ],
)
def test_no_proxy_means_what_other_programs_take_it_for(entry: str, host: str, direct: bool) -> None:
    routes = Routes({"https_proxy": "http://proxy.example.com:3128", "no_proxy": entry})
    assert (routes.proxy("https", host, 443) is None) is direct


def test_each_protocol_has_its_proxy_and_raw_tcp_and_this_host_have_none() -> None:
    routes = Routes({"https_proxy": "http://one.example.com:1", "http_proxy": "two.example.com:2"})
    https, http = routes.proxy("https", "a.example.com", 443), routes.proxy("http", "a.example.com", 80)
    assert https is not None
    assert http is not None
    assert (https.host, https.port, http.host, http.port) == ("one.example.com", 1, "two.example.com", 2)
    assert routes.proxy("tcp", "a.example.com", 5432) is None
    assert routes.proxy("https", "localhost", 443) is None


def test_credentials_are_not_shown() -> None:
    proxy = Routes({"https_proxy": "http://user:pa%20ss@proxy.example.com:3128"}).proxy("https", "a.example.com", 1)
    assert proxy is not None
    assert proxy.credentials == "Basic " + base64.b64encode(b"user:pa ss").decode()
    assert "Basic" not in repr(proxy)


@pytest.fixture
async def upstream(gateway: Any) -> Callable[..., Awaitable[list[bytes]]]:
    """A proxy of the host: gives the heads that it got. Its servers greet first, then echo."""

    async def start(status: bytes = b"200 OK") -> tuple[str, list[bytes]]:
        heads: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 " + status + b"\r\nVia: proxy\r\n\r\ngreeting")
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(1000):
                    writer.write(data)
            writer.close()

        return f"127.0.0.1:{await gateway.origin(serve)}", heads

    return start  # type: ignore[return-value]


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(resolving, "_getaddrinfo", getaddrinfo)


async def connect(gateway: Any, talk: Any, policy: Policy, proxies: dict[str, str], target: str) -> Any:
    sandbox = await gateway.sandbox(policy, proxies=tuple(proxies.items()))
    client = await talk(await sandbox.proxy())
    await client.say(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
    return client


@pytest.mark.usefixtures("unknown")
async def test_an_exact_host_goes_through_the_proxy_by_name_and_only_the_proxy_gets_the_credentials(
    gateway: Any,
    upstream: Any,
    talk: Callable[..., Awaitable[Any]],
    make_policy: Callable[..., Policy],
    hello: Callable[..., bytes],
) -> None:
    where, heads = await upstream()
    proxies = {"https_proxy": f"http://user:secret@{where}"}
    client = await connect(gateway, talk, make_policy("api.example.com:443"), proxies, "api.example.com:443")
    assert await client.head() == CONNECTED
    await client.say(first := hello("api.example.com"))
    assert await client.hear(8 + len(first)) == b"greeting" + first
    assert heads[0].startswith(b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:secret") in heads[0]
    client.writer.close()
    assert "secret" not in str(await gateway.recorded())


@pytest.mark.usefixtures("unknown")
@pytest.mark.parametrize(("allow", "block"), [("*.example.com", ()), ("api.example.com", ("10.0.0.0/8",))])
async def test_a_name_whose_addresses_cannot_be_checked_is_left_to_the_proxy_only_by_an_exact_rule(
    gateway: Any,
    upstream: Any,
    talk: Callable[..., Awaitable[Any]],
    make_policy: Callable[..., Policy],
    allow: str,
    block: tuple[str, ...],
) -> None:
    where, heads = await upstream()
    policy = make_policy(allow, block=block, bypass=("api.example.com",))
    client = await connect(gateway, talk, policy, {"https_proxy": where}, "api.example.com:443")
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"upstream proxy" in answer
    assert not heads


async def test_a_name_that_resolves_here_is_checked_although_a_proxy_dials_it(
    gateway: Any, upstream: Any, talk: Callable[..., Awaitable[Any]], make_policy: Callable[..., Policy]
) -> None:
    where, heads = await upstream()
    gateway.override(resolve={"a.example.com": "169.254.169.254"})
    policy = make_policy("*.example.com", bypass=("*.example.com",))
    client = await connect(gateway, talk, policy, {"https_proxy": where}, "a.example.com:443")
    assert (await client.rest()).startswith(b"HTTP/1.1 403 ")
    assert not heads


@pytest.mark.usefixtures("unknown")
async def test_a_proxy_that_says_no_is_a_bad_gateway(
    gateway: Any, upstream: Any, talk: Callable[..., Awaitable[Any]], make_policy: Callable[..., Policy]
) -> None:
    where, _ = await upstream(b"407 Proxy Authentication Required")
    policy = make_policy("api.example.com")
    client = await connect(gateway, talk, policy, {"https_proxy": where}, "api.example.com:443")
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"407" in answer


@pytest.mark.usefixtures("unknown")
async def test_a_proxy_that_is_spoken_to_over_tls_is_refused_and_never_left_out(
    gateway: Any, talk: Callable[..., Awaitable[Any]], make_policy: Callable[..., Policy]
) -> None:
    policy = make_policy("api.example.com")
    proxies = {"https_proxy": "https://proxy.example.com:3128"}
    client = await connect(gateway, talk, policy, proxies, "api.example.com:443")
    assert b"only http:// proxies" in await client.rest()


@pytest.mark.usefixtures("unknown")
async def test_a_name_that_does_not_resolve_is_denied_and_says_so(
    gateway: Any, talk: Callable[..., Awaitable[Any]], make_policy: Callable[..., Policy]
) -> None:
    rule = Rule("db.example.com:5432", protocol="tcp")
    client = await connect(gateway, talk, make_policy(rule), {}, "db.example.com:5432")
    assert b"does not resolve" in await client.rest()
    assert (await gateway.recorded())[0]["verdict"] == "blocked"


async def test_an_address_that_does_not_answer_does_not_keep_the_next_from_being_tried(
    gateway: Any, talk: Callable[..., Awaitable[Any]], make_policy: Callable[..., Policy]
) -> None:
    port = await gateway.origin()
    gateway.override(resolve={"db.example.com": ["127.0.0.3:1", f"127.0.0.2:{port}", f"127.0.0.1:{port}"]})
    rule = Rule("db.example.com:5432", protocol="tcp")
    client = await connect(gateway, talk, make_policy(rule), {}, "db.example.com:5432")
    assert await client.head() == CONNECTED
    await client.say(b"ping")
    assert await client.hear(4) == b"ping"


async def test_one_checked_answer_is_the_one_that_is_dialled(
    gateway: Any,
    talk: Callable[..., Awaitable[Any]],
    make_policy: Callable[..., Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = await gateway.origin()
    gateway.override(resolve={"db.example.com": "127.0.0.1:1"})  # where a second answer would lead
    sandbox = await gateway.sandbox(make_policy(Rule(f"db.example.com:{port}", protocol="tcp")))
    asked = 0

    async def resolve(host: str, *_: Any) -> tuple[Any, ...]:
        nonlocal asked
        asked += 1
        return resolving._LOCAL[:1]

    tenant = gateway.registrations._current["shop/web"].tenant
    monkeypatch.setattr(tenant._resolver, "resolve", resolve)
    monkeypatch.setattr(tenant._resolver, "port", lambda host, port, address: port)
    client = await talk(await sandbox.proxy())
    await client.say(f"CONNECT db.example.com:{port} HTTP/1.1\r\n\r\n".encode())
    with anyio.fail_after(10):
        assert await client.head() == CONNECTED
    assert asked == 1
