"""The frame of the stand-ins: a vendor's API on loopback, as faithful as that vendor's real command line program needs.

A stand-in is a TLS server (HTTP/1.1 and HTTP/2) in a thread of its own, with a certificate for the vendor's names. It
knows one key. Whoever has another gets the vendor's own 401. A prompt is answered in two turns: first a call of the
client's own tool that writes `file` with `content` into its working directory, then a text that holds `marker`.
What came is in `requests`, with the names of the headers in which the key was.

    with running(Anthropic(place, authority, key="sk-ant-...", task=Task(file, content, marker))) as anthropic:
        anthropic.publish(config)              # alone: writes resolver.json and the authority's certificate
        origin.publish(config, anthropic.overrides())    # beside origin servers, which then need the same authority

`place` is an empty directory, `authority` an `egress.authority.Authority`, `config` the user's configuration directory
(`sbx.home / ".config/sandboxfile"`). The operator's `resolver.json` there leads the vendor's names to loopback
(`resolve`: HOST:PORT to ADDRESS:PORT) and names a file of certificates that the gateway trusts besides the system's
(`authorities`), see `egress.origin`. A policy reaches an address of loopback only by a rule that names the host
exactly; the rules of agents and secrets do. With several stand-ins, `publish_all` leads to each of them.

A stand-in fails closed like the vendor: what it does not know is 404, and it is in `requests` nonetheless.
"""

import base64
import binascii
import json
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import anyio.lowlevel
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, IncompleteRead
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus
from anyio.from_thread import start_blocking_portal
from anyio.streams.tls import TLSAttribute, TLSStream

from ...egress import http1, http2
from ...egress.authority import Authority
from ...egress.ledger import Ledger
from ...egress.messages import Incoming, Response

_BODY = 64 << 20
_HANDSHAKE = 30.0
_GONE = (BrokenResourceError, ClosedResourceError, EndOfStream, IncompleteRead, OSError)
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Task:
    """What a prompt is answered with: `file` (relative to the client's working directory) gets `content`."""

    file: str = "hello.txt"
    content: str = "written by the agent\n"
    marker: str = "the-task-is-done"


@dataclass(frozen=True)
class Request:
    """One request, or with `method` MESSAGE what was said over a WebSocket, with the headers of its handshake.

    Header names are lower-case. `keys`: where the real key was, `x-api-key` or `?key`.
    """

    method: str
    host: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    keys: tuple[str, ...]

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @cached_property
    def json(self) -> Any:
        """The body. None where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Standin(ABC):
    """A vendor's API. `hosts` are the names it has; `key` may be changed while it runs (a rotated key)."""

    hosts: Sequence[str]

    def __init__(self, place: Path, authority: Authority, *, key: str, task: Task | None = None) -> None:
        self.authority = authority
        self.key = key
        self.task = task or Task()
        self.port = 0
        self._place = place
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    # --- what a vendor is ---------------------------------------------------------------------------------------

    @abstractmethod
    async def answer(self, request: Request) -> Response:
        """The vendor's answer. Called on the server's event loop."""

    async def upgrade(self, request: Request, incoming: Incoming, stream: ByteStream) -> None:
        """A request to go on as a WebSocket. Without an own method here, the vendor has none."""
        await stream.send(NOT_FOUND)

    # --- for tests, from any thread -----------------------------------------------------------------------------

    @property
    def requests(self) -> tuple[Request, ...]:
        with self._lock:
            return tuple(self._requests)

    def overrides(self) -> dict[str, str]:
        """For `resolve` of resolver.json."""
        return {f"{host}:443": f"127.0.0.1:{self.port}" for host in self.hosts}

    def publish(self, config: Path) -> Path:
        """Lead the names here and nothing else anywhere; gives the written `resolver.json`."""
        return publish_all(config, self)

    # --- the server ---------------------------------------------------------------------------------------------

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Listen on loopback, on a port that the kernel chooses, until cancelled."""
        context = self.authority.issue(*self.hosts).context(self._place, ("h2", "http/1.1"))
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(SocketAttribute.local_port)
            task_status.started()
            await listener.serve(lambda client: self._accept(context, client))

    async def _accept(self, context: ssl.SSLContext, client: SocketStream) -> None:
        try:
            with anyio.fail_after(_HANDSHAKE):
                stream = await TLSStream.wrap(client, server_side=True, ssl_context=context, standard_compatible=False)
            async with stream:
                if stream.extra(TLSAttribute.alpn_protocol, None) == "h2":
                    await http2.Connection("standin", stream, None, Ledger()).serve(self._answer)
                else:
                    await http1.Connection("standin", stream, None, True, Ledger()).serve(self._answer, self._upgrade)
        except (*_GONE, TimeoutError):  # clients come and go as they please
            pass

    async def _answer(self, incoming: Incoming) -> Response:
        return await self.answer(self._note(incoming, await _whole(incoming)))

    async def _upgrade(self, incoming: Incoming, stream: ByteStream) -> None:
        await self.upgrade(self._note(incoming, b""), incoming, stream)

    def _note(self, incoming: Incoming, body: bytes) -> Request:
        seen = incoming.seen
        keys = tuple(_places(self.key, seen.headers, incoming.raw_query))
        return self.noted(Request(seen.method, seen.host, seen.target, seen.version, seen.headers, body, keys))

    def noted(self, request: Request) -> Request:
        with self._lock:
            self._requests.append(request)
        return request


async def _whole(incoming: Incoming) -> bytes:
    body = b""
    async for piece in incoming.body:
        body += piece
        if len(body) > _BODY:
            raise BrokenResourceError
    return body


def _places(key: str, headers: Iterable[tuple[str, str]], query: str) -> Iterator[str]:
    for name, value in headers:
        if key in value or key in _basic(value):
            yield name
    yield from (f"?{name}" for name, value in parse_qsl(query) if key in value)


def _basic(value: str) -> str:
    scheme, _, encoded = value.partition(" ")
    try:
        return base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


# --- answers that vendors have in common ---------------------------------------------------------------------------


def json_response(value: object, status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(status, [("Content-Type", "application/json"), *headers], json.dumps(value).encode())


def event_response(events: Iterable[tuple[str, object]], *headers: tuple[str, str]) -> Response:
    """Server-sent events: (name, data as JSON); a nameless one has no `event:` line. A str is sent as it is."""
    sent = [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache"), *headers]
    return Response(200, sent, _stream(list(events)))


async def _stream(events: Iterable[tuple[str, object]]) -> AsyncIterator[bytes]:
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        yield (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
        await anyio.lowlevel.checkpoint()


# --- running -------------------------------------------------------------------------------------------------------


def publish_all(config: Path, *standins: Standin) -> Path:
    """Lead all their names to them, in a user's configuration directory. They have one authority together."""
    (authority,) = {standin.authority for standin in standins}
    config.mkdir(mode=0o700, parents=True, exist_ok=True)
    trusted = config / "standins-authority.pem"
    _write(trusted, authority.certificate)
    resolve = {name: place for standin in standins for name, place in standin.overrides().items()}
    _write(config / "resolver.json", json.dumps({"resolve": resolve, "authorities": str(trusted)}, indent=1))
    return config / "resolver.json"


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


@contextmanager
def running[S: Standin](standin: S) -> Iterator[S]:
    """The stand-in in a thread of its own until the block ends."""
    with start_blocking_portal() as portal:
        server, _ = portal.start_task(standin.serve)
        try:
            yield standin
        finally:
            server.cancel()
