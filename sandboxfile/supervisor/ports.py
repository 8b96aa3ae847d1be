"""Ports of this host that lead to ports inside: which ones are listened on, all of those asked for or none.

It knows no guest: `connect` opens a connection inside, or raises. Nothing that the sandbox does makes this listen
anywhere. `relaying` moves the bytes.
"""

import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial

import anyio
from anyio.abc import TaskGroup

from sandboxfile.errors import HostError
from sandboxfile.host.saying import say
from sandboxfile.model.desired import Port
from sandboxfile.supervisor.relaying import Connect, next_caller, relay

CONNECTIONS = 256  # at once, of all ports; further ones wait in the kernel's queues
_QUEUE = 128
_Place = tuple[str, int]  # address and port of this host
_During = Callable[[], AbstractContextManager[None]]


class Ports:
    """Those of one sandbox. They work as long as the task group that `start` was given.

    Each connection of a caller is `during` such a block.
    """

    def __init__(self, connect: Connect, during: _During = nullcontext) -> None:
        self._connect = connect
        self._during = during
        self._listeners: dict[_Place, _Listener] = {}
        self._slots = anyio.CapacityLimiter(CONNECTIONS)
        self._turn = anyio.Lock()  # one change at a time
        self._group: TaskGroup | None = None

    @property
    def listening(self) -> tuple[Port, ...]:
        """What `set` asked for, sorted; forwards of a client or a login are not among them."""
        return tuple(sorted(listener.port for listener in self._listeners.values()))

    def start(self, group: TaskGroup) -> None:
        """Work in this task group from now on."""
        self._group = group

    async def set(self, ports: Iterable[Port]) -> None:
        """Listen on these, and on no others; those that stay are not touched. Raises HostError, and nothing changed."""
        wanted = {_place(port): port for port in ports}
        with anyio.CancelScope(shield=True):
            async with self._turn:
                new = [port for place, port in wanted.items() if place not in self._listeners]
                going = [place for place in self._listeners if place not in wanted]
                sockets = await self._exchange(new, going)
                for place, port in wanted.items():
                    present = self._listeners.get(place)
                    if present is None:
                        self._listeners[place] = self._serve(port, sockets[place])
                    elif present.port != port:  # it leads elsewhere inside now: only its callers go
                        self._listeners[place] = self._serve(port, await present.release())

    async def _exchange(self, new: Sequence[Port], going: Sequence[_Place]) -> "dict[_Place, socket.socket]":
        """Sockets for the new ones, and an end to those that go."""
        given_up = []
        try:
            sockets = None if _overlap(new, going) else _listen_all(new)
            for place in going:
                await self._listeners[place].close()
                given_up.append(self._listeners.pop(place).port)
            return _listen_all(new) if sockets is None else sockets
        except HostError:
            for port in given_up:  # they were in the way of those that could not be had
                self._listeners[_place(port)] = self._serve(port, listen(port))
            raise

    @asynccontextmanager
    async def forward(self, port: Port) -> AsyncIterator[None]:
        """Listen on one more during the block. Raises HostError."""
        listener = self._serve(port, listen(port))
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await listener.close()

    def _serve(self, port: Port, sock: socket.socket) -> "_Listener":
        assert self._group is not None
        listener = _Listener(port, sock, self._during)
        self._group.start_soon(listener.serve, self._connect, self._slots)
        say(f"listening on {port.text}")
        return listener


class _Listener:
    """One listening socket and its connections."""

    def __init__(self, port: Port, sock: socket.socket, during: _During) -> None:
        self.port = port
        self._during = during
        self._socket = sock
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    async def serve(self, connect: Connect, slots: anyio.CapacityLimiter) -> None:
        """Accept and relay until `close` or `release`."""
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    while True:
                        await self._accept(connect, slots, group)
        finally:
            if not self._scope.cancel_called:
                self._socket.close()
            self._ended.set()

    async def _accept(self, connect: Connect, slots: anyio.CapacityLimiter, group: TaskGroup) -> None:
        caller = await next_caller(self._socket)
        try:
            await slots.acquire_on_behalf_of(caller)
        except BaseException:
            caller.close()
            raise
        group.start_soon(self._answer, caller, connect, slots)

    async def _answer(self, caller: socket.socket, connect: Connect, slots: anyio.CapacityLimiter) -> None:
        try:
            with caller, self._during():
                await relay(caller, partial(connect, self.port.guest))
        finally:
            slots.release_on_behalf_of(caller)

    async def close(self) -> None:
        """End every connection, and listen no more."""
        (await self.release()).close()
        say(f"no longer listening on {self.port.text}")

    async def release(self) -> socket.socket:
        """End every connection, and give the socket, which goes on listening."""
        self._scope.cancel()
        await self._ended.wait()  # a socket that is closed while somebody waits for it makes the loop stumble
        return self._socket


# --- listening ---------------------------------------------------------------------------------------------------


def listen(port: Port) -> socket.socket:
    """A socket that listens on this port of the host. Raises HostError, which says why it cannot be had."""
    try:
        address = ipaddress.ip_address(port.address)
    except ValueError as exc:
        raise HostError(f"{port.address} is not an address", hint="ports take addresses, not names") from exc
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger hinder no restart
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # `::` says nothing about 0.0.0.0
        sock.bind((str(address), port.host))
        sock.listen(_QUEUE)
    except OSError as exc:
        sock.close()
        raise _unavailable(port, exc) from exc
    return sock


def _listen_all(ports: Iterable[Port]) -> "dict[_Place, socket.socket]":
    """All of them or none."""
    sockets: dict[_Place, socket.socket] = {}
    try:
        for port in ports:
            sockets[_place(port)] = listen(port)
    except HostError:
        for sock in sockets.values():
            sock.close()
        raise
    return sockets


def _unavailable(port: Port, failure: OSError) -> HostError:
    where = port.text.rpartition(":")[0]
    match failure.errno:
        case errno.EADDRINUSE:
            return HostError(
                f"port {where} of this host is in use",
                hint=f"`ss -ltnp 'sport = :{port.host}'` shows by whom; end that, or choose another port",
            )
        case errno.EACCES | errno.EPERM:
            return HostError(
                f"port {where} of this host is only for privileged users",
                hint="choose one from 1024 on, or have an administrator set "
                f"net.ipv4.ip_unprivileged_port_start={port.host}",
            )
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return HostError(
                f"this host has no address {port.address} to listen on",
                hint="`ip address` lists those that it has; 127.0.0.1 is always there",
            )
    return HostError(f"cannot listen on port {where} of this host: {failure.strerror}")


def _place(port: Port) -> _Place:
    return port.address, port.host


def _overlap(new: Iterable[Port], going: Iterable[_Place]) -> bool:
    """Whether one that goes may be in the way of a new one: 127.0.0.1:80 of 0.0.0.0:80."""
    return not {port.host for port in new}.isdisjoint(number for _, number in going)
