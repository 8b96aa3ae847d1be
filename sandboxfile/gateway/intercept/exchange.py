"""One request and its response: decided, connected, then streamed both ways without keeping any of it.

Nothing of a request is forwarded before its verdict. What a client still sends to a request that was answered by us is
read and thrown away, up to a limit: a client that is cut off while it sends never gets to read the answer. What is
counted is bodies, without heads and framing.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.connection import Connection
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import DropStream, GetHttpConnection, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from sandboxfile.gateway.intercept.deciding import Answer, Prepared
from sandboxfile.gateway.intercept.injecting import Injected
from sandboxfile.gateway.intercept.reading import Place
from sandboxfile.gateway.tenant import Flow
from sandboxfile.model.policy import Decision

if TYPE_CHECKING:
    from sandboxfile.gateway.intercept.pool import Http

_SWALLOWED = 64 << 20  # bytes of a refused body
_SHOWN = 200  # characters of what mitmproxy says about a response: it quotes all of it
_QUOTED = re.compile(r"[:('\"\[]")
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Allowed:
    """`flow` is the open log entry. `injected`: the credentials that go along."""

    place: Place
    decision: Decision
    flow: Flow
    prepared: Prepared
    injected: Injected | None = None


@dataclass
class DecideHook(commands.StartHook):  # type: ignore[no-untyped-call]
    """Asks the connection for a verdict about an exchange: it is in `exchange.verdict` when this returns."""

    exchange: "Exchange"


class Exchange(layer.Layer):
    def __init__(self, context: Context, stream_id: int, pool: "Http") -> None:
        super().__init__(context)
        self.stream_id = stream_id
        self.request: http.Request | None = None
        self.verdict: Allowed | Answer | None = None
        self._pool = pool
        self.upstream: Connection | None = None
        self._sending = True  # the client's side of it is not over
        self._status: int | None = None  # of the server's response
        self._swallowed = 0

    @property
    def undecided(self) -> bool:
        """Whether what the client sends is kept here, because there is nobody to pass it to yet."""
        return self._paused is not None

    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            yield from handle(self, event)

    # --- the request ---------------------------------------------------------------------------------------------

    def _request(self, event: RequestHeaders) -> CommandGenerator[None]:
        self.request = event.request
        self._pool.hold()
        yield DecideHook(self)
        verdict = self.verdict
        if not isinstance(verdict, Allowed):
            yield from self._answer(verdict or Answer(500, "not decided\n"), event.end_stream)
            return
        if any(isinstance(queued, RequestProtocolError) for queued in self._paused_event_queue):
            return  # the client has gone: what comes next in the queue ends this
        place = verdict.place
        connection, error = yield GetHttpConnection((place.host, place.port), place.protocol == "https", None)
        if error is not None:
            status, _, why = error.partition(" ")
            self._end(why, int(status))
            text = f"The gateway of the sandbox cannot reach {place.text}: {why}.\n"
            yield from self._answer(Answer(int(status), text), event.end_stream)
            return
        self.upstream = connection
        self._pool.go_on()
        if verdict.prepared.continues and not event.end_stream:
            go_on = http.Response.make(100)
            go_on.headers.clear()
            yield SendHttp(ResponseHeaders(self.stream_id, go_on), self.context.client)
        yield SendHttp(RequestHeaders(self.stream_id, self.request, event.end_stream), connection)

    def _data(self, event: RequestData) -> CommandGenerator[None]:
        if (upstream := self._connected()) is not None:
            self.flow.sent += len(event.data)
            yield SendHttp(event, upstream)
            return
        self._swallowed += len(event.data)
        if self._swallowed > _SWALLOWED:
            yield commands.CloseConnection(self.context.client)

    def _trailers(self, event: RequestTrailers) -> CommandGenerator[None]:
        if (upstream := self._connected()) is not None:
            yield SendHttp(event, upstream)

    def _sent(self, event: RequestEndOfMessage) -> CommandGenerator[None]:
        self._sending = False
        if (upstream := self._connected()) is not None:
            yield SendHttp(event, upstream)
        else:
            yield DropStream(self.stream_id)

    def _client_gone(self, event: RequestProtocolError) -> CommandGenerator[None]:
        if (upstream := self._connected()) is not None:
            yield SendHttp(event, upstream)
        self._end("the client went away")
        self._pool.go_on()
        yield DropStream(self.stream_id)

    # --- the response --------------------------------------------------------------------------------------------

    def _response(self, event: ResponseHeaders) -> CommandGenerator[None]:
        response = event.response
        assert self.request is not None
        problem = _problem(
            self.request, response, isinstance(self.verdict, Allowed) and self.verdict.prepared.websocket
        )
        if problem:
            assert self.upstream is not None
            yield commands.CloseConnection(self.upstream)
            yield from self._failed(ResponseProtocolError(self.stream_id, problem, ErrorCode.GENERIC_SERVER_ERROR))
            return
        self._status = response.status_code
        response.headers.pop("x-sandbox-policy", None)  # ours alone
        if isinstance(self.verdict, Allowed) and self.verdict.injected is not None:
            response.data.reason = self.verdict.injected.conceal(response.data.reason)
            self._pool.gate.answered(self.verdict, self._status)
        self._conceal(response.headers)
        yield SendHttp(event, self.context.client)

    def _received(self, event: ResponseData) -> CommandGenerator[None]:
        if self._status is not None:
            self.flow.received += len(event.data)
            yield SendHttp(event, self.context.client)

    def _response_trailers(self, event: ResponseTrailers) -> CommandGenerator[None]:
        if self._status is not None:
            self._conceal(event.trailers)
            yield SendHttp(event, self.context.client)

    def _conceal(self, fields: http.Headers) -> None:
        injected = self.verdict.injected if isinstance(self.verdict, Allowed) else None
        if injected is not None:
            fields.fields = injected.conceal_in(fields.fields)

    def _done(self, event: ResponseEndOfMessage) -> CommandGenerator[None]:
        if self._status is None:
            return
        if self._status == 101:
            self._handle_event = self._relay  # type: ignore[method-assign]
            yield SendHttp(event, self.context.client)
            return
        self._end()
        if not self._sending:
            yield DropStream(self.stream_id)
        yield SendHttp(event, self.context.client)

    def _failed(self, event: ResponseProtocolError) -> CommandGenerator[None]:
        self.upstream = None
        if self._status is not None:
            event.message = self._words(event.message)
            self._end(event.message)
            yield SendHttp(event, self.context.client)
            yield DropStream(self.stream_id)
            return
        assert isinstance(self.verdict, Allowed)
        why = self._words(event.message)
        self._end(why, 502)
        text = f"The gateway of the sandbox got no proper response from {self.verdict.place.text}: {why}.\n"
        yield from self._answer(Answer(502, text), not self._sending)

    def _words(self, message: str) -> str:
        """What mitmproxy says about a response, without what it quotes of one that may repeat a secret."""
        confidential = isinstance(self.verdict, Allowed) and self.verdict.injected is not None
        return (_QUOTED.split(message, 1)[0] if confidential else message)[:_SHOWN]

    # --- both ----------------------------------------------------------------------------------------------------

    def _answer(self, answer: Answer, sent: bool) -> CommandGenerator[None]:
        """Answer by ourselves. `sent`: the client sends nothing more of this request."""
        assert self.request is not None
        self.verdict = answer
        response = answer.response(close=not sent and not self.request.is_http2)
        client = self.context.client
        yield SendHttp(ResponseHeaders(self.stream_id, response), client)
        if self.request.method != "HEAD":
            yield SendHttp(ResponseData(self.stream_id, response.raw_content or b""), client)
        self._pool.go_on()
        if sent:
            yield DropStream(self.stream_id)
        yield SendHttp(ResponseEndOfMessage(self.stream_id), client)

    def _relay(self, event: events.Event) -> CommandGenerator[None]:
        """Of a WebSocket: bytes as they come. Messages are neither read nor kept, so none is too long."""
        if isinstance(event, RequestData):
            if (upstream := self._connected()) is not None:
                self.flow.sent += len(event.data)
                yield SendHttp(event, upstream)
        elif isinstance(event, ResponseData):
            self.flow.received += len(event.data)
            yield SendHttp(event, self.context.client)
        else:
            self._end()
            self._handle_event = self._nothing  # type: ignore[method-assign, assignment]
            if self.upstream is not None:
                yield commands.CloseConnection(self.upstream)
            yield commands.CloseConnection(self.context.client)

    def _nothing(self, _: events.Event) -> CommandGenerator[None]:
        yield from ()

    @property
    def flow(self) -> Flow:
        assert isinstance(self.verdict, Allowed)
        return self.verdict.flow

    def _connected(self) -> Connection | None:
        alive = self.upstream is not None and self._pool.has(self.upstream) and isinstance(self.verdict, Allowed)
        return self.upstream if alive else None

    def _end(self, error: str = "", status: int | None = None) -> None:
        if isinstance(self.verdict, Allowed):
            self._pool.gate.end(self.verdict, status or self._status, error)


_HANDLERS: dict[type[events.Event], Callable[[Exchange, Any], CommandGenerator[None]]] = {
    RequestHeaders: Exchange._request,
    RequestData: Exchange._data,
    RequestTrailers: Exchange._trailers,
    RequestEndOfMessage: Exchange._sent,
    RequestProtocolError: Exchange._client_gone,
    ResponseHeaders: Exchange._response,
    ResponseData: Exchange._received,
    ResponseTrailers: Exchange._response_trailers,
    ResponseEndOfMessage: Exchange._done,
    ResponseProtocolError: Exchange._failed,
}


def _problem(request: http.Request, response: http.Response, websocket: bool) -> str:
    """Why a response is not passed on."""
    try:
        validate_headers(response)
    except ValueError as exc:
        return str(exc)
    if response.status_code != 101:
        return ""
    accepted = websocket_accept(request.headers.get("sec-websocket-key", ""))
    said = response.headers.get("sec-websocket-accept", "")
    switched = response.headers.get("upgrade", "").lower() == "websocket" and said == accepted
    return "" if websocket and switched else "it switches to another protocol without being asked"


def websocket_accept(key: str) -> str:
    """What a server answers to this Sec-WebSocket-Key."""
    digest = hashlib.sha1(key.encode("latin-1", "replace") + _GUID).digest()  # noqa: S324 - what the protocol says
    return base64.b64encode(digest).decode()
