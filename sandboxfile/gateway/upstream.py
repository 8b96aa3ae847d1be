"""Connections out of this host: to addresses that were checked, or by CONNECT through the host's own upstream proxy.

Nothing here decides: what is dialled is what a Decision carries. Credentials of a proxy's URL go to that proxy alone,
and are in no message.
"""

import asyncio
import base64
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from urllib.parse import unquote, urlsplit

import anyio

from sandboxfile.gateway.resolver import Resolver
from sandboxfile.model.policy import Decision, Protocol
from sandboxfile.policy.patterns import Address, canonical_host, literal

_ATTEMPT = 10.0  # seconds for one address
_ALL = 30.0  # seconds for all of them, and for a proxy's answer
_NEXT = 0.3  # seconds after which the next address is tried beside the one before
_HEAD = 1 << 14  # bytes of a proxy's answer


# --- which way ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """An upstream proxy. `credentials` are the value of Proxy-Authorization, or empty."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)
    unusable: str = ""  # why, when it cannot be used


class Routes:
    """The host's proxy settings, as its own programs go by them."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """`settings`: https_proxy, http_proxy, no_proxy, those set."""
        self._proxies = {
            protocol: _proxy(settings[name])
            for protocol, name in (("https", "https_proxy"), ("http", "http_proxy"))
            if settings.get(name)
        }
        self._direct = [entry for part in settings.get("no_proxy", "").split(",") if (entry := part.strip().lower())]

    def proxy(self, protocol: Protocol, host: str, port: int) -> Proxy | None:
        """The proxy to go through to a canonical host; None: directly. Raw TCP always goes directly."""
        proxy = self._proxies.get(protocol)
        if proxy is None or host == "localhost" or any(_covers(entry, host, port) for entry in self._direct):
            return None
        return proxy


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of no_proxy means this host: a name and all below it, an address, a range, `*`."""
    if entry == "*":
        return True
    address = literal(host)
    if "/" in entry:
        try:
            return address is not None and address in ip_network(entry, strict=False)
        except ValueError:
            return False
    if address is None and ":" in entry:
        entry, _, wanted = entry.partition(":")
        if wanted != str(port):
            return False
    entry = entry.removeprefix("*").removeprefix(".")
    return canonical_host(entry) == host or (address is None and host.endswith(f".{entry}"))


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 80
    except ValueError:
        return Proxy("", 0, unusable="its URL has no valid port")
    if parts.scheme != "http" or not parts.hostname:
        return Proxy(parts.hostname or "", port, unusable=f"only http:// proxies are supported, not {parts.scheme}://")
    credentials = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, credentials)


# --- connecting --------------------------------------------------------------------------------------------------


async def connect(decision: Decision, proxy: Proxy | None, resolver: Resolver) -> socket.socket:
    """A connected, non-blocking socket to what `decision` allows. Raises OSError."""
    if proxy is not None:
        return await _through(proxy, decision)
    targets = []
    for text in decision.addresses:
        address = literal(text)
        if address is None:
            raise OSError(f"{text!r} is not an address")
        targets.append((address, resolver.port(decision.host, decision.port, address)))
    with anyio.move_on_after(_ALL):
        return await _first_of(targets)
    raise TimeoutError(f"no answer from {decision.host}:{decision.port} within {_ALL:g} s")


async def _first_of(targets: Sequence[tuple[Address, int]]) -> socket.socket:
    """Connect to the first that answers; a later one is tried when those before have failed, or are slow."""
    if not targets:
        raise OSError("there is no address to dial")
    if len(targets) == 1:
        return await _dial(*targets[0])
    won: list[socket.socket] = []
    failures: list[OSError] = []

    async def attempt(address: Address, port: int, failed: anyio.Event) -> None:
        try:
            sock = await _dial(address, port)
        except OSError as exc:
            failures.append(exc)
            failed.set()
            return
        if won:
            sock.close()
        else:
            won.append(sock)
            group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            for address, port in targets:
                failed = anyio.Event()
                group.start_soon(attempt, address, port, failed)
                with anyio.move_on_after(_NEXT):
                    await failed.wait()
    except BaseException:
        for sock in won:
            sock.close()
        raise
    if won:
        return won[0]
    raise failures[0]


async def _dial(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with anyio.move_on_after(_ATTEMPT):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
            return sock
        raise TimeoutError(f"no answer from {address} port {port} within {_ATTEMPT:g} s")
    except BaseException:
        sock.close()
        raise


# --- through a proxy ---------------------------------------------------------------------------------------------


async def _through(proxy: Proxy, decision: Decision) -> socket.socket:
    if proxy.unusable:
        raise OSError(f"this host's upstream proxy cannot be used: {proxy.unusable}")
    with anyio.move_on_after(_ALL):
        sock = await _reach(proxy)
        try:
            await _ask(sock, proxy, decision)
        except BaseException:
            sock.close()
            raise
        return sock
    raise TimeoutError(f"no answer from the upstream proxy within {_ALL:g} s")


async def _reach(proxy: Proxy) -> socket.socket:
    """The proxy is the operator's word, so its address meets no policy."""
    found = await asyncio.get_running_loop().getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    targets = [(address, proxy.port) for *_, where in found if (address := literal(str(where[0]))) is not None]
    return await _first_of(targets)


async def _ask(sock: socket.socket, proxy: Proxy, decision: Decision) -> None:
    loop = asyncio.get_running_loop()
    target = f"[{decision.host}]:{decision.port}" if ":" in decision.host else f"{decision.host}:{decision.port}"
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.credentials:
        head += f"Proxy-Authorization: {proxy.credentials}\r\n"
    await loop.sock_sendall(sock, f"{head}\r\n".encode("ascii"))
    status = (await _answer(sock)).split(b"\r\n", 1)[0].split(b" ", 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].startswith(b"2"):
        code = status[1][:3].decode("ascii", "replace") if len(status) > 1 else "nonsense"
        raise OSError(f"this host's upstream proxy answered {code} when asked for {target}")


async def _answer(sock: socket.socket) -> bytes:
    """The head of the answer and not a byte more: what follows is the server's."""
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > _HEAD:
            raise OSError("the upstream proxy's answer is too long")
        seen = sock_peek(sock)
        if seen is None:
            await anyio.wait_readable(sock)
            continue
        if not seen:
            raise OSError("the upstream proxy hung up")
        whole = head + seen
        end = whole.find(b"\r\n\r\n", max(0, len(head) - 3))
        wanted = len(seen) if end < 0 else end + 4 - len(head)
        head += await loop.sock_recv(sock, wanted)
    return head


def sock_peek(sock: socket.socket) -> bytes | None:
    """What waits to be read, without taking it; None: nothing yet; empty: the end."""
    try:
        return sock.recv(1 << 12, socket.MSG_PEEK)
    except BlockingIOError:
        return None
