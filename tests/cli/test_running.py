"""How the asynchronous part of a command ends."""

import os
import signal

import anyio
import anyio.lowlevel
import pytest

from sandboxfile.cli.running import run_async, until_signal
from sandboxfile.errors import MachineError


def test_the_exit_code_is_the_works():
    async def work():
        await anyio.lowlevel.checkpoint()
        return 7

    assert run_async(work) == 7


def test_what_the_work_raises_comes_out_as_it_is():
    async def work():
        raise MachineError("died")

    with pytest.raises(MachineError):
        run_async(work)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_signal_cancels_the_work_in_order(number, backend):
    undone = []

    async def work():
        try:
            while True:
                await anyio.sleep(0.01)
                os.kill(os.getpid(), number)
        finally:
            undone.append(True)

    assert anyio.run(until_signal, work, backend=backend) == 128 + number
    assert undone == [True]
