"""Walks the graph of a plan: a step runs when all that it needs has succeeded; a failure skips its dependents.

Knows nothing of what steps do. Runs on asyncio and on trio; time comes from the event loop's clock.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio

from sandboxfile.errors import StaleError
from sandboxfile.host.tasks import together
from sandboxfile.model.events import Event, Outcome, StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import Operation, Plan, Step
from sandboxfile.planning import observation_fingerprint

Emit = Callable[[Event], None]


class Drivers(Protocol):
    """What touches the world."""

    async def observe(self, project: str) -> ObservedState:
        """What is there. Changes nothing."""

    async def run(self, operation: Operation, report: Callable[[str], None]) -> None:
        """Do one operation; done already, it does nothing. Raises SandboxfileError."""


async def execute(plan: Plan, drivers: Drivers, emit: Emit, *, parallel: int = 4) -> Outcome:
    """Do the plan's steps, up to `parallel` at a time.

    Raises StaleError, and does nothing, when what they rest on has moved; what none of them concerns may. Failures of
    steps are in the outcome. Cancelled, or when `emit` raises: running steps are cancelled, no other begins.
    """
    observed = await drivers.observe(plan.project)
    if observation_fingerprint(observed, plan.steps) != plan.observation:
        raise StaleError("something changed since the plan was made", hint="plan again")
    walk = _Walk(plan, drivers, emit, anyio.Semaphore(parallel))
    await together(*(partial(walk.step, step) for step in plan.steps))
    keys = [step.key for step in plan.steps]
    return Outcome(
        done=tuple(key for key in keys if key not in walk.failed and key not in walk.skipped),
        failed=tuple((key, walk.failed[key]) for key in keys if key in walk.failed),
        skipped=tuple(key for key in keys if key in walk.skipped),
    )


class _Walk:
    """One execution. `skipped` has, for a step that never ran, the failed one that it needed, directly or not."""

    def __init__(self, plan: Plan, drivers: Drivers, emit: Emit, turns: anyio.Semaphore) -> None:
        self._drivers, self._emit, self._turns = drivers, emit, turns
        self._ended = {step.key: anyio.Event() for step in plan.steps}
        self.failed: dict[str, Exception] = {}
        self.skipped: dict[str, str] = {}

    async def step(self, step: Step) -> None:
        for need in step.needs:
            await self._ended[need].wait()
        failed = [self.skipped.get(need, need) for need in step.needs if need in self.failed or need in self.skipped]
        if failed:
            self.skipped[step.key] = failed[0]
            self._emit(StepSkipped(step.key, failed[0]))
        else:
            async with self._turns:
                await self._run(step)
        self._ended[step.key].set()

    async def _run(self, step: Step) -> None:
        self._emit(StepStarted(step.key, step.reason))
        started = anyio.current_time()
        try:
            await self._drivers.run(step.operation, lambda message: self._emit(StepProgress(step.key, message)))
        except Exception as exc:  # whatever it is, the other branches go on, and the caller is told
            self.failed[step.key] = exc
            self._emit(StepFailed(step.key, exc))
        else:
            self._emit(StepFinished(step.key, anyio.current_time() - started))
