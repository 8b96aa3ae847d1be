"""The next connection of a listening socket, whatever becomes of others."""

import socket

import anyio

_PAUSE = 0.05  # seconds


async def accepted(listener: socket.socket) -> socket.socket:
    """The next one, of a non-blocking listener; nothing but cancellation ends the wait."""
    while True:
        try:
            return listener.accept()[0]
        except BlockingIOError:
            await anyio.wait_readable(listener)
        except OSError:  # the caller is gone already, or descriptors ran out: neither may end who listens
            await anyio.sleep(_PAUSE)
