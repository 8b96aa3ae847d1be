"""A supervisor without a machine: a sandbox's lock and control socket, whose commands run on this host instead.

Started by the real `machines.start` in place of the real one. Its working directory is the sandbox's directory.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio

from sandboxfile.control.messages import (
    Done,
    Exec,
    Exited,
    Forward,
    GetStatus,
    RunSetup,
    SetupDone,
    Started,
    StatusReply,
    Stop,
)
from sandboxfile.control.server import listen, serve
from sandboxfile.errors import CommandError
from sandboxfile.host.layout import Layout
from sandboxfile.host.sleep_mark import mark_awake
from sandboxfile.host.statedir import read_record, try_lock
from sandboxfile.model.observed import Machine, MainProcess
from sandboxfile.names import SandboxId


def main(id: SandboxId) -> int:
    paths = Layout.from_environment(os.environ, Path.home(), os.getuid()).sandbox(id)
    lock = try_lock(paths.lock)
    if lock is None:
        return 75
    mark_awake(paths)
    anyio.run(supervise, paths)
    return 0


async def supervise(paths):
    spec = read_record(paths).spec
    size = spec.resources
    sizes = (size.cpus, size.memory, size.disk)
    started = "2026-01-01T00:00:00Z"
    machine = Machine("running", *sizes, spec.workspaces, MainProcess(), "kvm", "", started, ports=spec.ports)
    stopping = anyio.Event()

    async def answer(conversation):
        match conversation.request:
            case GetStatus():
                await conversation.send(StatusReply(machine))
            case Exec() as command:
                await execute(conversation, command, paths.root)
            case Forward():
                async with conversation.while_connected():
                    (paths.root / "forwarding").touch()
                    await conversation.send(Started())
                    await anyio.sleep_forever()
                (paths.root / "forwarding").unlink()
            case RunSetup(first):
                for index, command in enumerate(spec.setup[first:], first):
                    if command.argv[-1] == "false":
                        raise CommandError("the setup command `false` failed", 1, output="it said no")
                    await conversation.send(SetupDone(index))
                await conversation.send(Done())
            case Stop():
                await conversation.send(Done())
                paths.control.unlink()
                stopping.set()
            case _:
                await conversation.send(Done())

    with listen(paths.control) as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(serve, listener, answer))
            await stopping.wait()
            group.cancel_scope.cancel()


async def execute(conversation, command, place):
    """As in the guest: it ends with its client, and its end is told after all that it printed."""
    stdin, stdout, stderr = conversation.descriptors
    process = await anyio.open_process(
        command.argv,
        stdin=stdin if command.stdin else subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=command.cwd or place,
        env={"PATH": os.environ["PATH"], "USER": command.user or "agent", **dict(command.env)},
    )
    try:
        async with conversation.while_connected():
            await conversation.send(Started())
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            code = await process.wait()
    await conversation.send(Exited(code if code >= 0 else 128 - code))


if __name__ == "__main__":
    sys.exit(main(SandboxId.parse(sys.argv[1])))
