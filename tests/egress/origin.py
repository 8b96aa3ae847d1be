"""Origin servers on loopback with an authority of their own, and the operator's override that leads names to them.

All run on an event loop in one thread. What clients did is in `ledger`, by these server names:

    https       HTTP/1.1 and HTTP/2 (ALPN), certificate for the NAMES and any subdomain of example.com
    http1       the same, but knows no ALPN and no HTTP/2
    http        without TLS
    pinned      HTTPS with a certificate that no authority vouches for: `origin.pinned`
    untrusted   HTTPS with a certificate of an authority that nobody was told of
    misnamed    HTTPS with a certificate of ours, but for another name
    lines       no HTTP: speaks first (GREETING), then says every line back, until `quit`
    proxy       a company's proxy: CONNECT to the names that the override knows, and to nothing else
"""

import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from weakref import WeakKeyDictionary

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, IncompleteRead
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus
from anyio.from_thread import start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSAttribute, TLSStream

from . import http1, http2, websocket
from .authority import Authority, Identity, self_signed
from .ledger import Hits, Ledger, Seen
from .packages import Shelf
from .proxy import Proxy
from .repository import Repository
from .routes import Routes

NAMES = ("example.com", "*.example.com", "example.org", "*.example.org", "localhost", "127.0.0.1")
GREETING = b"220 lines at your service\r\n"
_LINE = 65536
_HANDSHAKE = 30.0
_TLS = ("https", "http1", "pinned", "untrusted", "misnamed")
_PLAIN = ("http", "lines", "proxy")
_GONE = (BrokenResourceError, ClosedResourceError, EndOfStream, IncompleteRead, OSError)
_NAMES_SENT: WeakKeyDictionary[object, str] = WeakKeyDictionary()  # by a server's end of a TLS connection


class Origin:
    """The running servers. Everything public may be called from any thread."""

    def __init__(self, place: Path, authority: Authority) -> None:
        self.authority = authority
        self.pinned: Identity = self_signed("pinned.example.com")
        self.ledger = Ledger()
        self.repository = Repository(place)
        self.ports: dict[str, int] = {}
        self._place = place
        self._routes = Routes(Shelf(), self.repository)

    def hits(self, server: str | None = None) -> Hits:
        return self.ledger.hits(server)

    def seen(self) -> list[Seen]:
        return self.ledger.seen()

    def address(self, server: str) -> str:
        return f"127.0.0.1:{self.ports[server]}"

    def overrides(self) -> dict[str, str]:
        """Where the names that tests use lead to: `api`, `cdn`, `git`, ... are one server under several names."""
        web = [f"{name}.example.com" for name in ("api", "cdn", "git", "npm", "pip", "debian", "www")]
        web += ["example.com", "example.org", "evil.example.org"]
        found = {f"{name}:443": self.address("https") for name in web}
        found |= {f"{name}:80": self.address("http") for name in web}
        found |= {f"{name}.example.com:443": self.address(name) for name in _TLS[1:]}
        return found | {"db.example.com:5432": self.address("lines")}

    def publish(self, config: Path, more: Mapping[str, str | Sequence[str]] | None = None) -> Path:
        """Write `resolver.json` and our authority's certificate into a user's configuration directory.

        `more` adds to `overrides`, or replaces some. Written in one step: a gateway sees the old or the new one.
        """
        config.mkdir(mode=0o700, parents=True, exist_ok=True)
        trusted = config / "origin-authority.pem"
        _write(trusted, self.authority.certificate)
        said = {"resolve": {**self.overrides(), **(more or {})}, "authorities": str(trusted)}
        _write(config / "resolver.json", json.dumps(said, indent=1))
        return config / "resolver.json"

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Listen on loopback, a port each that the kernel chooses, until cancelled."""
        contexts = self._contexts()
        async with anyio.create_task_group() as group:
            for server in (*_TLS, *_PLAIN):
                self.ports[server] = await group.start(self._listen, server, contexts.get(server))
            task_status.started()

    async def _listen(self, server: str, context: ssl.SSLContext | None, *, task_status: TaskStatus[int]) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            task_status.started(listener.extra(SocketAttribute.local_port))
            await listener.serve(partial(self._accept, server, context))

    def _contexts(self) -> dict[str, ssl.SSLContext]:
        ours = self.authority.issue(*NAMES)
        both = ("h2", "http/1.1")
        found = {
            "https": ours.context(self._place, both),
            "http1": ours.context(self._place, ()),
            "pinned": self.pinned.context(self._place, both),
            "untrusted": Authority("nobody knows").issue(*NAMES).context(self._place, both),
            "misnamed": self.authority.issue("another.example.net").context(self._place, both),
        }
        for context in found.values():
            context.sni_callback = _remember
        return found

    async def _accept(self, server: str, context: ssl.SSLContext | None, client: SocketStream) -> None:
        self.ledger.connected(server)
        try:
            async with client:
                if context is not None:
                    await self._secure(server, context, client)
                elif server == "lines":
                    await self._lines(client)
                elif server == "proxy":
                    await Proxy(server, self.ledger, self._where).serve(client)
                else:
                    await self._web(server, client)
        except _GONE:  # clients come and go as they please
            pass

    async def _secure(self, server: str, context: ssl.SSLContext, client: SocketStream) -> None:
        with anyio.fail_after(_HANDSHAKE):
            stream = await TLSStream.wrap(client, server_side=True, ssl_context=context, standard_compatible=False)
        async with stream:
            sni = _NAMES_SENT.get(stream.extra(TLSAttribute.ssl_object))
            if stream.extra(TLSAttribute.alpn_protocol, None) == "h2":
                await http2.Connection(server, stream, sni, self.ledger).serve(self._routes.answer)
            else:
                await self._web(server, stream, sni, tls=True)

    async def _web(self, server: str, stream: ByteStream, sni: str | None = None, tls: bool = False) -> None:
        connection = http1.Connection(server, stream, sni, tls, self.ledger)
        await connection.serve(self._routes.answer, websocket.echo)

    def _where(self, target: str) -> str:
        return self.overrides().get(target, "")

    async def _lines(self, client: SocketStream) -> None:
        await client.send(GREETING)
        buffered = BufferedByteReceiveStream(client)
        with suppress(IncompleteRead):
            while (line := await buffered.receive_until(b"\n", _LINE)).strip() != b"quit":
                self.ledger.requested(Seen("lines", "", line.decode("latin-1"), "", ()))
                await client.send(line + b"\n")


def _remember(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    if name is not None:
        _NAMES_SENT[connection] = name


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


@contextmanager
def running(place: Path, authority: Authority) -> Iterator[Origin]:
    """Origin servers in a thread of their own until the block ends. `place` is a directory of theirs."""
    origin = Origin(place, authority)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_serving(origin)):
        yield origin


@asynccontextmanager
async def _serving(origin: Origin) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        await group.start(origin.serve)
        yield
        group.cancel_scope.cancel()
