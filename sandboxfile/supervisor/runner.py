"""The supervisor of one sandbox, from its lock to its end. asyncio only.

The control socket answers from the first moment; what needs the guest waits for it. Everything that this process
starts dies with it, so its own death, however it comes, leaves only the disk and the record.
"""

import os
import signal
from collections.abc import Mapping
from functools import partial

import anyio

from sandboxfile.control.server import listen, serve
from sandboxfile.host.layout import Layout
from sandboxfile.host.saying import say
from sandboxfile.host.sleep_mark import mark_awake
from sandboxfile.host.statedir import private_directory, read_record
from sandboxfile.host.tasks import beside
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.lifecycle import StopAsked
from sandboxfile.supervisor.requests import answer
from sandboxfile.supervisor.sandbox import Sandbox

_LAST_WORDS = 3.0  # seconds for replies to get out


async def supervise(
    layout: Layout, id: SandboxId, lock: int, environ: Mapping[str, str], tied: int | None = None
) -> int:
    """Run a sandbox to its end and give this process's exit code. `lock` is closed when nothing runs any more.

    `tied`: a descriptor at whose end this process dies. Raises StateError or HostError when there is nothing to run, or
    nowhere to listen.
    """
    paths = layout.sandbox(id)
    private_directory(layout.runtime)
    if tied is not None:
        os.set_inheritable(tied, False)
    sandbox = Sandbox(layout, id, read_record(paths).spec, environ)
    mark_awake(paths)
    if tied is not None:
        sandbox.on_paused = _give_up
    closing = anyio.Event()
    with listen(paths.control) as listener:
        watches = [partial(_stop_on_signals, sandbox), *([] if tied is None else [partial(_die_with, tied)])]
        async with beside(*watches), anyio.create_task_group() as conversations:
            conversations.start_soon(serve, listener, partial(answer, sandbox), closing)
            await sandbox.live()
            # The moment the lock is free another supervisor may start: so its sockets are not this one's to remove.
            for socket in (paths.control, paths.monitor):
                socket.unlink(missing_ok=True)
            os.close(lock)
            sandbox.gone.set()
            closing.set()
            conversations.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS
    return 0 if sandbox.failure is None else 1


async def _stop_on_signals(sandbox: Sandbox) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as arriving:
        async for _ in arriving:
            sandbox.conductor.tell(StopAsked())


async def _die_with(tied: int) -> None:
    """Whoever needs this sandbox holds the other end. Nothing of it is to be kept: nothing has to end in order."""
    await anyio.wait_readable(tied)
    say("whoever needed this sandbox is gone")
    os._exit(0)


def _give_up() -> None:
    """The machine was paused: QEMU does that when this host's disk is full, and nobody sees it to resume it."""
    os._exit(1)
