"""An HTTP/2 server on a byte stream: streams beside each other, flow control both ways."""

import math
from collections.abc import AsyncIterator

import anyio
from anyio import EndOfStream
from anyio.abc import ByteStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from h2.exceptions import ProtocolError

from .ledger import Ledger, Seen
from .messages import Answer, Incoming, Response

_Body = MemoryObjectSendStream[tuple[bytes, int]]
_BodyEnd = MemoryObjectReceiveStream[tuple[bytes, int]]


class Connection:
    """One client, until either side has had enough."""

    def __init__(self, server: str, stream: ByteStream, sni: str | None, ledger: Ledger) -> None:
        self._server = server
        self._stream = stream
        self._sni = sni
        self._ledger = ledger
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._bodies: dict[int, _Body] = {}
        self._window = anyio.Event()
        self._sending = anyio.Lock()

    async def serve(self, answer: Answer) -> None:
        self._h2.initiate_connection()
        await self._flush()
        try:
            async with anyio.create_task_group() as group:
                async for data in self._stream:
                    for event in self._h2.receive_data(data):
                        self._take(event, group, answer)
                    await self._flush()
                group.cancel_scope.cancel()
        except* (ProtocolError, EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            for body in self._bodies.values():
                body.close()

    def _take(self, event: object, group: TaskGroup, answer: Answer) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event, group, answer)
        elif isinstance(event, DataReceived) and event.stream_id in self._bodies:
            # No bound needed: what is not acknowledged yet is bounded by the window.
            self._bodies[event.stream_id].send_nowait((event.data, event.flow_controlled_length))
        elif isinstance(event, (StreamEnded, StreamReset)) and event.stream_id in self._bodies:
            self._bodies.pop(event.stream_id).close()
        if isinstance(event, (WindowUpdated, StreamReset)):
            self._window.set()
            self._window = anyio.Event()

    def _begin(self, event: RequestReceived, group: TaskGroup, answer: Answer) -> None:
        headers = tuple((str(name), str(value)) for name, value in event.headers)
        pseudo = dict(headers)
        seen = Seen(self._server, pseudo[":method"], pseudo[":path"], "HTTP/2", headers, self._sni)
        self._ledger.requested(seen)
        send, receive = anyio.create_memory_object_stream[tuple[bytes, int]](math.inf)
        self._bodies[event.stream_id] = send
        group.start_soon(self._one, event.stream_id, seen, receive, answer)

    async def _one(self, stream: int, seen: Seen, body: _BodyEnd, answer: Answer) -> None:
        try:
            with body:
                incoming = Incoming(seen, True, self._acknowledged(stream, body))
                response = await answer(incoming)
                async for _ in incoming.body:  # what the answer did not want to read
                    pass
            await self._respond(stream, response, head_only=seen.method == "HEAD")
        except ProtocolError:  # the client has reset the stream
            pass
        finally:
            if (left := self._bodies.pop(stream, None)) is not None:
                left.close()

    async def _acknowledged(self, stream: int, body: _BodyEnd) -> AsyncIterator[bytes]:
        async for data, length in body:
            self._h2.acknowledge_received_data(length, stream)
            await self._flush()
            yield data

    async def _respond(self, stream: int, response: Response, head_only: bool) -> None:
        headers = [(":status", str(response.status)), *((name.lower(), value) for name, value in response.headers)]
        if response.known_length is not None and not response.bodiless:
            headers.append(("content-length", str(response.known_length)))
        empty = head_only or response.bodiless
        self._h2.send_headers(stream, headers, end_stream=empty)
        if not empty:
            async for chunk in response.chunks():
                await self._send(stream, chunk)
            self._h2.end_stream(stream)
        await self._flush()

    async def _send(self, stream: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            size = min(len(view), self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if not size:
                await self._window.wait()
                continue
            self._h2.send_data(stream, bytes(view[:size]))
            view = view[size:]
            await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._h2.data_to_send():
                await self._stream.send(data)
