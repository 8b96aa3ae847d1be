"""A reconciler from its lock to its end: alone by its name, until a signal, with everything given back."""

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from sandboxfile.cli import exits
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.reconciling.loop import Loop
from sandboxfile.cli.reconciling.work import HostWork, Settings
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import BusyError, SandboxfileError
from sandboxfile.host.layout import ReconcilerPaths
from sandboxfile.host.reconcilers import prepare, read_status
from sandboxfile.host.statedir import try_lock
from sandboxfile.host.tasks import beside
from sandboxfile.model.reconciliation import Status, resumed

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def reconcile(name: str, settings: Settings, interval: float, console: Console, *, once: bool) -> int:
    """Turns until asked to end, or a single one; the exit code. Raises BusyError when it is at work already."""
    paths = prepare(this_layout().reconciler(name))
    handle = try_lock(paths.lock)
    if handle is None:
        raise BusyError(f"the reconciler {name} is at work already", hint=f"sbx reconcile --status --name {name}")
    try:
        loop = await _loop(name, settings, interval, paths, console)
        await _until_signal(loop, loop.once if once else loop.forever, console)
    finally:
        os.close(handle)
    return _code(loop.status) if once else exits.OK


async def _loop(name: str, settings: Settings, interval: float, paths: ReconcilerPaths, console: Console) -> Loop:
    status = read_status(paths) or Status(name, settings.git, settings.ref, settings.file)
    if status.git != settings.git:
        raise SandboxfileError(f"the reconciler {name} follows {status.git}", hint="--name gives this one another name")
    status = resumed(status, settings.ref, settings.file, settings.profiles, deny_widening=settings.deny_widening)
    # Who starts it wants to see what comes of it, whatever pause there was.
    status = replace(status, next_attempt="")
    work = HostWork(settings, this_layout(), paths, console)
    await anyio.to_thread.run_sync(work.refuse_open)
    await anyio.to_thread.run_sync(work.clone.prepare)
    loop = Loop(work, interval, lambda: datetime.now(UTC), status)
    work.look = loop.stop.look
    return loop


async def _until_signal(loop: Loop, work: Callable[[], Awaitable[None]], console: Console) -> None:
    async with beside() as tasks:

        async def watch() -> None:
            with anyio.open_signal_receiver(*_ENDING) as signals:
                async for number in signals:
                    if loop.stop.asked.is_set():
                        tasks.cancel_scope.cancel()
                    console.say(f"{signal.Signals(number).name}: ending after the step under way")
                    loop.stop.ask()

        tasks.start_soon(watch)
        await work()


def _code(status: Status) -> int:
    """Of one turn: whether the newest commit is wholly there."""
    if status.state != "failed":
        return exits.OK if status.applied == status.commit else exits.FAILED
    return exits.WIDENS if status.reason == "widening" else exits.FAILED
