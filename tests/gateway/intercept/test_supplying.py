"""Credentials through the real interceptor: they arrive where they are bound, and nowhere else by any way."""

import asyncio
import base64
import itertools
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandboxfile.gateway.intercept import exchange, injecting, supplying
from sandboxfile.gateway.intercept.exchange import Exchange
from sandboxfile.gateway.sources import Sources
from sandboxfile.gateway.values import Values
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.policy.bindings import NOTHING_BOUND

from .conftest import Bench
from .test_connection import HOST, PATIENCE, answer, answers, http2
from .test_exchange import websocket

pytestmark = pytest.mark.anyio

SECRET = "value-that-never-enters-4711"
PLACEHOLDER = "sk-placeholder-0123456789"
PLACES = ("h1.example.com", "api.example.com")
VERSIONS = pytest.mark.parametrize("version", ["--http1.1", "--http2"])


def held(*injections: Injection, name: str = "tracker", **fields: Any) -> Credential:
    source = fields.pop("source", SecretSource("env", "TRACKER"))
    return Credential(name, source, injections, "TRACKER", PLACEHOLDER, **fields)


def header(host: str = "h1.example.com", **fields: Any) -> Injection:
    return Injection(host, **{"name": "X-Api-Key", **fields})


def lend(bench: Bench, *injections: Injection) -> None:
    bench.tenant.lend(held(*(injections or map(header, PLACES))), values={"tracker": SECRET})


def arrived(bench: Bench) -> bytes:
    return b"".join(bench.origin.heads)


@pytest.fixture(autouse=True)
def silent(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The gateway's own log holds no value, whatever a test does."""
    yield
    captured = capfd.readouterr()
    assert SECRET not in captured.err + captured.out


# --- where it goes ---------------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize("host", PLACES)
async def test_a_bound_place_gets_the_value_instead_of_what_the_client_sent(
    bench: Bench, version: str, host: str
) -> None:
    lend(bench)
    code, out, _ = await bench.curl(version, f"https://{host}/redirect?a=1", "-H", "x-API-key: mine")
    assert (code, out.count("[")) == (0, 1)
    (head,) = bench.origin.heads
    assert head.lower().count(b"x-api-key") == 1
    assert SECRET.encode() in head
    assert b"mine" not in head
    assert bench.tenant.flows[-1].injected == ("tracker",)
    assert SECRET not in repr(bench.tenant.flows)


@VERSIONS
async def test_placeholders_are_swapped_in_headers_basic_and_query_but_not_in_the_path(
    bench: Bench, version: str
) -> None:
    lend(bench, Injection("api.example.com"))
    arguments = ["-u", f"user:{PLACEHOLDER}", "-H", f"X-Token: {PLACEHOLDER}"]
    await bench.curl(version, f"https://api.example.com/{PLACEHOLDER}?key={PLACEHOLDER}", *arguments)
    (head,) = bench.origin.heads
    assert f"/{PLACEHOLDER}?key={SECRET}".encode() in head
    assert head.count(SECRET.encode()) == 2  # in the query and in X-Token
    assert base64.b64encode(f"user:{SECRET}".encode()) in head
    assert head.count(PLACEHOLDER.encode()) == 1


async def test_a_body_passes_untouched(bench: Bench) -> None:
    lend(bench, header(), Injection("h1.example.com"))
    size = b"%x" % len(PLACEHOLDER)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + PLACEHOLDER.encode() + b"\r\n0\r\n\r\n"
    streams = await bench.tunnel()
    received = await answer(*streams, b"POST /echo HTTP/1.1\r\n" + HOST + chunked)
    streams[1].close()
    assert received.endswith(b"\r\n\r\n" + PLACEHOLDER.encode())
    assert bench.tenant.flows[-1].sent == len(PLACEHOLDER)
    code, out, _ = await bench.curl("--http1.1", "https://h1.example.com/echo", "-d", f"key={PLACEHOLDER}")
    assert (code, f"\r\n\r\nkey={PLACEHOLDER} [200" in out) == (0, True)
    assert arrived(bench).count(SECRET.encode()) == 2


async def test_events_still_arrive_as_they_are_sent(bench: Bench) -> None:
    lend(bench)
    reader, writer = await bench.tunnel()
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"first\r\n")
        bench.origin.release.set()
        await reader.readuntil(b"second\r\n0\r\n\r\n")
    writer.close()
    assert SECRET.encode() in arrived(bench)


async def test_an_upgrade_to_websocket_gets_the_value(bench: Bench) -> None:
    lend(bench)
    _, _, writer = await websocket(bench, "/ws", False)
    assert b"\r\nX-Api-Key: " + SECRET.encode() + b"\r\n" in arrived(bench)
    writer.close()


async def test_a_whole_url_to_the_proxy_gets_it_by_tls(bench: Bench) -> None:
    lend(bench)
    await answers(*await bench.raw(), b"GET https://h1.example.com/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert SECRET.encode() in arrived(bench)


async def test_several_credentials_go_to_one_place(bench: Bench) -> None:
    bench.tenant.lend(
        held(header(), name="a"),
        held(Injection("h1.example.com", kind="query", name="key"), name="b"),
        values={"a": "first-value", "b": "second value"},
    )
    await bench.curl("https://h1.example.com/x?key=mine&y=1")
    assert b"GET /x?y=1&key=second%20value HTTP/1.1\r\n" in arrived(bench)
    assert b"X-Api-Key: first-value\r\n" in arrived(bench)
    assert bench.tenant.flows[-1].injected == ("a", "b")


# --- where it does not go --------------------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.parametrize(
    "url",
    ["https://other.example.com/", "http://api.example.com/", "http://other.example.com/", "http://localhost:8000/"],
)
async def test_another_place_gets_nothing_and_a_placeholder_as_it_is(bench: Bench, version: str, url: str) -> None:
    lend(bench, *map(header, PLACES), *map(Injection, PLACES))
    code, _, _ = await bench.curl(version, f"{url}?x={PLACEHOLDER}", "-H", f"X-Api-Key: {PLACEHOLDER}")
    assert code == 0
    assert SECRET.encode() not in arrived(bench)
    assert arrived(bench).count(PLACEHOLDER.encode()) == 2
    assert bench.tenant.flows[-1].injected == ()


async def test_another_port_of_a_bound_host_gets_nothing(bench: Bench) -> None:
    lend(bench)
    bench.tenant.hosts["h1.example.com", 8443] = bench.tenant.hosts["h1.example.com", 443]
    await bench.curl("https://h1.example.com:8443/", "-H", f"X-Api-Key: {PLACEHOLDER}")
    assert PLACEHOLDER.encode() in arrived(bench)
    assert SECRET.encode() not in arrived(bench)


async def test_plain_http_to_the_port_of_tls_gets_nothing(bench: Bench) -> None:
    lend(bench, header("api.example.com"), header("api.example.com", port=80))
    bench.tenant.hosts["api.example.com", 443] = ("127.0.0.1", bench.origin.http1)
    for url in ("http://api.example.com:443/", "http://api.example.com/"):
        await bench.curl(url, "-H", f"X-Api-Key: {PLACEHOLDER}")
    assert len(bench.origin.heads) == 2
    assert SECRET.encode() not in arrived(bench)


@VERSIONS
async def test_what_a_redirect_leads_to_gets_nothing(bench: Bench, version: str) -> None:
    lend(bench, header(), Injection("h1.example.com"))
    arguments = ["-L", "-H", f"X-Api-Key: {PLACEHOLDER}", "--location-trusted", "-u", f"u:{PLACEHOLDER}"]
    url = f"https://h1.example.com/redirect/other.example.com?key={PLACEHOLDER}"
    code, _, _ = await bench.curl(version, *arguments, url)
    first, second = bench.origin.heads
    assert code == 0
    assert SECRET.encode() in first
    assert b"other.example.com" in second
    assert SECRET.encode() not in second
    assert base64.b64encode(f"u:{SECRET}".encode()) not in second
    assert f"?key={PLACEHOLDER}".encode() in second  # the server's Location had the value


async def test_a_bypassed_host_gets_nothing_even_through_the_interceptor(bench: Bench) -> None:
    lend(bench)
    bench.tenant.bypassed.add("h1.example.com")
    await answers(*await bench.raw(), b"GET https://h1.example.com/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert len(bench.origin.heads) == 1
    assert SECRET.encode() not in arrived(bench)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h1.example.com\r\nHost: other.example.com\r\n\r\n",
        b"GET https://other.example.com/ HTTP/1.1\r\nHost: h1.example.com\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h1.example.com\r\n x: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h1.example.com\r\nX-Api-Key : a\r\n\r\n",
    ],
)
@pytest.mark.parametrize("target", ["h1.example.com:443", "other.example.com:443"])
async def test_a_request_with_two_hosts_gets_nothing(bench: Bench, head: bytes, target: str) -> None:
    lend(bench)
    if target.startswith("other"):
        head = head.replace(b"other", b"OTHER").replace(b"h1", b"other").replace(b"OTHER", b"h1")
    said = await answers(*await bench.tunnel(target), head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 4")
    assert bench.origin.heads == []
    assert SECRET.encode() not in said


@pytest.mark.parametrize(("target", "sni"), [("h1", "other"), ("other", "h1")])
async def test_a_tunnel_to_one_host_with_the_tls_name_of_another_gets_nothing(
    bench: Bench, target: str, sni: str
) -> None:
    lend(bench)
    for host in (target, sni):
        streams = await bench.tunnel(f"{target}.example.com:443", sni=f"{sni}.example.com")
        head = f"GET / HTTP/1.1\r\nHost: {host}.example.com\r\nConnection: close\r\n\r\n"
        said = await answers(*streams, head.encode())
        assert b" 403 " in said.split(b"\r\n", 1)[0]
    assert bench.origin.heads == []


@pytest.mark.parametrize(
    "headers",
    [
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "other.example.com")],
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "api.example.com")],
        [
            *((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "api.example.com")),
            ("host", "other.example.com"),
        ],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "api.example.com:8443")],
        [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "u@api.example.com")],
    ],
)
async def test_games_with_the_authority_of_http2_get_nothing(bench: Bench, headers: list[tuple[str, str]]) -> None:
    lend(bench)
    await http2(bench, headers)
    assert bench.origin.heads == []


@pytest.mark.parametrize("host", ["strange.example.com", "misnamed.example.com", "cleartext.example.com"])
async def test_a_server_that_cannot_prove_its_name_gets_nothing(bench: Bench, host: str) -> None:
    lend(bench, header(host))
    _, out, _ = await bench.curl(f"https://{host}/")
    assert "[502 " in out
    assert bench.origin.heads == []
    assert SECRET not in out


async def test_an_injection_with_paths_applies_to_no_other_spelling_of_them(bench: Bench) -> None:
    lend(bench, header(paths=("/git/**",)))
    for path in ("/other", "/git/../other", "/GIT/x", "//git/x"):
        await bench.curl("--path-as-is", f"https://h1.example.com{path}", "-H", f"X-Api-Key: {PLACEHOLDER}")
    assert len(bench.origin.heads) == 4
    assert SECRET.encode() not in arrived(bench)
    await bench.curl("https://h1.example.com/git/x")
    assert SECRET.encode() in bench.origin.heads[-1]


@VERSIONS
async def test_a_method_that_sends_requests_back_is_refused(bench: Bench, version: str) -> None:
    lend(bench)
    _, out, _ = await bench.curl(version, "-X", "TRACE", "https://api.example.com/")
    assert "TRACE would send the credential back" in out
    assert "[405 " in out
    assert bench.origin.heads == []
    assert bench.tenant.flows[-1].status == 405


# --- what comes back -------------------------------------------------------------------------------------------------


async def test_an_answer_about_a_wrong_key_is_passed_on(bench: Bench) -> None:
    lend(bench)
    _, out, _ = await bench.curl("-i", "https://h1.example.com/refuse")
    assert "\r\n\r\nHTTP/1.1 401 Unauthorized\r\n" in out
    assert out.endswith("WWW-Authenticate: Bearer\r\nContent-Length: 9\r\n\r\nwrong key [401 1.1]")
    assert bench.tenant.flows[-1].status == 401


async def test_a_response_head_does_not_repeat_the_value(bench: Bench) -> None:
    lend(bench, header(), Injection("h1.example.com", kind="query", name="key"))
    _, out, _ = await bench.curl("-i", "https://h1.example.com/redirect?x=1")
    assert SECRET.encode() in arrived(bench)
    assert SECRET not in out
    assert f"?x=1&key={PLACEHOLDER}" in out


async def test_what_is_said_about_a_malformed_response_does_not_quote_it(bench: Bench) -> None:
    lend(bench)
    _, out, _ = await bench.curl("https://h1.example.com/quote")
    assert out.startswith("The gateway of the sandbox got no proper response from h1.example.com:443: ")
    assert SECRET.encode() in arrived(bench)
    assert SECRET not in out
    assert SECRET not in bench.tenant.flows[-1].error


# --- values ----------------------------------------------------------------------------------------------------------


@VERSIONS
async def test_without_a_value_the_gateway_sends_nothing_and_the_host_is_told_why(
    bench: Bench, version: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.tenant.lend(held(header("api.example.com")))
    code, out, _ = await bench.curl(version, "https://api.example.com/", "-d", "a body")
    assert code == 0
    assert out.startswith(
        "The gateway of the sandbox sent nothing to api.example.com:443: the secret 'tracker' has no value "
        "on the host.\n [403 "
    )
    assert bench.origin.heads == []
    flow = bench.tenant.flows[-1]
    assert (flow.status, flow.injected) == (403, ())
    assert "the secret 'tracker' has no value" in flow.error
    assert "has no value: the variable TRACKER was not set where sbx ran last" in capfd.readouterr().err


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX-Evil: 1", f"{SECRET}\0", "", f"a\n{SECRET}", SECRET * 3000])
async def test_a_value_that_could_break_a_line_is_not_sent(bench: Bench, value: str) -> None:
    bench.tenant.lend(held(header()), values={"tracker": value})
    _, out, _ = await bench.curl("https://h1.example.com/")
    assert out.endswith("[403 1.1]")
    assert SECRET not in out
    assert bench.origin.heads == []


async def test_a_file_that_changes_is_read_anew_on_the_same_connection(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "key"
    now = itertools.count()  # time passes each time that it is asked for
    bench.tenant.values = Values(Sources(lambda source: Path(source.name).read_text(), lambda: float(next(now))))
    bench.tenant.lend(held(header(), source=SecretSource("file", str(file))))
    reader, writer = await bench.tunnel()
    for value in ("first-value", "second-value"):
        file.write_text(value)
        writer.write(b"GET /bytes/0 HTTP/1.1\r\n" + HOST + b"\r\n")
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert [re.findall(rb"X-Api-Key: (.*)\r", head) for head in bench.origin.heads] == [
        [b"first-value"],
        [b"second-value"],
    ]
    assert bench.tenant.dialled == ["h1.example.com:443"]


async def test_a_server_that_refuses_a_value_has_it_asked_for_again(bench: Bench) -> None:
    now, printed = [0.0], iter(["old-value", "new-value"])
    bench.tenant.values = Values(Sources(lambda _: next(printed), lambda: now[0]))
    bench.tenant.lend(held(header(), source=SecretSource("command", command=("vault", "read"))))
    for _ in range(2):
        await bench.curl("https://h1.example.com/refuse")
    now[0] = 11.0
    for _ in range(2):
        await bench.curl("https://h1.example.com/refuse")
    sent = [re.findall(rb"X-Api-Key: (.*)\r", head) for head in bench.origin.heads]
    assert sent == [[b"old-value"], [b"old-value"], [b"old-value"], [b"new-value"]]


async def test_an_open_connection_goes_by_the_credentials_of_now(bench: Bench) -> None:
    reader, writer = await bench.tunnel()
    for change in (lambda: None, lambda: lend(bench), bench.tenant.lend):
        change()
        writer.write(b"GET /bytes/0 HTTP/1.1\r\n" + HOST + b"\r\n")
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert [SECRET.encode() in head for head in bench.origin.heads] == [False, True, False]


async def test_a_policy_that_changes_while_a_value_is_waited_for_is_the_one_that_counts(bench: Bench) -> None:
    def change(source: SecretSource) -> str:
        bench.tenant.bindings = NOTHING_BOUND
        return SECRET

    bench.tenant.values = Values(Sources(change))
    bench.tenant.lend(held(header(), source=SecretSource("store", "tracker")))
    await bench.curl("https://h1.example.com/")
    assert len(bench.origin.heads) == 1
    assert SECRET.encode() not in arrived(bench)
    assert bench.tenant.flows[-1].injected == ()


async def test_a_host_that_is_denied_while_a_value_is_waited_for_gets_nothing(bench: Bench) -> None:
    def deny(source: SecretSource) -> str:
        bench.tenant.denied.add("h1.example.com")
        bench.tenant.bindings = NOTHING_BOUND
        return SECRET

    bench.tenant.values = Values(Sources(deny))
    bench.tenant.lend(held(header(), source=SecretSource("store", "tracker")))
    _, out, _ = await bench.curl("https://h1.example.com/")
    assert "[403 " in out
    assert bench.origin.heads == []


async def test_a_denied_request_asks_for_no_value(bench: Bench) -> None:
    asked: list[SecretSource] = []
    bench.tenant.values = Values(Sources(lambda source: asked.append(source) or SECRET))  # type: ignore[func-returns-value]
    bench.tenant.lend(held(header("evil.example.com"), source=SecretSource("store", "tracker")))
    _, out, _ = await bench.curl("https://evil.example.com/")
    assert "[403 " in out
    assert asked == []


async def test_a_client_that_leaves_while_a_value_is_read_stops_nobody(bench: Bench) -> None:
    reading, release = threading.Event(), threading.Event()

    def slow(_: SecretSource) -> str:
        reading.set()
        assert release.wait(PATIENCE)
        return SECRET

    bench.tenant.values = Values(Sources(slow))
    bench.tenant.lend(held(header(), source=SecretSource("store", "tracker")))
    _, writer = await bench.tunnel()
    writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    await asyncio.to_thread(reading.wait, PATIENCE)
    writer.close()
    code, out, _ = await bench.curl("https://other.example.com/")
    assert (code, "[200" in out) == (0, True)
    release.set()
    await bench.curl("https://h1.example.com/")
    assert SECRET.encode() in arrived(bench)


# --- our own mistakes ------------------------------------------------------------------------------------------------


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError(f"a mistake about {SECRET}")


@pytest.mark.parametrize("name", ["inject", "needed"])
async def test_a_mistake_of_ours_sends_nothing_and_tells_no_value(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    lend(bench)
    monkeypatch.setattr(supplying, name, failing)
    _, out, _ = await bench.curl("https://h1.example.com/")
    assert "this is a bug in sandboxfile" in out
    assert out.endswith("[500 1.1]")
    assert bench.origin.heads == []
    said = capfd.readouterr().err
    assert "adding a credential for h1.example.com:443, shop/web: RuntimeError" in said
    assert SECRET not in said + out


async def test_a_mistake_while_a_value_is_read_tells_no_value(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    bench.tenant.values = Values(Sources(failing))
    bench.tenant.lend(held(header(), source=SecretSource("store", "tracker")))
    _, out, _ = await bench.curl("https://h1.example.com/")
    assert out.endswith("has no value on the host.\n [403 1.1]")
    said = capfd.readouterr().err
    assert "reading a secret: RuntimeError" in said
    assert SECRET not in said + out


@pytest.mark.parametrize("name", ["_connected", "_response"])
async def test_a_mistake_after_a_value_was_added_tells_no_value(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    lend(bench)
    monkeypatch.setattr(exchange, "_HANDLERS", _handlers(name))
    said = await answers(*await bench.tunnel(), b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert said == b""
    told = capfd.readouterr().err
    assert "because of a bug in sandboxfile: RuntimeError" in told
    assert SECRET not in told


def _handlers(name: str) -> dict[Any, Any]:
    broken = {"_connected": Exchange._sent, "_response": Exchange._response}[name]
    return {event: failing if handler is broken else handler for event, handler in exchange._HANDLERS.items()}


async def test_a_mistake_while_a_response_is_looked_at_passes_none_of_it_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lend(bench)
    monkeypatch.setattr(injecting.Injected, "conceal", failing)
    assert await answers(*await bench.tunnel(), b"GET /redirect HTTP/1.1\r\n" + HOST + b"\r\n") == b""
    assert SECRET not in capfd.readouterr().err
