"""The walk through a plan's graph, in virtual time: order, parallelism, what a failure skips, what cancelling does."""

from functools import partial

import anyio
import pytest
import trio
import trio.testing

from sandboxfile.applying.executor import execute
from sandboxfile.errors import MachineError, StaleError
from sandboxfile.model.events import StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted
from sandboxfile.model.observed import ObservedSandbox, ObservedState
from sandboxfile.model.plan import Plan, Step, StopSandbox
from sandboxfile.names import SandboxId
from sandboxfile.planning import observation_fingerprint

STATE = ObservedState("shop")


class Drivers:
    """Each step takes the seconds that its name says (`c3`: three); a name with `!` fails at its end."""

    def __init__(self, state=STATE):
        self.state = state
        self.log = []

    async def observe(self, project):
        assert project == "shop"
        return self.state

    async def run(self, operation, report):
        name = operation.id.name
        self.log.append((anyio.current_time(), f"+{name}"))
        report(f"half of {name}")
        await anyio.sleep(int("0" + "".join(filter(str.isdigit, name))))
        if name.endswith("!"):
            raise MachineError(name)
        self.log.append((anyio.current_time(), f"-{name}"))


def plan_of(**needs):
    """`b1="a"`: a step b1 that needs a. Keys may end in `_`, written `!`."""
    names = {key: key.replace("_", "!") for key in needs}
    steps = [
        Step(names[key], StopSandbox(SandboxId("shop", names[key])), "because", tuple(value.replace("_", "!").split()))
        for key, value in needs.items()
    ]
    return Plan("shop", observation_fingerprint(STATE, steps), steps=tuple(steps))


def go(plan, drivers, parallel=4):
    """Execute in virtual time; gives the outcome, the events and how long it took."""
    events = []

    async def main():
        outcome = await execute(plan, drivers, events.append, parallel=parallel)
        return outcome, events, trio.current_time() - started

    clock = trio.testing.MockClock(autojump_threshold=0)
    started = clock.current_time()
    return trio.run(main, clock=clock)


def test_independent_steps_run_at_the_same_time_and_dependent_ones_after_what_they_need():
    outcome, _, seconds = go(plan_of(a3="", b4="", c2="a3 b4"), drivers := Drivers())
    assert outcome.ok
    assert outcome.done == ("a3", "b4", "c2")
    assert seconds == 6
    assert {what for _, what in drivers.log[:2]} == {"+a3", "+b4"}
    assert [what for _, what in drivers.log[2:]] == ["-a3", "-b4", "+c2", "-c2"]


@pytest.mark.parametrize(("parallel", "seconds"), [(1, 6), (2, 4), (3, 2)])
def test_no_more_steps_run_at_a_time_than_allowed(parallel, seconds):
    assert go(plan_of(a2="", b2="", c2=""), Drivers(), parallel)[2] == seconds


def test_a_failure_skips_what_needs_it_directly_or_not_and_nothing_else():
    outcome, events, _ = go(plan_of(a1_="", b1="a1_", c1="b1", d1="", e1="d1"), drivers := Drivers())
    assert not outcome.ok
    assert outcome.done == ("d1", "e1")
    assert [(key, str(error)) for key, error in outcome.failed] == [("a1!", "a1!")]
    assert outcome.skipped == ("b1", "c1")
    assert [event for event in events if isinstance(event, StepSkipped)] == [
        StepSkipped("b1", "a1!"),
        StepSkipped("c1", "a1!"),
    ]
    assert not {"+b1", "+c1"} & {what for _, what in drivers.log}


def test_events_tell_each_step_from_begin_to_end():
    _, events, _ = go(plan_of(a3="", b2_="a3"), Drivers())
    assert events[:5] == [
        StepStarted("a3", "because"),
        StepProgress("a3", "half of a3"),
        StepFinished("a3", 3.0),
        StepStarted("b2!", "because"),
        StepProgress("b2!", "half of b2!"),
    ]
    assert isinstance(events[5], StepFailed)


def state_with(name):
    return ObservedState("shop", (ObservedSandbox(SandboxId("shop", name), "stopped", None),))


def test_a_plan_is_refused_when_a_sandbox_of_its_steps_is_not_as_it_was_and_nothing_is_done():
    drivers = Drivers(state_with("a1"))
    with pytest.raises(StaleError):
        go(plan_of(a1=""), drivers)
    assert drivers.log == []


def test_what_no_step_concerns_may_change():
    outcome, _, _ = go(plan_of(a1=""), Drivers(state_with("another")))
    assert outcome.done == ("a1",)


def test_cancelling_ends_running_steps_and_begins_no_other():
    drivers, events = Drivers(), []

    async def main():
        with trio.move_on_after(1.5):
            await execute(plan_of(a1="", b2="", c1="a1", d1="c1"), drivers, events.append)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert {what for _, what in drivers.log} == {"+a1", "+b2", "-a1", "+c1"}
    assert [event.key for event in events if isinstance(event, StepFinished)] == ["a1"]


def test_a_listener_that_fails_ends_the_execution_as_itself():
    def emit(event):
        if isinstance(event, StepFinished):
            raise MachineError("the disk is full")

    with pytest.raises(MachineError, match="the disk is full"):
        trio.run(partial(execute, plan_of(a1="", b1="a1"), Drivers(), emit))


def test_it_runs_on_asyncio_as_well():
    outcome = anyio.run(partial(execute, plan_of(a="", b_="a", c="b_"), Drivers(), lambda event: None))
    assert (outcome.done, outcome.skipped) == (("a",), ("c",))
