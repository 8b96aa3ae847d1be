"""The network of one jail, seen from outside: its listening sockets, ours, and the way to one more. asyncio only.

The namespace is made and furnished by `launcher.py`; it reaches nothing, and nothing reaches it but through these
sockets. Whoever accepts on them is all that the guest can speak to. Roles are those of the gateway's protocol.
"""

import json
import os
import signal
import socket
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Literal

import anyio

from sandboxfile.errors import MachineError
from sandboxfile.vm.descriptors import receive_sockets

Role = Literal["proxy", "transparent", "names"]
Place = tuple[Role, int]

PROXY_PORT, NAMES_PORT = 3128, 53
ALWAYS = (80, 443)  # transparent ports that every sandbox has
MOST_PORTS = 128

_LOOPBACK, _ANY = "127.0.0.1", "0.0.0.0"  # noqa: S104 - in the jail's namespace
_ANSWER_TIMEOUT = 5.0  # seconds; 0.001 is usual
_END_TIMEOUT = 5.0


def places(ports: Collection[int]) -> tuple[Place, ...]:
    """The sockets that a jail starts with, given the transparent ports besides ALWAYS.

    PROXY_PORT among them is passed over: there the sandbox's own proxy listens, which reaches that port elsewhere.
    Raises ValueError for what is no port, or too many.
    """
    transparent = sorted({*ALWAYS, *ports} - {PROXY_PORT})
    if len(transparent) > MOST_PORTS or any(not 0 < port < 1 << 16 for port in transparent):
        raise ValueError(f"these cannot be the ports of a jail: {transparent}")
    return (("proxy", PROXY_PORT), *(("transparent", port) for port in transparent), ("names", NAMES_PORT))


def bindings(wanted: Sequence[Place]) -> list[tuple[str, str, int]]:
    """Kind, address and port of each socket, as the launcher is told.

    QEMU's user network shows 127.0.0.1 of the namespace as the gateway's address. All others are dialled as they are,
    so on a wildcard address the proxy would answer for the whole world.
    """
    kinds = {"proxy": ("tcp", _LOOPBACK), "transparent": ("tcp", _ANY), "names": ("udp", _ANY)}
    return [(*kinds[role], port) for role, port in wanted]


class JailNetwork:
    """`sockets` are listening (`names`: a UDP socket), non-blocking, and ours until closed. `pid` is the opener's."""

    def __init__(self, sockets: dict[Place, socket.socket], opener: socket.socket, pid: int) -> None:
        """Takes over all of them. Raises OSError, and closes them, when the opener is no more."""
        self.sockets = sockets
        self.pid = pid
        self._opener = opener
        self._turn = anyio.Lock()
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:
            self._close_sockets()
            raise

    async def listen(self, port: int) -> socket.socket:
        """One more transparent port, from now on; the same socket when asked again. Raises MachineError."""
        if not 0 < port < 1 << 16 or port == PROXY_PORT:
            raise MachineError(f"port {port} cannot be made transparent")
        async with self._turn:
            if ("transparent", port) not in self.sockets:
                if len(self.sockets) > MOST_PORTS:
                    raise MachineError(f"no more than {MOST_PORTS} ports of a sandbox can be transparent")
                # To the end, also when cancelled: the answer belongs to this question.
                with anyio.CancelScope(shield=True):
                    self.sockets["transparent", port] = await self._asked(port)
            return self.sockets["transparent", port]

    async def close(self) -> None:
        """Close every socket, and wait until the opener is gone. Idempotent."""
        self._close_sockets()
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd < 0:
            return
        try:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_END_TIMEOUT):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                await anyio.wait_readable(pidfd)
        finally:
            os.close(pidfd)

    async def _asked(self, port: int) -> socket.socket:
        try:
            self._opener.send(str(port).encode())
            with anyio.fail_after(_ANSWER_TIMEOUT):
                text, received = await receive_sockets(self._opener)
            answer = json.loads(text or b'{"error": "it died"}')
        except (OSError, ValueError) as exc:  # TimeoutError is an OSError
            self._opener.close()  # a late answer must not be taken for the next one
            raise MachineError(f"the jail's network does not answer: {exc or type(exc).__name__}") from exc
        if answer.get("ok") and answer.get("port") == port and len(received) == 1:
            return received[0]
        for unwanted in received:
            unwanted.close()
        raise MachineError(f"cannot open port {port} in the jail's network: {answer.get('error', 'a wrong answer')}")

    def _close_sockets(self) -> None:
        for each in (*self.sockets.values(), self._opener):
            each.close()
