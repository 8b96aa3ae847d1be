"""The main process over time, in virtual time: restarts, back-off, stop. The machine and the process are acted."""

import math
from dataclasses import dataclass, field

import anyio
import pytest
import trio.testing

from sandboxfile.errors import GuestError
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import Restart
from sandboxfile.supervisor.conductor import Conductor
from sandboxfile.supervisor.lifecycle import GuestReady, Life, MachineDied, MainWanted, SleepAsked, StopAsked

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


@dataclass
class Actor:
    """A machine whose main process lives `lives` seconds each time and exits with `code`."""

    lives: list[float]
    code: int = 1
    lost: bool = False
    history: list[tuple[float, str]] = field(default_factory=list)
    asked: anyio.Event = field(default_factory=anyio.Event)
    conductor: Conductor | None = None

    def note(self, what: str) -> None:
        self.history.append((round(anyio.current_time() - self.begin, 3), what))

    def __post_init__(self) -> None:
        self.begin = anyio.current_time()

    async def run_main(self) -> int:
        self.note("start")
        with anyio.move_on_after(self.lives.pop(0) if self.lives else math.inf):
            await self.asked.wait()
            await anyio.sleep(0.5)
            self.note("ended")
            return 143
        if self.lost:
            raise GuestError("the connection broke")
        return self.code

    async def end_main(self) -> None:
        self.note("end")
        self.asked.set()

    async def resume_machine(self) -> None:
        self.note("resume")

    async def mark_asleep(self) -> None:
        await anyio.sleep(1)
        self.note("asleep")

    async def power_off(self) -> None:
        self.note("power off")
        await anyio.sleep(2)
        assert self.conductor is not None
        self.conductor.tell(MachineDied())


async def play(actor: Actor, restart: Restart, stop_after: float) -> Conductor:
    async with beside() as group:
        conductor = actor.conductor = Conductor(Life(restart=restart, has_command=True), actor, group)
        conductor.tell(GuestReady())
        conductor.tell(MainWanted())
        await anyio.sleep(stop_after)
        conductor.tell(StopAsked())
        with anyio.fail_after(100):
            await conductor.finished.wait()
    return conductor


async def test_a_failing_process_is_tried_again_with_longer_and_longer_pauses() -> None:
    actor = Actor([1.0, 1.0, 1.0, 20.0, 1.0])
    conductor = await play(actor, "on-failure", stop_after=60)
    starts = [moment for moment, what in actor.history if what == "start"]
    assert starts == [0, 1.1, 2.3, 3.7, 23.8, 25.0]
    assert conductor.life.main.restarts == 5
    assert actor.history[-3:] == [(60.0, "end"), (60.5, "ended"), (60.5, "power off")]


async def test_success_is_final_on_failure_and_not_with_always() -> None:
    once = Actor([1.0, 1.0], code=0)
    await play(once, "on-failure", stop_after=30)
    again = Actor([1.0, 1.0], code=0)
    await play(again, "always", stop_after=30)
    assert [what for _, what in once.history] == ["start", "power off"]
    assert [moment for moment, what in again.history if what == "start"] == [0, 1.1, 2.3]


async def test_a_stop_during_the_pause_starts_nothing_any_more() -> None:
    actor = Actor([0.0] * 50)
    await play(actor, "always", stop_after=30)
    last_start = max(moment for moment, what in actor.history if what == "start")
    assert last_start < 30
    assert actor.history[-1] == (30.0, "power off")


async def test_a_process_that_is_lost_counts_as_failed(capsys: pytest.CaptureFixture[str]) -> None:
    actor = Actor([1.0], lost=True)
    conductor = await play(actor, "on-failure", stop_after=10)
    assert [moment for moment, what in actor.history if what == "start"] == [0, 1.1]
    assert conductor.life.main.restarts == 1


async def test_the_machines_death_ends_everything_at_once() -> None:
    actor = Actor([math.inf])
    async with beside() as group:
        conductor = Conductor(Life(restart="always", has_command=True), actor, group)
        conductor.tell(GuestReady())
        conductor.tell(MainWanted())
        await anyio.sleep(5)
        conductor.tell(MachineDied())
        await conductor.finished.wait()
    assert [what for _, what in actor.history] == ["start"]
    assert conductor.life.gone


async def test_that_it_sleeps_is_on_disk_before_the_machine_ends_and_every_step_is_told() -> None:
    actor, told = Actor([5.0], code=0), []
    async with beside() as group:
        conductor = actor.conductor = Conductor(Life(has_command=True), actor, group)
        conductor.on_step = lambda: told.append((conductor.life.health, conductor.life.main.status))
        for event in (GuestReady(), MainWanted(), SleepAsked()):
            conductor.tell(event)
        await anyio.sleep(10)
        conductor.tell(SleepAsked())
        with anyio.fail_after(10):
            await conductor.finished.wait()
    assert actor.history == [(0, "start"), (11, "asleep"), (11, "power off")]
    assert told == [
        ("running", "none"),
        ("running", "running"),
        ("running", "running"),
        ("running", "exited"),
        ("stopping", "exited"),
        ("stopping", "exited"),
    ]
