"""Walks the graph of a plan: a step runs when all that it needs has succeeded; a failure skips its dependents.

Knows nothing of what steps do. Runs on asyncio and on trio; time comes from the event loop's clock.
"""

from collections.abc import Callable
from typing import Protocol

import anyio

from sandboxfile.errors import StaleError
from sandboxfile.model.events import Event, Outcome, StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import Operation, Plan, Step
from sandboxfile.planning import observation_fingerprint

Emit = Callable[[Event], None]


class Drivers(Protocol):
    """What touches the world. `run` does one operation; done already, it does nothing."""

    async def observe(self, project: str) -> ObservedState: ...

    async def run(self, operation: Operation, report: Callable[[str], None]) -> None: ...


async def execute(plan: Plan, drivers: Drivers, emit: Emit, *, parallel: int = 4) -> Outcome:
    """Do the plan's steps, up to `parallel` at a time.

    Raises StaleError, and does nothing, when what the plan was made from has moved. Failures of steps are in the
    outcome. Cancelled: running steps are cancelled, no other begins.
    """
    observed = await drivers.observe(plan.project)
    if observation_fingerprint(observed) != plan.observation:
        raise StaleError("something changed since the plan was made", hint="plan again")
    walk = _Walk(plan, drivers, emit, anyio.Semaphore(parallel))
    async with anyio.create_task_group() as group:
        for step in plan.steps:
            group.start_soon(walk.step, step)
    done = tuple(step.key for step in plan.steps if walk.results[step.key] is None)
    failed = tuple(
        (step.key, error) for step in plan.steps if (error := walk.results[step.key]) and error is not _SKIPPED
    )
    skipped = tuple(step.key for step in plan.steps if walk.results[step.key] is _SKIPPED)
    return Outcome(done, failed, skipped)


_SKIPPED = Exception("skipped")


class _Walk:
    """One execution: an event per step, its result beside it (None: done)."""

    def __init__(self, plan: Plan, drivers: Drivers, emit: Emit, turns: anyio.Semaphore) -> None:
        self.drivers, self.emit, self.turns = drivers, emit, turns
        self.ended = {step.key: anyio.Event() for step in plan.steps}
        self.results: dict[str, Exception | None] = {}

    async def step(self, step: Step) -> None:
        for need in step.needs:
            await self.ended[need].wait()
            if self.results[need] is not None:
                self.emit(StepSkipped(step.key, need))
                self._end(step, _SKIPPED)
                return
        async with self.turns:
            self._end(step, await self._run(step))

    async def _run(self, step: Step) -> Exception | None:
        self.emit(StepStarted(step.key, step.reason))
        started = anyio.current_time()
        try:
            await self.drivers.run(step.operation, lambda message: self.emit(StepProgress(step.key, message)))
        except Exception as exc:  # whatever it is, the other branches go on, and the caller is told
            self.emit(StepFailed(step.key, exc))
            return exc
        self.emit(StepFinished(step.key, anyio.current_time() - started))
        return None

    def _end(self, step: Step, result: Exception | None) -> None:
        self.results[step.key] = result
        self.ended[step.key].set()
