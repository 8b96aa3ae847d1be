"""One client of one sandbox: mitmproxy's handler around its exchanges, with our verdicts, our way out, and our end.

Fails closed: an exception anywhere in here, or in mitmproxy, ends the client's connection and every upstream one at
once, and its traceback goes to the gateway's log. No add-ons: mitmproxy goes on when one of those raises.
"""

import asyncio
import logging
import sys
import traceback
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Literal, cast

import anyio
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server import ConnectionIO, LiveConnectionHandler

from sandboxfile.gateway.intercept.exchange import Allowed, DecideHook, Exchange
from sandboxfile.gateway.intercept.links import Link
from sandboxfile.gateway.intercept.pool import Http
from sandboxfile.gateway.intercept.reading import Place
from sandboxfile.gateway.intercept.tls import Trust, failure_words
from sandboxfile.gateway.intercept.verdicts import Judge
from sandboxfile.gateway.records import Via
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.host.saying import say
from sandboxfile.model.policy import Decision

_ASKING = 256  # verdicts waited for at once: HTTP/2 may reset a stream and open the next one
_MODE = ProxyMode.parse("regular")


class _Options:
    """All that mitmproxy's HTTP layers ask for. Its own store of options checks types at each access."""

    # Seconds without a byte in any direction: models think for minutes, and event streams wait for events.
    tcp_timeout = 3600
    validate_inbound_headers = True
    normalize_outbound_headers = True
    http2_ping_keepalive = 0  # its wake-ups count as activity, and no connection would ever be idle
    proxy_debug = False


class Upstream:
    """A connection that is open already. `addresses`: those it may be to."""

    def __init__(self, link: Link, place: Place, addresses: frozenset[str], http2: bool) -> None:
        self.link = link
        self.place = place
        self.addresses = addresses
        self.http2 = http2


async def reach(tenant: Tenant, trust: Trust, place: Place, decision: Decision, http2: bool) -> Upstream:
    """Connect to what was decided, with TLS where `place` has it. Raises OSError."""
    reader, writer = await tenant.dial(decision, place.protocol)
    addresses = _dialled(writer, decision)
    if place.protocol == "http":
        return Upstream(Link(reader, writer), place, addresses, False)
    link = await trust.secure((reader, writer), place.host, http2)
    return Upstream(link, place, addresses, link.http2)


def _dialled(writer: asyncio.StreamWriter, decision: Decision) -> frozenset[str]:
    """The address of a connection. All that were allowed when it is not among them: a proxy of the host made it."""
    with suppress(ValueError, TypeError, IndexError):
        peer = str(ip_address(writer.get_extra_info("peername")[0].partition("%")[0]))
        if peer in decision.addresses:
            return frozenset({peer})
    return frozenset(decision.addresses)


class ClientConnection(LiveConnectionHandler):
    """`fixed`: the one place that all requests of this connection must be for; None for a proxy told with each.
    `disagreement`: why every request is refused. `ready`: an upstream connection made beforehand."""

    def __init__(
        self,
        tenant: Tenant,
        trust: Trust,
        link: Link,
        fixed: Place | None,
        via: Via,
        *,
        http2: bool = False,
        disagreement: str = "",
        ready: Upstream | None = None,
    ) -> None:
        super().__init__(link, link, cast(Options, _Options), _MODE)  # type: ignore[arg-type]
        self.tenant = tenant
        self.link = link
        self._trust = trust
        self._judge = Judge(tenant, fixed, disagreement, via, self.cut)
        self._confidential = False  # what an exception here says may hold a secret
        self._ready = ready
        self._ended = False
        self._flows: set[Allowed] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._decisions: dict[Connection, Decision] = {}
        self._addresses: dict[Connection, frozenset[str]] = {}
        self.client.tls = fixed is not None and fixed.protocol == "https"
        self.client.alpn = b"h2" if http2 else b"http/1.1"
        self.layer = Http(self.layer.context, self)

    # --- living and dying ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until it or we have had enough. All connections are closed then."""
        handling = asyncio.create_task(self.handle_client(), name="intercepted client")
        try:
            await asyncio.shield(handling)
        finally:
            self.cut()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([handling, *self._asking])
            if self._ready is not None:
                self._ready.link.abort()
            for allowed in list(self._flows):
                self.end(allowed, None, "the connection was closed")

    def cut(self) -> None:
        """End everything at once; nothing more is sent to anybody. Idempotent."""
        self._ended = True
        for io in list(self.transports.values()):
            if io.writer is not None:
                cast(Link, io.writer).abort()
            if io.handler is not None:
                io.handler.cancel()
        for task in self._asking:
            task.cancel()

    def _fail(self, exc: BaseException) -> None:
        told = "".join(
            traceback.format_tb(exc.__traceback__) if self._confidential else traceback.format_exception(exc)
        )
        name = type(exc).__name__
        say(f"a connection of {self.tenant.id} is ended, because of a bug in sandboxfile: {name}\n{told}")
        self.cut()

    def log(
        self,
        message: str,
        level: int = logging.INFO,  # noqa: ARG002
        exc_info: Literal[True] | tuple[type[BaseException], BaseException, TracebackType | None] | None = None,
    ) -> None:
        """mitmproxy tells its own exceptions here, and would go on."""
        if exc_info:
            caught = exc_info[1] if isinstance(exc_info, tuple) else sys.exception()
            self._fail(caught or RuntimeError(message))

    async def server_event(self, event: events.Event) -> None:
        if not self._ended:
            await super().server_event(event)
            for io in self.transports.values():
                if io.writer is not None:
                    cast(Link, io.writer).flush()

    # --- verdicts ------------------------------------------------------------------------------------------------

    async def handle_hook(self, hook: commands.StartHook) -> None:
        if isinstance(hook, DecideHook):
            await self._decide(hook.exchange)

    async def hook_task(self, hook: commands.StartHook) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        if len(self._asking) > _ASKING:
            self.cut()
            return
        try:
            await super().hook_task(hook)
        except Exception as exc:
            self._fail(exc)
        finally:
            self._asking.discard(task)

    async def _decide(self, exchange: Exchange) -> None:
        assert exchange.request is not None
        exchange.verdict = verdict = await self._judge.judge(exchange.request)
        if isinstance(verdict, Allowed):
            self._confidential = self._confidential or verdict.injected is not None
            self._flows.add(verdict)

    def answered(self, allowed: Allowed, status: int) -> None:
        """The server has begun to answer."""
        self._judge.answered(allowed.injected, status)

    def end(self, allowed: Allowed, status: int | None, error: str) -> None:
        """Close the log entry of an exchange. Idempotent."""
        self._flows.discard(allowed)
        allowed.flow.end(status, error)

    def refused(self, reason: str) -> str:
        """Log a request that is none; gives the text of the answer."""
        return self._judge.refused(reason)

    # --- the way out ---------------------------------------------------------------------------------------------

    def may_use(self, connection: Connection, decision: Decision) -> bool:
        addresses = self._addresses.get(connection)
        return addresses is not None and addresses <= frozenset(decision.addresses)

    def will_use(self, connection: Connection, decision: Decision) -> None:
        """For a connection that is about to be opened."""
        self._decisions[connection] = decision
        self._addresses[connection] = frozenset(decision.addresses)

    def take(self, connection: Connection, reading: bool) -> None:
        """Whether anything is to be read from an upstream connection."""
        io = self.transports.get(connection)
        if io is not None and io.writer is not None:
            event = cast(Link, io.writer).reading
            event.set() if reading else event.clear()

    async def open_connection(self, command: commands.OpenConnection) -> None:
        connection = command.connection
        try:
            upstream = await self._reach(connection)
        except OSError as exc:
            connection.error = f"{504 if isinstance(exc, TimeoutError) else 502} {failure_words(exc)}"
            self._forget(connection)
            await self.server_event(events.OpenConnectionCompleted(command, connection.error))
            return
        except Exception as exc:
            self._fail(exc)
            return
        if self._ended:
            upstream.link.abort()
            return
        connection.state = ConnectionState.OPEN
        connection.alpn = b"h2" if upstream.http2 else None
        connection.peername = upstream.link.get_extra_info("peername")
        self._addresses[connection] = upstream.addresses
        link = upstream.link
        self.transports[connection] = ConnectionIO(asyncio.current_task(), link, link)  # type: ignore[arg-type]
        try:
            await self.server_event(events.OpenConnectionCompleted(command, None))
            await self.handle_connection(connection)
        finally:
            link.close()
            self._forget(connection)

    async def _reach(self, connection: Connection) -> Upstream:
        decision = self._decisions.pop(connection)
        assert isinstance(connection, Server)
        assert connection.address is not None
        host, port = connection.address
        place = Place(host, port, "https" if connection.tls else "http")
        ready, self._ready = self._ready, None
        if ready is not None:
            if ready.place == place and ready.addresses <= frozenset(decision.addresses):
                return ready
            ready.link.abort()
        return await reach(self.tenant, self._trust, place, decision, self.client.alpn == b"h2")

    def _forget(self, connection: Connection) -> None:
        self.transports.pop(connection, None)
        self._decisions.pop(connection, None)
        self._addresses.pop(connection, None)
