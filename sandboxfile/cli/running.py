"""Runs the asynchronous part of a command; ends it in order on TERM and HUP, as on Ctrl-C."""

import signal
from collections.abc import Awaitable, Callable

import anyio

from sandboxfile.host.tasks import beside

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def run_async(work: Callable[[], Awaitable[int]]) -> int:
    """Run `work` to its end and give its exit code. TERM and HUP cancel it: what it started is undone or waited for."""
    return anyio.run(until_signal, work)


async def until_signal(work: Callable[[], Awaitable[int]]) -> int:
    """The exit code of `work`, or 128+N when signal N came first and `work` was cancelled."""
    code: int | None = None
    received = 0
    async with beside() as tasks:

        async def watch() -> None:
            nonlocal received
            with anyio.open_signal_receiver(*_ENDING) as signals:
                async for number in signals:
                    received = number
                    tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        code = await work()
    return 128 + received if code is None else code
