"""The HTTP connections of one client: which upstream connection an exchange gets, and how much may wait in memory.

An upstream connection is used again for the same host, port and protocol only, and only while the newest decision still
allows the address it was made to. HTTP/1 clients have one at a time.
"""

from typing import TYPE_CHECKING, cast

from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HTTPMode,
    HttpStream,
    RegisterHttpConnection,
)

from sandboxfile.gateway.intercept.exchange import Allowed, Exchange
from sandboxfile.gateway.intercept.http1 import BoundedClient, StrictServer
from sandboxfile.gateway.intercept.http2 import BACKLOG, Backlog, FlowingClient, FlowingServer

if TYPE_CHECKING:
    from sandboxfile.gateway.intercept.connection import ClientConnection


class Http(HttpLayer):
    def __init__(self, context: Context, gate: "ClientConnection") -> None:
        super().__init__(context, HTTPMode.regular)
        self.gate = gate
        self._http2 = context.client.alpn == b"h2"
        self._server: FlowingServer | None = None
        self._exchanges: dict[int, Exchange] = {}
        self.streams = cast(dict[int, HttpStream], self._exchanges)
        if self._http2:
            self._server = FlowingServer(context.fork(), self._unsent)
            self.connections[context.client] = self._server
        else:
            self.connections[context.client] = StrictServer(context.fork(), gate)

    def has(self, connection: Connection) -> bool:
        return connection in self.connections

    def hold(self) -> None:
        """Read nothing more from an HTTP/1 client: there is nobody to pass it to. HTTP/2 has windows for that."""
        if not self._http2:
            self.gate.link.reading.clear()

    def go_on(self) -> None:
        self.gate.link.reading.set()

    # --- what mitmproxy calls ------------------------------------------------------------------------------------

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        gone = isinstance(event, events.ConnectionEvent) and event.connection not in self.connections
        if not gone:
            yield from super()._handle_event(event)
        if isinstance(event, events.ConnectionClosed) and event.connection is not self.context.client:
            self.connections.pop(event.connection, None)
            yield commands.CloseConnection(event.connection)
        if self._http2:
            yield from self._settle()

    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        exchange = Exchange(self.context.fork(), stream_id, self)
        self._exchanges[stream_id] = exchange
        yield from self.event_to_child(exchange, events.Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> CommandGenerator[None]:
        exchange = self.command_sources[event]
        assert isinstance(exchange, Exchange)
        assert isinstance(exchange.verdict, Allowed)
        decision = exchange.verdict.decision
        for connection in list(self.connections):
            if not isinstance(connection, Server):
                continue
            same = event.connection_spec_matches(connection) and self.gate.may_use(connection, decision)
            if reuse and same and connection in self.waiting_for_establishment:
                self.waiting_for_establishment[connection].append(event)
                return
            if reuse and same and connection.connected and (connection.alpn == b"h2" or not self._http2):
                del self.command_sources[event]
                yield from self.event_to_child(exchange, GetHttpConnectionCompleted(event, (connection, None)))
                return
            if not self._http2 and connection.state is not ConnectionState.CLOSED:
                yield commands.CloseConnection(connection)
        context = self.context.fork()
        context.server = Server(address=event.address)
        context.server.tls = event.tls
        self.gate.will_use(context.server, decision)
        self.connections[context.server] = opening = _Opening(context, self._untaken)
        self.waiting_for_establishment[context.server].append(event)
        yield from self.event_to_child(opening, events.Start())

    def register_connection(self, command: RegisterHttpConnection) -> CommandGenerator[None]:
        if command.err:
            self.connections.pop(command.connection, None)
        yield from super().register_connection(command)

    # --- how much waits ------------------------------------------------------------------------------------------

    def _unsent(self, stream_id: int) -> int:
        """Bytes of a request that wait for the server."""
        exchange = self._exchanges.get(stream_id)
        if exchange is None:
            return 0
        if exchange.undecided:
            return BACKLOG
        upstream = exchange.upstream and self.connections.get(exchange.upstream)
        protocol = upstream.protocol if isinstance(upstream, _Opening) else None
        return protocol.waiting(stream_id) if isinstance(protocol, FlowingClient) else 0

    def _untaken(self, stream_id: int) -> int:
        """Bytes of a response that wait for the client."""
        return self._server.waiting(stream_id) if self._server is not None else 0

    def _settle(self) -> CommandGenerator[None]:
        assert self._server is not None
        yield from self._server.settle()
        for connection, handler in list(self.connections.items()):
            protocol = handler.protocol if isinstance(handler, _Opening) else None
            if isinstance(protocol, FlowingClient):
                yield from protocol.settle()
            elif isinstance(protocol, BoundedClient):
                self.gate.take(connection, self._untaken(protocol.stream_id or 0) < BACKLOG)


class _Opening(layer.Layer):
    """Opens an upstream connection, and then is the protocol that was agreed on."""

    protocol: FlowingClient | BoundedClient | None = None

    def __init__(self, context: Context, untaken: Backlog) -> None:
        super().__init__(context)
        self._untaken = untaken

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        error = yield commands.OpenConnection(self.context.server)
        if not error:
            http2 = self.context.server.alpn == b"h2"
            self.protocol = FlowingClient(self.context, self._untaken) if http2 else BoundedClient(self.context)
            self._handle_event = self.protocol.handle_event  # type: ignore[method-assign]
            yield from self._handle_event(event)
        yield RegisterHttpConnection(self.context.server, error)
