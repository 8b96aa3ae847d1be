"""Waits until a sandbox's own Docker daemon answers, and says why when it does not. asyncio only.

The daemon is started inside, early in the boot, by `guest/rootfs/docker`, which also keeps it running. Nothing here
starts, stops or commands it, and nothing that it says but a greeting is read.
"""

from typing import TYPE_CHECKING, Protocol

import anyio

from sandboxfile.errors import GuestError

if TYPE_CHECKING:  # it loads asyncssh
    from sandboxfile.guest.channel import Ended

_SOCKET = "/var/run/docker.sock"
_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
_PONG = (b"HTTP/1.0 200 ", b"HTTP/1.1 200 ")
_TIMEOUT = 120.0  # seconds; 10 is usual under emulation, and many at once take long
_PAUSE = 0.5
_LOG = "/run/sbx/bin/tail -n 15 /var/log/dockerd.log 2>/dev/null"
_ABSENT = "absent\n"


class Inside(Protocol):
    """What is needed of the channel."""

    async def run(self, argv: tuple[str, ...], *, timeout: float = ...) -> "Ended": ...

    async def ask(self, path: str, question: bytes) -> bytes: ...


async def wait_for_docker(guest: Inside) -> None:
    """Return once the daemon answers. Raises GuestError, with the end of the daemon's log, when it will not."""
    with anyio.move_on_after(_TIMEOUT):
        while True:
            ended = await guest.run(("/run/sbx/bin/sbx-docker",), timeout=2 * _TIMEOUT)
            if ended.output == _ABSENT:
                raise GuestError(
                    "there is no Docker daemon in the image, and the template asks for one (`docker: true`)",
                    hint="install a package that brings dockerd (docker.io on Debian), or take `docker: true` away",
                )
            if ended.output:
                raise await _failure(guest, "the Docker daemon ends again and again")
            if (await guest.ask(_SOCKET, _PING)).startswith(_PONG):
                return
            await anyio.sleep(_PAUSE)
    raise await _failure(guest, f"the Docker daemon does not answer after {_TIMEOUT:.0f} s")


async def _failure(guest: Inside, message: str) -> GuestError:
    try:
        log = (await guest.run(("/run/sbx/bin/sh", "-c", _LOG), timeout=20)).output
    except GuestError as exc:
        log = str(exc)
    return GuestError(message, hint="its log, of which this is the end, is /var/log/dockerd.log inside", output=log)
