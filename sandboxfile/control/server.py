"""The supervisor's end of the control socket: who may speak, how much, and that nothing leaks.

A connection carries one request. Only our own user (and root) is heard; the request must come soon, and only `Exec`
and `AttachAgent` may bring descriptors, exactly three. What the handler raises of `SandboxfileError` is answered with
`Failed`.
It knows nothing of machines: the handler does the work.
"""

import os
import socket
import struct
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from sandboxfile.control.messages import AttachAgent, Exec, Failed, Message, decode, encode
from sandboxfile.control.wire import DESCRIPTORS, Wire
from sandboxfile.errors import CommandError, ControlError, HostError, SandboxfileError
from sandboxfile.host.accepting import accepted
from sandboxfile.host.tasks import beside

CONNECTIONS = 256
_REQUEST_TIMEOUT = 10.0  # seconds for the first line


class Conversation:
    """One connection: its request, the descriptors that came with it (closed when the handler returns), its replies."""

    def __init__(self, wire: Wire, request: Message, descriptors: tuple[int, ...]) -> None:
        self.request = request
        self.descriptors = descriptors
        self._wire = wire

    async def send(self, message: Message) -> None:
        """Reply. Raises ControlError when the client is gone."""
        await self._wire.send(encode(message))

    async def receive(self) -> Message | None:
        """What the client says after its request; None when it is gone. Raises ControlError for nonsense."""
        line = await self._wire.receive()
        if extra := self._wire.take_descriptors():
            for descriptor in extra:
                os.close(descriptor)
            raise ControlError("descriptors belong to an Exec or an AttachAgent")
        return None if line is None else decode(line)

    @asynccontextmanager
    async def while_connected(self) -> AsyncIterator[None]:
        """Cancel the block when the client goes away (or says anything more)."""

        async def watch() -> None:
            with suppress(ControlError):
                await self.receive()
            group.cancel_scope.cancel()

        async with beside(watch) as group:
            yield


Handler = Callable[[Conversation], Awaitable[None]]


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600, replacing a stale one in one step. Raises HostError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(CONNECTIONS)
        fresh.rename(path)
    except OSError as exc:
        listener.close()
        raise HostError(f"cannot listen on {path}: {exc.strerror or exc}") from exc
    return listener


async def serve(
    listener: socket.socket, handle: Handler, closing: anyio.Event | None = None, *, limit: int = CONNECTIONS
) -> None:
    """Answer connections until cancelled; once `closing` is set take no more and return when those there have ended.

    At the limit, further ones wait in the kernel's queue.
    """
    slots = anyio.CapacityLimiter(limit)

    async def converse(sock: socket.socket) -> None:
        wire = Wire(sock)
        try:
            await _converse(wire, handle)
        finally:
            wire.close()
            slots.release_on_behalf_of(sock)

    async with anyio.create_task_group() as conversations, beside() as accepting:

        async def accept() -> None:
            while True:
                sock = await _accept(listener)
                try:
                    await slots.acquire_on_behalf_of(sock)
                except BaseException:
                    sock.close()
                    raise
                conversations.start_soon(converse, sock)

        accepting.start_soon(accept)
        await (closing or anyio.Event()).wait()


async def _accept(listener: socket.socket) -> socket.socket:
    while True:
        sock = await accepted(listener)
        if _peer(sock) in (os.geteuid(), 0):
            return sock
        sock.close()


def _peer(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


async def _converse(wire: Wire, handle: Handler) -> None:
    descriptors: tuple[int, ...] = ()
    try:
        request = await _request(wire)
        descriptors = wire.take_descriptors()
        if len(descriptors) != (DESCRIPTORS if _wants_descriptors(request) else 0):
            raise ControlError("a command needs exactly three descriptors, and nothing else takes any")
        await handle(Conversation(wire, request, descriptors))
    except SandboxfileError as exc:
        await _answer(wire, failed(exc))
    except Exception as exc:
        # Our own bug, in one request: it is written down and told, and the user's machine goes on.
        traceback.print_exc(file=sys.stderr)
        await _answer(wire, Failed("SandboxfileError", f"This is a bug in sandboxfile: {exc!r}"))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _wants_descriptors(request: Message) -> bool:
    return isinstance(request, Exec | AttachAgent) and not request.detach


async def _request(wire: Wire) -> Message:
    line = None
    with anyio.move_on_after(_REQUEST_TIMEOUT):
        line = await wire.receive()
    if line is None:
        raise ControlError("no request came")
    return decode(line)


async def _answer(wire: Wire, message: Message) -> None:
    with anyio.move_on_after(_REQUEST_TIMEOUT):  # a client that does not read must not hold its slot for ever
        with suppress(ControlError):
            await wire.send(encode(message))


def failed(error: SandboxfileError) -> Failed:
    """An error as a reply; the client raises it again as the same class."""
    return Failed(
        error=type(error).__name__,
        message=error.message,
        hint=error.hint,
        output=error.output,
        exit_code=error.exit_code if isinstance(error, CommandError) else 1,
    )
