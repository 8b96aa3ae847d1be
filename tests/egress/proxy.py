"""A company's proxy, as a host may have to use one for its way out: CONNECT only, and it resolves names itself."""

from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio import BrokenResourceError, ClosedResourceError
from anyio.abc import ByteReceiveStream, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from .ledger import Ledger, Seen

_HEAD = 65536


class Proxy:
    """`where` gives HOST:PORT for a target, or nothing, which is answered with 502."""

    def __init__(self, server: str, ledger: Ledger, where: Callable[[str], str]) -> None:
        self._server = server
        self._ledger = ledger
        self._where = where

    async def serve(self, client: SocketStream) -> None:
        buffered = BufferedByteReceiveStream(client)
        head = (await buffered.receive_until(b"\r\n\r\n", _HEAD)).decode("latin-1")
        line, *lines = head.split("\r\n")
        method, target, version = line.split(" ")
        headers = tuple((name.lower(), value.strip()) for name, _, value in (text.partition(":") for text in lines))
        self._ledger.requested(Seen(self._server, method, target, version, headers))
        address = self._where(target)
        if method != "CONNECT" or not address:
            await client.send(b"HTTP/1.1 502 Origin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        host, _, port = address.rpartition(":")
        async with await anyio.connect_tcp(host, int(port)) as server:
            await client.send(b"HTTP/1.1 200 Origin\r\n\r\n")
            async with anyio.create_task_group() as group:
                group.start_soon(_pass_on, buffered, server)
                group.start_soon(_pass_on, server, client)


async def _pass_on(source: ByteReceiveStream, sink: SocketStream) -> None:
    with suppress(BrokenResourceError, ClosedResourceError, OSError):
        async for data in source:
            await sink.send(data)
        await sink.send_eof()
