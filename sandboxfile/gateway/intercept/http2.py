"""mitmproxy's HTTP/2 with flow control: it takes whatever comes and buffers what the other side does not take.

Here a byte is acknowledged when it has been passed on, so that a side which does not read stops the one that sends.
"""

from collections import defaultdict
from collections.abc import Callable

import h2.connection
import h2.errors
import h2.events
from h2.config import H2Configuration
from mitmproxy.proxy.commands import SendData
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import Event
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestData, ResponseProtocolError
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection, Http2Server, StreamState
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

STREAM_WINDOW = 2 << 20  # bytes; with 50 ms to the server that is 40 MB/s
CONNECTION_WINDOW = 4 << 20
BACKLOG = 1 << 18  # bytes that one stream may have waiting for the other side

Backlog = Callable[[int], int]  # by stream, in the numbers of the connection that asks


class _Windows(BufferedH2Connection):
    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.local_settings.initial_window_size = STREAM_WINDOW
        self.local_settings.acknowledge()

    def initiate_connection(self) -> None:
        h2.connection.H2Connection.initiate_connection(self)
        self.increment_flow_control_window(CONNECTION_WINDOW - self.inbound_flow_control_window)

    def waiting(self, stream_id: int) -> int:
        return sum(len(piece.data) for piece in self.stream_buffers.get(stream_id, ()))


class _Flowing(Http2Connection):
    h2_conn: _Windows

    def __init__(self, context: Context, backlog: Backlog) -> None:
        super().__init__(context)  # type: ignore[call-arg]
        self._backlog = backlog
        self._owed: defaultdict[int, int] = defaultdict(int)

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        if not isinstance(event, h2.events.DataReceived) or not self._takes(event):
            return (yield from super().handle_h2_event(event))
        stream_id, data = event.stream_id or 0, event.data or b""
        if data:
            yield ReceiveHttp(self.ReceiveData(stream_id, data))
        self._owed[stream_id] += event.flow_controlled_length or 0
        self._acknowledge(stream_id)
        return False

    def _takes(self, event: h2.events.DataReceived) -> bool:
        return self.streams.get(event.stream_id or 0) is StreamState.HEADERS_RECEIVED

    def _acknowledge(self, stream_id: int) -> None:
        if self._backlog(stream_id) < BACKLOG:
            self.h2_conn.acknowledge_received_data(self._owed.pop(stream_id), stream_id)

    def settle(self) -> CommandGenerator[None]:
        """Acknowledge what has been passed on meanwhile."""
        if self._owed:
            for stream_id in list(self._owed):
                self._acknowledge(stream_id)
            if data := self.h2_conn.data_to_send():
                yield SendData(self.conn, data)


class FlowingServer(_Flowing, Http2Server):
    """Towards the client."""

    def __init__(self, context: Context, backlog: Backlog) -> None:
        super().__init__(context, backlog)
        self.h2_conn = _Windows(self.h2_conf)

    def waiting(self, stream_id: int) -> int:
        return self.h2_conn.waiting(stream_id)

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        if isinstance(event, ResponseProtocolError) and self._may_answer(event):
            status = event.code.http_status_code()
            body = f"{event.message}\n".encode()
            head = [(b":status", b"%d" % (status or 502)), (b"content-type", b"text/plain; charset=utf-8")]
            self.h2_conn.send_headers(event.stream_id, head)
            self.h2_conn.send_data(event.stream_id, body, end_stream=True)
            yield SendData(self.conn, self.h2_conn.data_to_send())
        else:
            yield from super()._handle_event(event)

    def _may_answer(self, event: ResponseProtocolError) -> bool:
        if event.code.http_status_code() is None or not self.is_open_for_us(event.stream_id):
            return False
        return not self.h2_conn.streams[event.stream_id].state_machine.headers_sent


class FlowingClient(_Flowing, Http2Client):
    """Towards the server. `backlog` is asked with the client's numbers of streams."""

    def __init__(self, context: Context, backlog: Backlog) -> None:
        super().__init__(context, lambda ours: backlog(self.their_stream_id.get(ours, 0)))
        self.h2_conn = _Windows(self.h2_conf)
        self.h2_conn.local_settings.enable_push = 0
        self.h2_conn.local_settings.acknowledge()

    def waiting(self, stream_id: int) -> int:
        """Bytes of the client's stream that the server has not taken."""
        queued = sum(
            len(event.data) for event in self.stream_queue.get(stream_id, ()) if isinstance(event, RequestData)
        )
        ours = self.our_stream_id.get(stream_id)
        return queued + (self.h2_conn.waiting(ours) if ours is not None else 0)
