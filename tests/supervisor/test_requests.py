"""What keeps a sandbox awake of all that can be asked, and waiting for its health. The sandbox is acted."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from sandboxfile.control.client import connect, request
from sandboxfile.control.messages import Done, GetStatus, Provide, StatusReply, WaitHealthy
from sandboxfile.control.server import listen, serve
from sandboxfile.errors import MachineError
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import Command, Healthcheck
from sandboxfile.model.observed import Machine, MainProcess
from sandboxfile.supervisor.health import Finding, HealthWatch
from sandboxfile.supervisor.idle import Idle
from sandboxfile.supervisor.requests import answer
from sandboxfile.supervisor.sandbox import Sandbox

pytestmark = pytest.mark.anyio
CHECK = Healthcheck(Command(("probe",)), interval=0.01, retries=1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Acted:
    """A sandbox that is ready; its healthcheck finds `ok`, again and again. `during`: clients at each request."""

    def __init__(self, ok: bool = True) -> None:
        self.ok = ok
        self.during: list[int] = []
        self.idle = Idle(0.0, lambda clients: clients > 0, lambda: None)
        self.health = HealthWatch(CHECK, self._look)

    async def _look(self, _: Healthcheck) -> Finding:
        return Finding(self.ok, "it exited", "words")

    async def guest(self) -> None:
        self.during.append(self.idle.clients)

    async def provide(self, _: Any) -> None:
        self.during.append(self.idle.clients)

    async def status(self) -> Machine:
        self.during.append(self.idle.clients)
        return Machine("running", 1, 1, 1, (), MainProcess(), "kvm", "b", "t", check=self.health.status)


@asynccontextmanager
async def served(sandbox: Acted) -> AsyncIterator[Path]:
    """Its control socket, while it answers and is looked at."""
    with tempfile.TemporaryDirectory(prefix="sbx-", dir="/tmp") as root:
        control = Path(root, "x.sock")
        with listen(control) as listener, anyio.fail_after(20):
            handler = partial(answer, cast(Sandbox, sandbox))
            async with beside(partial(serve, listener, handler), sandbox.health.run):
                sandbox.health.turn("running")
                yield control


async def test_what_is_done_keeps_it_awake_and_what_is_looked_at_does_not() -> None:
    sandbox = Acted()
    async with served(sandbox) as control:
        assert isinstance(await request(control, GetStatus()), StatusReply)
        await request(control, Provide(()))
    assert sandbox.during == [0, 1]
    assert sandbox.idle.clients == 0


async def test_who_waits_for_health_is_told_when_it_comes() -> None:
    sandbox = Acted()
    async with served(sandbox) as control:
        assert await request(control, WaitHealthy()) == Done()
    assert set(sandbox.during) == {1}


async def test_who_waits_in_vain_is_told_why() -> None:
    async with served(Acted(ok=False)) as control:
        with pytest.raises(MachineError, match="unhealthy") as caught:
            await request(control, WaitHealthy())
    assert caught.value.output == "words"


async def test_who_goes_away_waits_no_more() -> None:
    sandbox, waits, waits_no_more = Acted(), anyio.Event(), anyio.Event()

    def busy(clients: int) -> bool:
        (waits if clients else waits_no_more).set()
        return clients > 0

    sandbox.idle = Idle(0.0, busy, lambda: None)
    async with served(sandbox) as control:
        sandbox.health.turn("held")
        async with connect(control) as connection:
            await connection.send(WaitHealthy())
            await waits.wait()
        await waits_no_more.wait()
    assert sandbox.idle.clients == 0
