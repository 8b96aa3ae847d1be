"""Brings a virtio-serial port to the first byte of SSH. Both ends may have died at any point before.

The host end of a port stays connected as long as the machine lives, so nothing tells the guest that a client went
away, and old bytes may wait in both directions. Hence nonces, repeated until the guest answers the newest: a single
knock is eaten by the sshd that is still dying, or by a guest that has not opened its port yet (measured).
"""

import secrets
import socket

import anyio
import anyio.lowlevel

from sandboxfile.errors import GuestError

_RETRY = 0.1  # seconds
_WINDOW = 8192  # bytes of what came before that can hold the answer


async def knock(port: socket.socket) -> None:
    """Return when the guest's next byte on this port is SSH's. Waits for ever. Raises GuestError at the port's end."""
    seen = b""
    while True:
        nonce = secrets.token_hex(8).encode()
        _send(port, b"\nSBX " + nonce + b"\n")
        with anyio.move_on_after(_RETRY):
            answer = b"\nSBX-OK " + nonce + b"\n"
            while answer not in seen:
                seen = (seen + await _receive(port))[-_WINDOW:]
            if _send(port, b"GO " + nonce + b"\n"):
                return


def _send(port: socket.socket, line: bytes) -> bool:
    """Whether all of it is on its way. A full queue is no error: the guest does not read yet."""
    try:
        return port.send(line) == len(line)
    except BlockingIOError:
        return False
    except OSError as exc:
        raise GuestError("the machine is gone") from exc


async def _receive(port: socket.socket) -> bytes:
    while True:
        await anyio.lowlevel.checkpoint()  # a guest that never stops talking must not stop everything else
        try:
            data = port.recv(4096)
        except BlockingIOError:
            await anyio.wait_readable(port)
        except OSError as exc:
            raise GuestError("the machine is gone") from exc
        else:
            if not data:
                raise GuestError("the machine is gone")
            return data
