"""Waiting for others: until they are healthy or have completed, or never will be. The supervisor is acted."""

import tempfile
from functools import partial
from pathlib import Path

import anyio
import pytest

from sandboxfile.applying import waiting
from sandboxfile.applying.waiting import wait_for
from sandboxfile.control.messages import Done, GetStatus, Progress, StatusReply, WaitHealthy, WaitReady
from sandboxfile.control.server import listen, serve
from sandboxfile.errors import ControlError, MachineError
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.tasks import beside
from sandboxfile.model.observed import Machine, MainProcess
from sandboxfile.names import SandboxId

ID = SandboxId("shop", "db")


@pytest.fixture
def paths():
    with tempfile.TemporaryDirectory(prefix="sbx-", dir="/tmp") as root:
        yield SandboxPaths(Path(root), Path(root, "x.sock"))


def waited(paths, condition, *answers):
    """Wait while the supervisor gives these answers, one after the other; gives what was asked and shown."""
    asked, shown, left = [], [], list(answers)

    async def answer(conversation):
        asked.append(type(conversation.request))
        said = left.pop(0)
        if isinstance(said, Exception):
            raise said
        for message in said if isinstance(said, list) else [said]:
            await conversation.send(message)

    async def main():
        with listen(paths.control) as listener:
            async with beside(partial(serve, listener, answer)):
                await wait_for(paths, ID, condition, shown.append)

    anyio.run(main)
    return asked, shown


def machine(*main):
    return StatusReply(Machine("running", 1, 1, 1, (), MainProcess(*main), "kvm", "b", "t"))


def test_started_is_when_it_is_ready(paths):
    assert waited(paths, "started", Done()) == ([WaitReady], [])


def test_healthy_is_what_the_supervisor_says(paths):
    shown = Progress("looking")
    assert waited(paths, "healthy", [shown, Done()]) == ([WaitHealthy], [shown])


def test_one_that_never_becomes_healthy_is_an_error_that_names_it(paths):
    with pytest.raises(MachineError, match="waiting for shop/db: it is unhealthy") as caught:
        waited(paths, "healthy", MachineError("it is unhealthy", hint="sbx status NAME", output="refused"))
    assert (caught.value.hint, caught.value.output) == ("sbx status shop/db", "refused")


def test_completed_is_when_the_main_process_has_ended_well(paths, monkeypatch):
    monkeypatch.setattr(waiting, "_POLL", 0)
    answers = [machine("running"), machine("waiting", 1), machine("running"), machine("exited", 0)]
    assert waited(paths, "completed", *answers) == ([GetStatus] * 4, [])


@pytest.mark.parametrize(
    ("main", "told"), [(("exited", 3), "exited with 3"), (("exited", None), "exited"), (("none",), "was not started")]
)
def test_a_main_process_that_will_not_end_well_is_an_error(paths, main, told):
    with pytest.raises(MachineError, match=told):
        waited(paths, "completed", machine(*main))


@pytest.mark.parametrize("condition", ["started", "healthy", "completed"])
def test_one_that_does_not_run_is_an_error(paths, condition):
    with pytest.raises(ControlError):
        anyio.run(wait_for, paths, ID, condition, lambda _: None)
