"""The gateway's control socket: a connection is a registration, and its end is the end of all egress of that sandbox.

Only our own user (and root) is heard. What cannot be done is answered with `Refused` and has changed nothing; a second
registration of a sandbox replaces the first, whose supervisor is gone or has lost its way.
"""

import os
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from sandboxfile.control.egress import (
    Accepted,
    Confirmed,
    Listen,
    Message,
    Provide,
    Refused,
    Register,
    Role,
    SetPolicy,
    decode,
    encode,
)
from sandboxfile.control.wire import Wire
from sandboxfile.errors import ControlError, SandboxfileError
from sandboxfile.gateway.acceptor import Door, Interceptor, accept
from sandboxfile.gateway.explicit import serve_explicit
from sandboxfile.gateway.log import NetworkLog
from sandboxfile.gateway.names import Names, serve_names
from sandboxfile.gateway.resolver import Resolver
from sandboxfile.gateway.slots import Slots, Total
from sandboxfile.gateway.sources import Reader, Sources
from sandboxfile.gateway.tenant import Authority, Tenant
from sandboxfile.gateway.transparent import serve_transparent
from sandboxfile.gateway.values import Values
from sandboxfile.host.saying import say
from sandboxfile.names import SandboxId
from sandboxfile.policy.compiled import compile_policy

_CONNECTIONS = 256
_LISTENERS = 80  # of one sandbox
_PATIENCE = 10.0  # seconds for the first message, and for an answer to be taken


@dataclass(slots=True)
class Registration:
    """One sandbox while it is served."""

    tenant: Tenant
    names: Names
    door: Door
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    gone: anyio.Event = field(default_factory=anyio.Event)
    listeners: dict[tuple[Role, int], anyio.CancelScope] = field(default_factory=dict)


class Registrations:
    """All sandboxes that are served."""

    def __init__(
        self, resolver: Resolver, interceptor: Callable[[], Awaitable[Interceptor]], read_secret: Reader
    ) -> None:
        self._resolver = resolver
        self._sources = Sources(read_secret)
        self._interceptor = interceptor
        self._total = Total()
        self._current: dict[str, Registration] = {}
        self._open = 0
        self._changed = anyio.Event()

    async def serve(self, listener: socket.socket) -> None:
        """Answer connections until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                await anyio.wait_readable(listener)
                try:
                    sock, _ = listener.accept()
                except BlockingIOError:
                    continue
                except OSError:  # the supervisor is gone already, or descriptors ran out
                    await anyio.sleep(0.05)
                    continue
                if self._open >= _CONNECTIONS or _peer(sock) not in (os.geteuid(), 0):
                    sock.close()
                    continue
                self._count(1)
                group.start_soon(self._connection, sock)

    async def until_idle(self, first: float, later: float) -> None:
        """Return when nobody has been connected for `later` seconds, or for the `first` ones."""
        patience = first
        while True:
            with anyio.move_on_after(patience):
                while not self._open:
                    await self._changed.wait()
            if not self._open:
                return
            while self._open:
                await self._changed.wait()
            patience = later

    def _count(self, by: int) -> None:
        self._open += by
        self._changed.set()
        self._changed = anyio.Event()

    # --- one connection ------------------------------------------------------------------------------------------

    async def _connection(self, sock: socket.socket) -> None:
        wire = Wire(sock)
        try:
            registration = await self._registered(wire)
            if registration is not None:
                await self._live(wire, registration)
        except ControlError:
            pass  # it hung up, or does not speak our language: there is nobody to tell
        except Exception:
            say(f"a registration ends:\n{traceback.format_exc()}")
        finally:
            wire.close()
            self._count(-1)

    async def _registered(self, wire: Wire) -> Registration | None:
        """The registration that is asked for first; None when the supervisor leaves, or says nothing."""
        with anyio.move_on_after(_PATIENCE):
            while (line := await wire.receive()) is not None:
                _close(wire.take_descriptors())
                try:
                    return await self._prepared(decode(line))
                except SandboxfileError as exc:
                    await _send(wire, Refused(str(exc)))
                except Exception as exc:
                    await _send(wire, _our_fault(exc))
        return None

    async def _prepared(self, message: Message) -> Registration:
        if not isinstance(message, Register):
            raise ControlError("the first message is Register")
        log = Path(message.log)
        try:
            SandboxId.parse(message.sandbox)
            if not log.is_absolute():
                raise ValueError(message.log)
        except ValueError as exc:
            raise ControlError(f"malformed registration: {exc}") from exc
        compiled = await to_thread.run_sync(compile_policy, message.policy)
        try:
            network_log = NetworkLog(log, message.sandbox)
        except OSError as exc:
            raise ControlError(f"the network log {log} cannot be opened: {exc.strerror}") from exc
        authority = Authority(message.certificate, message.key)
        values = Values(self._sources)
        tenant = Tenant(
            message.sandbox, compiled, authority, network_log, self._resolver, dict(message.proxies), values
        )
        names = Names(tenant)
        return Registration(tenant, names, Door(tenant, names.addresses, Slots(self._total), self._interceptor))

    async def _live(self, wire: Wire, registration: Registration) -> None:
        """Serve a sandbox until its supervisor hangs up or another one takes its place."""
        id = registration.tenant.id
        try:
            while (former := self._current.get(id)) is not None:
                former.tenant.close()
                former.scope.cancel()
                await former.gone.wait()
            self._current[id] = registration
            with registration.scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(registration.tenant.log.run)
                    group.start_soon(registration.tenant.follow_days)
                    await _send(wire, Confirmed(registration.tenant.fingerprint))
                    await self._converse(wire, registration, group)
                    registration.tenant.close()  # before its tasks are cancelled, so that the log says why
                    group.cancel_scope.cancel()
        finally:
            registration.tenant.close()
            registration.tenant.log.close()
            if self._current.get(id) is registration:
                del self._current[id]
            registration.gone.set()

    async def _converse(self, wire: Wire, registration: Registration, group: TaskGroup) -> None:
        while (line := await wire.receive()) is not None:
            descriptors = wire.take_descriptors()
            try:
                answer = await _answer(decode(line), descriptors, registration, group)
            except SandboxfileError as exc:
                answer = Refused(str(exc))
            except Exception as exc:
                answer = _our_fault(exc)
            finally:
                _close(descriptors)
            await _send(wire, answer)


async def _answer(
    message: Message, descriptors: tuple[int, ...], registration: Registration, group: TaskGroup
) -> Message:
    if len(descriptors) != (1 if isinstance(message, Listen) else 0):
        raise ControlError("a Listen brings exactly one descriptor, and nothing else brings any")
    match message:
        case Listen(role, port):
            _listen(_socket(descriptors[0], role), role, port, registration, group)
            return Accepted()
        case SetPolicy(policy):
            compiled = await to_thread.run_sync(compile_policy, policy)
            registration.tenant.set_policy(compiled)
            return Confirmed(compiled.fingerprint)
        case Provide(values):
            registration.tenant.values.give(values)
            return Accepted()
    raise ControlError(f"{type(message).__name__} is not for a registered sandbox")


def _listen(sock: socket.socket, role: Role, port: int, registration: Registration, group: TaskGroup) -> None:
    """Serve a socket, instead of the one with the same role and port if there is one."""
    key = (role, port)
    scope = anyio.CancelScope()

    async def serve() -> None:
        with scope:
            match role:
                case "names":
                    await serve_names(sock, registration.names)
                case "proxy":
                    await accept(sock, registration.door, serve_explicit)
                case "transparent":
                    await accept(sock, registration.door, serve_transparent)

    if key not in registration.listeners and len(registration.listeners) >= _LISTENERS:
        sock.close()
        raise ControlError(f"a sandbox has at most {_LISTENERS} listening sockets")
    if (former := registration.listeners.get(key)) is not None:
        former.cancel()
    registration.listeners[key] = scope
    group.start_soon(serve)


def _socket(descriptor: int, role: Role) -> socket.socket:
    """A socket of our own for a descriptor that stays the caller's. Raises ControlError for a wrong kind."""
    try:
        sock = socket.socket(fileno=os.dup(descriptor))
    except OSError as exc:
        raise ControlError(f"what came is not a socket: {exc.strerror}") from exc
    kind = socket.SOCK_DGRAM if role == "names" else socket.SOCK_STREAM
    listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    if not internet or sock.type != kind or listening != (kind is socket.SOCK_STREAM):
        sock.close()
        raise ControlError(f"this socket cannot serve as {role}")
    return sock


def _our_fault(exc: Exception) -> Refused:
    say(f"answering a supervisor:\n{traceback.format_exc()}")
    return Refused(f"This is a bug in sandboxfile: {exc!r}")


async def _send(wire: Wire, message: Message) -> None:
    """Raises ControlError when it cannot be told."""
    with anyio.move_on_after(_PATIENCE):
        await wire.send(encode(message))
        return
    raise ControlError("the supervisor does not read")


def _close(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _peer(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
