"""One connection on its way through the raw path: connected, perhaps proved by its TLS hello, tunnelled, logged."""

import asyncio
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio

from sandboxfile.gateway import reading
from sandboxfile.gateway.records import Via
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.gateway.tunnel import Tunnel
from sandboxfile.model.policy import Decision, Request


class Passage:
    """Owns the client's socket, and the server's when there is one. A policy that denies it ends it wherever it is."""

    def __init__(self, tenant: Tenant, client: socket.socket, request: Request, decision: Decision, via: Via) -> None:
        """`decision` allows it."""
        self.client = client
        self._tenant = tenant
        self._decision = decision
        self._protocol = request.protocol
        self._server: socket.socket | None = None
        self._tunnel: Tunnel | None = None
        self._scope = anyio.CancelScope()
        self._flow = tenant.begin(request, decision, self._cut, via=via, inspected=False)

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._flow.end(error=str(exc) if isinstance(exc, OSError) else "")
        self.client.close()
        if self._server is not None:
            self._server.close()
        return bool(self._scope.__exit__(kind, exc, traceback))

    async def reach(self) -> None:
        """Connect to the server. Raises OSError."""
        self._server = await self._tenant.connect(self._decision, self._protocol)

    async def say(self, data: bytes) -> None:
        """A few bytes of our own to the client. Raises OSError."""
        with anyio.fail_after(reading.TIMEOUT):
            await asyncio.get_running_loop().sock_sendall(self.client, data)

    def fail(self, exc: OSError) -> None:
        """Log that the server could not be reached."""
        self._flow.end(error=exc.strerror or str(exc))

    def refuse(self, decision: Decision) -> None:
        """Log that what the client said is denied."""
        self._flow.refuse(decision)

    async def run(self, seen: bytes) -> None:
        """Tunnel until both sides have ended; `seen` is what the client said already."""
        assert self._server is not None
        self._tunnel = Tunnel(self.client, self._server)
        self._flow.end(error=await self._tunnel.run(self._flow, seen))

    def _cut(self) -> None:
        self._scope.cancel()
        if self._tunnel is not None:
            self._tunnel.cut()
            return
        # Not closed: the loop may be waiting on it, and would wait on whatever gets its number next.
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
