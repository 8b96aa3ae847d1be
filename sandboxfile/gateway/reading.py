"""The first bytes of a client, from its bare socket: bounded in size and in time, whatever it sends."""

import asyncio
import socket

import anyio

from sandboxfile.gateway import head, hello

TIMEOUT = 30.0  # seconds for all of the first bytes
_CHUNK = 1 << 14


class Nothing(OSError):
    """The client left, or said nothing in time."""


class TooMuch(OSError):
    """The client's first bytes go on for ever."""


async def first_bytes(client: socket.socket) -> bytes:
    """At least one byte. Raises OSError."""
    with anyio.move_on_after(TIMEOUT):
        return await _some(client)
    raise Nothing


async def whole_head(client: socket.socket, seen: bytes = b"") -> bytes:
    """`seen` and what follows, at least up to the empty line that ends a head. Raises OSError."""
    with anyio.move_on_after(TIMEOUT):
        while head.END not in seen:
            if len(seen) > head.LIMIT:
                raise TooMuch
            seen += await _some(client)
        return seen
    raise Nothing


async def whole_hello(client: socket.socket, seen: bytes = b"") -> tuple[hello.Hello, bytes]:
    """The TLS hello, and all that was read with it. Raises OSError, or NotTLS as soon as it can be none."""
    with anyio.move_on_after(TIMEOUT):
        while True:
            if (found := hello.parse_hello(seen)) is not None:
                return found, seen
            seen += await _some(client)
    raise Nothing


async def _some(client: socket.socket) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(client, _CHUNK)
    if not data:
        raise Nothing
    return data
