"""Connections of one sandbox: taken from its listening sockets, as many as it may have, each served in a task.

What is over the limit is refused at once. A connection that fails ends alone; what fails because of us is written
into this process's own log.
"""

import socket
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio import lowlevel

from sandboxfile.gateway.addresses import FakeAddresses
from sandboxfile.gateway.hello import NotTLS
from sandboxfile.gateway.records import refused_record
from sandboxfile.gateway.slots import Slots
from sandboxfile.gateway.streams import Peeked, streams
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.host.saying import say

_AT_ONCE = 32  # connections taken before others get their turn
_PAUSE = 0.05  # seconds, when descriptors ran out


class Interceptor(Protocol):
    """What looks inside; see `gateway.intercept`."""

    async def explicit(self, tenant: Tenant, client: Peeked) -> None: ...
    async def transparent(self, tenant: Tenant, client: Peeked, host: str, port: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Door:
    """What serving one sandbox takes. `interceptor` waits until there is one, and raises OSError when there is none."""

    tenant: Tenant
    addresses: FakeAddresses
    slots: Slots
    interceptor: Callable[[], Awaitable[Interceptor]]


class Client:
    """An accepted connection, closed by us unless somebody takes it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._taken = False

    def take(self) -> socket.socket:
        """The socket, which the caller closes."""
        self._taken = True
        return self.sock

    def close(self) -> None:
        if not self._taken:
            self.sock.close()


Serve = Callable[[Door, Client], Awaitable[None]]


async def accept(listener: socket.socket, door: Door, serve: Serve) -> None:
    """Serve what comes in on a listening socket until cancelled; it and all its connections are closed then."""
    with listener:
        listener.setblocking(False)
        async with anyio.create_task_group() as connections:
            while True:
                await anyio.wait_readable(listener)
                for _ in range(_AT_ONCE):
                    if (sock := await _next(listener)) is None:
                        break
                    if door.slots.take():
                        connections.start_soon(_connection, door, Client(sock), serve)
                    else:
                        _refuse(door, sock)
                await lowlevel.checkpoint()


async def _next(listener: socket.socket) -> socket.socket | None:
    try:
        sock, _ = listener.accept()
    except BlockingIOError:
        return None
    except OSError:  # it is gone already, or descriptors ran out
        await anyio.sleep(_PAUSE)
        return None
    sock.setblocking(False)
    return sock


def _refuse(door: Door, sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # struct linger: a reset, at once
    sock.close()
    tenant = door.tenant
    tenant.log.write_repeated("too many connections", refused_record(tenant.id, "too many connections at a time"))


async def _connection(door: Door, client: Client, serve: Serve) -> None:
    try:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await serve(door, client)
    except (OSError, NotTLS):
        pass  # the client is gone, or said nothing that can be answered
    except Exception:
        say(f"serving a connection of {door.tenant.id}:\n{traceback.format_exc()}")
    finally:
        client.close()
        door.slots.free()


async def inspect(door: Door, client: Client, seen: bytes, target: tuple[str, int] | None) -> None:
    """Leave a connection to the interceptor, with what was read of it. `target`: of the transparent ports."""
    interceptor = await door.interceptor()
    peeked = await streams(client.take(), seen)
    try:
        if target is None:
            await interceptor.explicit(door.tenant, peeked)
        else:
            await interceptor.transparent(door.tenant, peeked, *target)
    finally:
        peeked.writer.close()
