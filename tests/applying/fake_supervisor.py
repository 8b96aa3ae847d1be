"""A process that behaves as a supervisor does, without a machine: lock, control socket, answers, end.

Started by the real `machines.start` in place of the real one (`machines._MODULE`). What goes wrong is written in the
file `behaviour` of the sandbox's directory; what it was asked is in `asked`, a line each.
"""

import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from sandboxfile.control.messages import (
    Done,
    GetStatus,
    Output,
    Progress,
    RunSetup,
    SetPolicy,
    SetupDone,
    StatusReply,
    Stop,
    WaitReady,
)
from sandboxfile.control.server import listen, serve
from sandboxfile.errors import HostError, MachineError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import read_record, try_lock, write_record
from sandboxfile.model.observed import Machine, MainProcess
from sandboxfile.names import SandboxId

MACHINE = Machine("running", 1, 1 << 20, 1 << 20, (), MainProcess(), "tcg", "", "2026-01-01T00:00:00Z")


def main(id: SandboxId) -> int:
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())
    paths = layout.sandbox(id)
    try:
        behaviour = (paths.root / "behaviour").read_text().split()
    except FileNotFoundError:
        behaviour = []
    if "dies" in behaviour:
        print("the machine is broken")
        return 1
    lock = try_lock(paths.lock)
    if lock is None:
        return 75
    if "slow" in behaviour:
        time.sleep(1)  # the socket of the one before is still there
    if "deaf" in behaviour:
        time.sleep(1000)
    anyio.run(supervise, paths, behaviour)
    return 0


async def supervise(paths, behaviour):  # noqa: C901 - with one answer per message
    stopping = anyio.Event()

    async def answer(conversation):  # noqa: C901 - one answer per message
        with (paths.root / "asked").open("a") as asked:
            asked.write(f"{conversation.request}\n")
        if "silent" in behaviour:
            await anyio.sleep_forever()
        match conversation.request:
            case GetStatus():
                if "troubled" in behaviour:
                    raise MachineError("QEMU does not answer")
                await conversation.send(StatusReply(MACHINE))
            case WaitReady():
                await conversation.send(Progress("booting the guest"))
                if "fails" in behaviour:
                    raise MachineError("the guest did not boot", output="Kernel panic")
                if "vanishes" in behaviour:
                    print("something terrible", flush=True)
                    os._exit(1)
                await conversation.send(Done())
            case RunSetup(first):
                applied = read_record(paths)
                for index in range(first, len(applied.spec.setup)):
                    await conversation.send(Output(f"line of {index}"))
                    write_record(paths, replace(read_record(paths), setup_done=index + 1))
                    await conversation.send(SetupDone(index))
                await conversation.send(Done())
            case SetPolicy() if "refuses" in behaviour:
                raise HostError("the gateway refuses the policy", hint="mend it")
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


if __name__ == "__main__":
    sys.exit(main(SandboxId.parse(sys.argv[1])))
