"""One connection of a caller out here to a service inside: bytes both ways, half-close, and how it ends.

Nothing is sent but what one side wrote; a buffer or two of each direction are held. A caller is reset when nothing
inside takes connections, or when the sandbox is lost on the way, so that nobody takes half an answer for a whole one.
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.accepting import accepted
from sandboxfile.host.tasks import together
from sandboxfile.supervisor.streams import Stream, opened

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing tells the peer that it was no orderly end


class Inside(Protocol):
    """A connection to a service inside (`guest.tunnel`)."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


Connect = Callable[[int], Awaitable[Inside]]


async def relay(caller: socket.socket, connect: Callable[[], Awaitable[Inside]]) -> None:
    """Relay between a caller and a service inside until both have ended, or one is lost: then the other is reset."""
    orderly = False
    try:
        inside = await connect()
        try:
            async with opened(caller.fileno(), os.O_RDWR) as outside:
                await together(partial(_inward, outside, inside), partial(_outward, inside, outside, caller))
            orderly = True
        finally:
            (inside.close if orderly else inside.abort)()
    except (SandboxfileError, OSError):
        pass  # nobody is there, or one of the two has gone: that is the end, and nothing to report
    finally:
        if not orderly:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _inward(outside: Stream, inside: Inside) -> None:
    while data := await outside.read():
        try:
            await inside.write(data)
        except BrokenPipeError:  # the service reads no more, and may still have something to say
            return
    inside.write_eof()


async def _outward(inside: Inside, outside: Stream, caller: socket.socket) -> None:
    while data := await inside.read():
        await outside.write(data)
    caller.shutdown(socket.SHUT_WR)


async def next_caller(listener: socket.socket) -> socket.socket:
    """The next caller, non-blocking."""
    caller = await accepted(listener)
    caller.setblocking(False)
    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return caller
