"""The gateway's life: listens, serves whoever registers, ends when nobody has been there for a while. asyncio only."""

import gc
import os
import signal
from collections.abc import AsyncIterator
from functools import partial

import anyio

from sandboxfile.control.server import listen
from sandboxfile.gateway.interception import Interception
from sandboxfile.gateway.overrides import Overrides
from sandboxfile.gateway.registrations import Registrations
from sandboxfile.gateway.resolver import Resolver
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import private_directory
from sandboxfile.host.tasks import beside
from sandboxfile.secrets.sources import read

_FIRST = 10.0  # seconds that the first supervisor may take to come
_COLLECTED = 20_000  # objects more than before; connections are made of objects, and seldom of cycles
_LATER = 1.0  # seconds after the last one left


async def run(layout: Layout, lock: int) -> int:
    """Run to the end and give this process's exit code. `lock` is closed when nothing is served any more.

    Raises HostError when there is nowhere to listen.
    """
    private_directory(layout.runtime)
    overrides = Overrides(layout.resolver_overrides)
    resolver = Resolver(overrides)
    interception = Interception(overrides)
    registrations = Registrations(resolver, interception.get, partial(read, layout=layout, environ=os.environ))
    # Whoever finds it listening may also tell it to end.
    with (
        anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
        listen(layout.gateway_socket) as listener,
    ):
        try:
            async with beside(interception.load) as group:
                gc.freeze()  # modules and tables for ever: not to be walked through at each collection
                gc.set_threshold(_COLLECTED)
                group.start_soon(registrations.serve, listener)
                group.start_soon(_stop_on, signals, group.cancel_scope)
                await registrations.until_idle(_FIRST, _LATER)
        finally:
            # The moment the lock is free another gateway may start: so the socket is not this one's to remove.
            layout.gateway_socket.unlink(missing_ok=True)
            os.close(lock)
            resolver.close()
    return 0


async def _stop_on(signals: AsyncIterator[signal.Signals], scope: anyio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return
