"""When a sandbox goes to sleep, in virtual time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import pytest
import trio.testing

from sandboxfile.host.tasks import beside
from sandboxfile.model.observed import AgentSession, MainProcess
from sandboxfile.supervisor.idle import Idle, Quiet, is_busy, limited, noticed, sleeps_in
from sandboxfile.supervisor.lifecycle import Life

LIMIT = 60.0
AT_REST = Life("running")


@pytest.fixture
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@pytest.mark.parametrize(
    ("life", "session", "clients", "busy"),
    [
        pytest.param(AT_REST, "none", 0, False, id="nothing is done"),
        pytest.param(AT_REST, "none", 1, True, id="somebody's command, setup or connection"),
        pytest.param(AT_REST, "detached", 0, True, id="an agent with nobody there"),
        pytest.param(AT_REST, "attached", 0, True, id="an agent with somebody there"),
        pytest.param(Life("starting"), "none", 0, True, id="on its way up"),
        pytest.param(Life("stopping"), "none", 0, True, id="on its way down"),
        pytest.param(Life("paused"), "none", 0, True, id="paused by somebody"),
        pytest.param(Life("running", has_command=True), "none", 0, True, id="its main process is still to come"),
        pytest.param(Life("running", MainProcess("running"), has_command=True), "none", 0, True, id="it runs"),
        pytest.param(Life("running", MainProcess("running")), "none", 0, True, id="it runs, and is no longer wanted"),
        pytest.param(Life("running", MainProcess("waiting", 1), "always", True), "none", 0, True, id="it comes again"),
        pytest.param(Life("running", MainProcess("exited", 1), has_command=True), "none", 0, False, id="it has ended"),
    ],
)
def test_what_is_done_keeps_it_awake(life: Life, session: AgentSession, clients: int, busy: bool) -> None:
    assert is_busy(life, session, clients) is busy


def test_it_sleeps_its_limit_after_the_last_thing_ended() -> None:
    quiet = noticed(Quiet(LIMIT), False, 10)
    assert sleeps_in(quiet, 10) == 60
    assert sleeps_in(noticed(quiet, False, 40), 50) == 20
    assert sleeps_in(quiet, 500) == 0
    busy = noticed(quiet, True, 20)
    assert sleeps_in(busy, 500) is None
    assert sleeps_in(noticed(busy, False, 30), 30) == 60


def test_another_limit_counts_from_now_and_none_is_never() -> None:
    quiet = noticed(Quiet(LIMIT), False, 0)
    assert sleeps_in(limited(quiet, 0.0, 50), 1e9) is None
    assert sleeps_in(limited(quiet, 120.0, 50), 50) == 120
    assert limited(quiet, LIMIT, 50) == quiet
    assert sleeps_in(limited(Quiet(LIMIT), 120.0, 50), 50) is None


@dataclass
class Box:
    """A sandbox: `busy` besides its clients; `slept` are the moments at which it was put to sleep."""

    limit: float = LIMIT
    busy: bool = False
    slept: list[float] = field(default_factory=list)

    async def live(self, work: Callable[[Idle], Awaitable[object]]) -> list[float]:
        began = anyio.current_time()

        def sleep() -> None:
            self.slept.append(anyio.current_time() - began)

        idle = Idle(self.limit, lambda clients: self.busy or clients > 0, sleep)
        async with beside(idle.run):
            idle.look()
            await work(idle)
        return self.slept


@pytest.mark.anyio
async def test_it_is_put_to_sleep_once_nothing_was_done_for_so_long() -> None:
    async def work(idle: Idle) -> None:
        await anyio.sleep(50)
        with idle.during():
            await anyio.sleep(200)
        await anyio.sleep(59)
        with idle.during():  # a command that takes no time is something, too
            pass
        await anyio.sleep(61)

    assert await Box().live(work) == [50 + 200 + 59 + 60]


@pytest.mark.anyio
async def test_of_several_clients_the_last_counts() -> None:
    async def work(idle: Idle) -> None:
        with idle.during():
            with idle.during():
                await anyio.sleep(100)
            await anyio.sleep(100)
        await anyio.sleep(100)

    assert await Box().live(work) == [260]


@pytest.mark.anyio
async def test_one_that_refuses_to_sleep_is_asked_again_after_as_long() -> None:
    assert await Box().live(lambda _: anyio.sleep(130)) == [60, 120]


@pytest.mark.anyio
async def test_what_runs_by_itself_counts_from_its_end() -> None:
    box = Box(busy=True)

    async def work(idle: Idle) -> None:
        await anyio.sleep(1000)
        box.busy = False
        idle.look()
        await anyio.sleep(70)

    assert await box.live(work) == [1060]


@pytest.mark.anyio
async def test_a_limit_comes_and_goes_while_it_runs() -> None:
    async def work(idle: Idle) -> None:
        await anyio.sleep(1000)
        idle.change(300.0)
        await anyio.sleep(299)
        idle.change(0.0)
        await anyio.sleep(1000)
        idle.change(60.0)
        await anyio.sleep(61)

    assert await Box(limit=0.0).live(work) == [1000 + 299 + 1000 + 60]
