"""A client's connection of which some bytes were read already, for code that speaks asyncio streams.

The acceptor works on bare sockets, because that is what a tunnel is fastest with; the interceptor wants streams.
"""

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

READ_LIMIT = 1 << 18  # bytes; reading stops at twice as many


@dataclass(frozen=True, slots=True)
class Peeked:
    """`reader` gives the bytes that were read already first. Whoever has it closes `writer`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peername: tuple[Any, ...]


async def streams(sock: socket.socket, seen: bytes = b"") -> Peeked:
    """Make streams of a connected socket, which is theirs from then on. Raises OSError; then the socket is closed."""
    loop = asyncio.get_running_loop()
    peername: tuple[Any, ...] = ()
    with suppress(OSError):
        peername = sock.getpeername() or ()
    reader = asyncio.StreamReader(limit=READ_LIMIT, loop=loop)
    if seen:
        reader.feed_data(seen)  # before anything else can arrive
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    try:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
    except BaseException:
        sock.close()
        raise
    return Peeked(reader, asyncio.StreamWriter(transport, protocol, reader, loop), peername)
