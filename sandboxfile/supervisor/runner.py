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
from sandboxfile.host.statedir import private_directory, read_record
from sandboxfile.host.tasks import beside
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.lifecycle import StopAsked
from sandboxfile.supervisor.requests import answer
from sandboxfile.supervisor.sandbox import Sandbox

_LAST_WORDS = 3.0  # seconds for replies to get out


async def supervise(layout: Layout, id: SandboxId, lock: int, environ: Mapping[str, str]) -> int:
    """Run a sandbox to its end and give this process's exit code. `lock` is closed when nothing runs any more.

    Raises StateError or HostError when there is nothing to run, or nowhere to listen.
    """
    paths = layout.sandbox(id)
    private_directory(layout.runtime)
    sandbox = Sandbox(layout, id, read_record(paths).spec, environ)
    closing = anyio.Event()
    with listen(paths.control) as listener:
        async with beside(partial(_stop_on_signals, sandbox)), anyio.create_task_group() as conversations:
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
