"""A healthcheck over time, by Docker's rules, in virtual time. What the command finds is acted."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import anyio
import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.errors import GuestError, MachineError
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import Command, Healthcheck
from sandboxfile.model.observed import MainProcess
from sandboxfile.supervisor.health import (
    Changed,
    Event,
    Finding,
    HealthWatch,
    Looked,
    Looking,
    Situation,
    Turned,
    begin,
    pause,
    situation_of,
    step,
)
from sandboxfile.supervisor.lifecycle import Life

CHECK = Healthcheck(Command(("check",)), interval=10.0, timeout=3.0, retries=3)
OTHER = Healthcheck(Command(("other",)), interval=10.0)


@pytest.fixture
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


def play(state: Looking, *events: Event) -> Looking:
    for event in events:
        state = step(state, event)
    return state


def look(ok: bool, began: float = 100.0) -> Looked:
    return Looked(ok, began, began + 1)


BEGUN = play(begin(CHECK), Turned("running", 0))
HEALTHY = play(BEGUN, look(True))


# --- the state machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "events", "status"),
    [
        pytest.param(begin(None), [Turned("running", 0)], "none", id="no check"),
        pytest.param(begin(CHECK), [], "starting", id="before anything runs"),
        pytest.param(BEGUN, [], "starting", id="not looked yet"),
        pytest.param(BEGUN, [look(True)], "healthy", id="the first success"),
        pytest.param(BEGUN, [look(False)] * 2, "starting", id="two failures of three"),
        pytest.param(BEGUN, [look(False)] * 3, "unhealthy", id="three failures"),
        pytest.param(HEALTHY, [look(False)] * 2, "healthy", id="healthy until the third failure"),
        pytest.param(HEALTHY, [look(False)] * 3, "unhealthy", id="no longer healthy"),
        pytest.param(HEALTHY, [look(False), look(False), look(True), look(False)], "healthy", id="in a row"),
        pytest.param(HEALTHY, [*[look(False)] * 3, look(True)], "healthy", id="one success is enough"),
        pytest.param(HEALTHY, [Turned("before", 5)], "starting", id="its process is started again"),
        pytest.param(HEALTHY, [Turned("over", 5)], "unhealthy", id="its process has ended for good"),
        pytest.param(HEALTHY, [Turned("held", 5), Turned("running", 6)], "healthy", id="paused and resumed"),
        pytest.param(HEALTHY, [Turned("held", 5), look(False)], "healthy", id="a look at what is paused says nothing"),
        pytest.param(HEALTHY, [Changed(None, 5)], "none", id="the check is taken away"),
        pytest.param(HEALTHY, [Changed(OTHER, 5)], "starting", id="another command is asked anew"),
        pytest.param(
            HEALTHY, [Changed(replace(CHECK, interval=1.0), 5)], "healthy", id="another interval changes no answer"
        ),
        pytest.param(begin(None), [Turned("running", 0), Changed(CHECK, 5)], "starting", id="a check comes"),
        pytest.param(begin(None), [Turned("over", 0), Changed(CHECK, 5)], "unhealthy", id="a check of what has ended"),
    ],
)
def test_what_happens_makes_it_healthy_or_not(state: Looking, events: list[Event], status: str) -> None:
    assert play(state, *events).status == status


def test_failures_of_looks_that_began_in_the_start_period_do_not_count_until_one_has_succeeded() -> None:
    begun = play(begin(replace(CHECK, start_period=60.0)), Turned("running", 0))
    early = play(begun, *[look(False, moment) for moment in (10.0, 30.0, 59.9)])
    assert (early.status, early.failures) == ("starting", 0)
    assert play(early, *[look(False, 60.0)] * 3).status == "unhealthy"
    assert play(begun, look(True, 5.0), *[look(False, 10.0)] * 3).status == "unhealthy"


def test_the_next_look_is_an_interval_after_the_last_and_sooner_in_the_start_period() -> None:
    assert pause(BEGUN, 0) == 10
    assert pause(BEGUN, 4) == 6
    assert pause(HEALTHY, 101) == 10
    assert pause(HEALTHY, 500) == 0
    slow = play(begin(replace(CHECK, start_period=60.0)), Turned("running", 0))
    assert pause(slow, 0) == 5
    assert pause(replace(slow, status="healthy"), 0) == 10
    for nothing in (begin(CHECK), begin(None), play(BEGUN, Turned("held", 1)), play(BEGUN, Turned("over", 1))):
        assert pause(nothing, 0) is None


@pytest.mark.parametrize(
    ("life", "in_setup", "expected"),
    [
        (Life(), False, "before"),
        (Life("running"), False, "running"),
        (Life("running"), True, "before"),
        (Life("paused"), False, "held"),
        (Life("stopping"), False, "held"),
        (Life("running", has_command=True), False, "before"),
        (Life("running", MainProcess("running"), has_command=True), True, "running"),
        (Life("running", MainProcess("waiting", 1), has_command=True), False, "before"),
        (Life("running", MainProcess("exited", 0), has_command=True), False, "over"),
        (Life("paused", MainProcess("running"), has_command=True), False, "held"),
    ],
)
def test_looked_at_is_the_main_process_or_else_the_machine(life: Life, in_setup: bool, expected: Situation) -> None:
    assert situation_of(life, in_setup=in_setup) == expected


EVENTS = st.one_of(
    st.builds(Turned, st.sampled_from(["before", "running", "held", "over"]), st.floats(0, 1e6)),
    st.builds(Changed, st.sampled_from([None, CHECK, OTHER, replace(CHECK, retries=1)]), st.floats(0, 1e6)),
    st.builds(Looked, st.booleans(), st.floats(0, 1e6), st.floats(0, 1e6)),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happens_there_is_a_status_exactly_when_there_is_a_check(events: list[Event]) -> None:
    state = begin(CHECK)
    for event in events:
        before, state = state, step(state, event)
        assert (state.status == "none") == (state.check is None)
        if state.status == "healthy" and before.status != "healthy":
            assert isinstance(event, Looked)
            assert event.ok
        if state.check is not None and state.situation == "running":
            assert (state.status == "unhealthy") <= (state.failures > 0)


# --- the runner --------------------------------------------------------------------------------------------------


@dataclass
class Inside:
    """A command that takes `seconds` and then finds `ok`; `moments` are those at which it was started."""

    ok: bool = True
    seconds: float = 1.0
    lost: bool = False
    moments: list[float] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)

    async def __call__(self, check: Healthcheck) -> Finding:
        self.moments.append(anyio.current_time())
        self.commands.append(check.command.argv[0])
        await anyio.sleep(self.seconds)
        if self.lost:
            raise GuestError("the connection broke")
        return Finding(self.ok, "it exited with 0" if self.ok else "it exited with 1", "words")


async def usable() -> None:
    pass


async def watched(inside: Inside, work: Callable[[HealthWatch], object], check: Healthcheck | None = CHECK) -> float:
    """Do `work` beside the runner of what runs from the beginning; gives when that was."""
    watch = HealthWatch(check, inside)
    began = anyio.current_time()
    async with beside(watch.run):
        watch.turn("running")
        await work(watch)  # type: ignore[misc]
    return began


@pytest.mark.anyio
async def test_it_looks_again_an_interval_after_the_end_of_a_look() -> None:
    inside = Inside(seconds=2.0)
    began = await watched(inside, lambda _: anyio.sleep(40))
    assert [moment - began for moment in inside.moments] == [10, 22, 34]


@pytest.mark.anyio
async def test_who_waits_is_told_of_the_first_success() -> None:
    inside = Inside(ok=False)

    async def work(watch: HealthWatch) -> None:
        with anyio.move_on_after(15):
            await watch.wait(usable)
        assert watch.status == "starting"
        assert watch.failure == "it exited with 1\nwords"
        inside.ok = True
        await watch.wait(usable)
        assert (watch.status, watch.failure) == ("healthy", "")

    await watched(inside, work)


@pytest.mark.anyio
@pytest.mark.parametrize("inside", [Inside(ok=False), Inside(lost=True)], ids=["fails", "cannot be run"])
async def test_who_waits_is_told_why_it_never_comes(inside: Inside) -> None:
    async def work(watch: HealthWatch) -> None:
        with pytest.raises(MachineError, match="it is unhealthy") as caught:
            await watch.wait(usable)
        assert ("it exited with 1" in str(caught.value)) != ("the connection broke" in str(caught.value))

    await watched(inside, work)
    assert len(inside.moments) == 3


@pytest.mark.anyio
async def test_who_waits_is_told_that_nobody_looks_and_that_it_stops() -> None:
    stopping = False

    async def still_usable() -> None:
        if stopping:
            raise MachineError("the sandbox is stopping")

    async def work(watch: HealthWatch) -> None:
        nonlocal stopping
        with pytest.raises(MachineError, match="no healthcheck"):
            await watch.wait(usable)
        watch.change(replace(CHECK, interval=math.inf))

        async def stop() -> None:
            nonlocal stopping
            await anyio.sleep(5)
            stopping = True
            watch.turn("before")

        with pytest.raises(MachineError, match="stopping"):
            async with beside(stop):
                await watch.wait(still_usable)

    await watched(Inside(), work, check=None)


@pytest.mark.anyio
async def test_a_look_at_what_has_changed_is_given_up_and_counts_for_nothing() -> None:
    inside = Inside(ok=False, seconds=8.0)

    async def work(watch: HealthWatch) -> None:
        await anyio.sleep(15)  # the first look is under way
        watch.change(OTHER)
        assert watch.failure == ""
        await anyio.sleep(5)
        inside.ok = True
        await watch.wait(usable)

    began = await watched(inside, work)
    assert [moment - began for moment in inside.moments] == [10, 25]
    assert inside.commands == ["check", "other"]


@pytest.mark.anyio
async def test_nothing_is_looked_at_while_the_machine_is_paused_or_the_process_is_not_there() -> None:
    inside = Inside()

    async def work(watch: HealthWatch) -> None:
        for situation in ("held", "before", "over"):
            watch.turn(situation)  # type: ignore[arg-type]
            await anyio.sleep(1000)

    await watched(inside, work)
    assert inside.moments == []


@pytest.mark.anyio
async def test_another_interval_counts_at_once() -> None:
    inside = Inside(seconds=0.0)

    async def work(watch: HealthWatch) -> None:
        await anyio.sleep(15)
        watch.change(replace(CHECK, interval=2.0))
        await anyio.sleep(4.5)

    began = await watched(inside, work)
    assert [moment - began for moment in inside.moments] == [10, 15, 17, 19]
