"""mitmproxy's HTTP/1, strict towards clients and bounded towards both.

Trailers of requests are dropped, those of responses forwarded; informational responses are dropped, as mitmproxy does
for HTTP/2, because it takes them for the response.
"""

import time
from typing import Any, Protocol

from h11 import EndOfMessage
from h11._readers import ChunkedReader, ContentLengthReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http.status_codes import RESPONSES
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestHeaders,
    RequestTrailers,
    ResponseEndOfMessage,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Connection, Http1Server

from sandboxfile.gateway.head import refusal
from sandboxfile.gateway.intercept.links import SIZE
from sandboxfile.gateway.intercept.reading import END, LIMIT, Malformed, head_end, parse_head

_PENDING = LIMIT + 2 * SIZE  # bytes read that nobody can take yet: a head, a chunk's line, requests sent ahead


class _Gate(Protocol):
    def refused(self, reason: str) -> str: ...


class _Chunks(ChunkedReader):
    """Keeps trailers aside; mitmproxy raises for them."""

    def __init__(self) -> None:
        super().__init__()
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()

    def __call__(self, buf: ReceiveBuffer) -> Any:
        event = super().__call__(buf)
        if isinstance(event, EndOfMessage) and event.headers:
            self.trailers = tuple((bytes(name), bytes(value)) for name, value in event.headers)
            return EndOfMessage()
        return event


class _Bounded(Http1Connection):
    def _handle_event(self, event: events.Event) -> CommandGenerator[None]:
        yield from super()._handle_event(event)
        if len(self.buf) > _PENDING:
            yield commands.CloseConnection(self.conn)

    def read_body(self, event: events.Event) -> CommandGenerator[None]:
        if type(self.body_reader) is ChunkedReader:
            self.body_reader = _Chunks()
        if not isinstance(self.body_reader, _Chunks):
            yield from super().read_body(event)
            return
        for command in super().read_body(event):
            over = isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseEndOfMessage)
            if over and self.body_reader.trailers:
                trailers = http.Headers(self.body_reader.trailers)
                yield ReceiveHttp(ResponseTrailers(self.stream_id or 0, trailers))
            yield command


class StrictServer(_Bounded, Http1Server):
    """Towards the client: heads are read by `reading`, never by mitmproxy."""

    def __init__(self, context: Context, gate: _Gate) -> None:
        super().__init__(context)
        self._gate = gate
        self._trailers: http.Headers | None = None

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        if isinstance(event, events.ConnectionClosed):
            yield commands.CloseConnection(self.conn)
            return
        try:
            if not (end := head_end(bytes(self.buf))):
                return
            head = parse_head(bytes(self.buf.maybe_extract_at_most(end) or b""))
            if head.method == b"CONNECT":
                raise Malformed("CONNECT is for the beginning of a connection")
        except Malformed as exc:
            text = self._gate.refused(str(exc))
            yield commands.SendData(self.conn, refusal(400, "Bad Request", text))
            yield commands.CloseConnection(self.conn)
            self.state = self.done
            return
        self.request = http.Request(
            host="",
            port=0,
            method=head.method,
            scheme=head.scheme,
            authority=head.authority,
            path=head.path,
            http_version=head.version,
            headers=http.Headers(head.fields),
            content=None,
            trailers=None,
            timestamp_start=time.time(),
            timestamp_end=None,
        )
        self._trailers = None
        yield ReceiveHttp(RequestHeaders(self.stream_id, self.request, head.length == 0))
        self.body_reader = _Chunks() if head.length is None else ContentLengthReader(head.length)
        self.state = self.read_body
        yield from self.state(event)

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, ResponseTrailers):
            self._trailers = event.trailers
        elif isinstance(event, ResponseProtocolError) and self._can_answer(event):
            status = event.code.http_status_code() or 502
            phrase = RESPONSES.get(status, "")
            yield commands.SendData(self.conn, refusal(status, phrase, f"{event.message}\n"))
            yield commands.CloseConnection(self.conn)
        elif isinstance(event, ResponseEndOfMessage) and self._trailers and self._chunked():
            yield commands.SendData(self.conn, b"0\r\n%b\r\n" % bytes(self._trailers))
            yield from self.mark_done(response=True)
        else:
            yield from super().send(event)

    def _can_answer(self, event: ResponseProtocolError) -> bool:
        writable = bool(self.conn.state & ConnectionState.CAN_WRITE)
        return writable and not self.response and event.code.http_status_code() is not None

    def _chunked(self) -> bool:
        assert self.response is not None
        assert self.request is not None
        coding = self.response.headers.get("transfer-encoding", "")
        return "chunked" in coding.lower() and self.request.method != "HEAD"


class BoundedClient(_Bounded, Http1Client):
    """Towards the server."""

    def send(self, event: HttpEvent) -> CommandGenerator[None]:
        if isinstance(event, RequestTrailers):
            return
        if isinstance(event, RequestHeaders) and event.request.is_http2:
            headers = event.request.headers
            if not event.end_stream and "content-length" not in headers:
                headers["Transfer-Encoding"] = "chunked"  # else the server takes the body for the next request
        yield from super().send(event)

    def read_headers(self, event: events.ConnectionEvent) -> CommandGenerator[None]:
        while self.request is not None and (end := _informational(bytes(self.buf))):
            self.buf.maybe_extract_at_most(end)
        yield from super().read_headers(event)


def _informational(data: bytes) -> int:
    """How many bytes an informational response at the beginning has; 0: there is none, or it is not whole."""
    if not data.startswith(b"HTTP/1.") or data[9:10] != b"1" or data[9:12] == b"101":
        return 0
    return data.find(END) + len(END) if END in data else 0
