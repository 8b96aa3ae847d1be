"""Looks on at every apply of a history: what must hold at every moment, and what nobody may delete."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from sandboxfile.applying import executor
from sandboxfile.model.events import Event, Outcome
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import DeleteSandbox, Plan
from sandboxfile.names import SandboxId
from sandboxfile.planning import observation_fingerprint

from .asking import FOR_GOOD, INTENT, PLAN
from .checks import Broken, Watch
from .fake_host import FakeHost
from .pools import PROJECT


class Guard:
    """Of one host. `executing`: how many plans are carried out now; `open` are the steps of the last one."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self.executing = 0
        self.open: dict[str, None] = {}
        self._records: dict[SandboxId, Applied | None] = {}
        self._checkpoints: dict[SandboxId, int] = {}
        host.may_delete, host.may_delete_volume = self.may_delete, self.may_delete_volume

    def check(self, holds: bool, otherwise: str) -> None:
        """Note what must not be. Raised here, it would count as a failure of the world."""
        if not holds:
            self._host.violations.append(otherwise)

    def must_hold(self) -> None:
        """Raises Broken."""
        if self._host.violations:
            raise Broken("; ".join(self._host.violations))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look on at every execution."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executor, "execute", partial(self._execute, executor.execute))
            yield

    async def _execute(self, really: Any, plan: Plan, drivers: Any, emit: Any, *, parallel: int) -> Outcome:
        watch = Watch(plan, parallel, self.check, lambda: self._fingerprint(plan), self._host.boxes)
        self.executing += plan.project == PROJECT
        self.open = watch.open if plan.project == PROJECT else {}  # another one has another journal
        self.check(self.executing == 1 or plan.project != PROJECT, "two applies of one project at once")
        token = PLAN.set(plan)
        self._records = {id: box.record for id, box in self._host.boxes.items()}
        self._checkpoints = {id: self._host.checkpoints(id) for id in self._host.boxes}

        def note(event: Event) -> None:
            watch.see(event)
            emit(event)

        try:
            outcome: Outcome = await really(plan, drivers, note, parallel=parallel)
        finally:
            self.executing -= plan.project == PROJECT
            PLAN.reset(token)
        watch.agree(outcome)
        return outcome

    def _fingerprint(self, plan: Plan) -> str:
        return observation_fingerprint(self._host.observe_now(plan.project), plan.steps)

    def may_delete(self, id: SandboxId, checkpoints: bool) -> str | None:
        """What is wrong with deleting this one now, if anything is."""
        plan, intent = PLAN.get(), INTENT.get()
        if plan is None or intent is None:
            return f"{id} is deleted outside of any plan"
        told = [change for change in plan.changes if change.loses_disk and change.subject == f"sandbox {id.name}"]
        if not told:
            return f"the disk of {id} is lost, and the plan did not say so"
        if checkpoints != (intent.action in FOR_GOOD):
            return f"{id} is deleted {'with' if checkpoints else 'without'} its checkpoints"
        if told[0].checkpoints != (self._checkpoints.get(id, 0) if checkpoints else 0):
            return f"the plan did not say how many checkpoints of {id} are lost"
        wanted = {spec.id: spec for spec in intent.desired.sandboxes}
        if not intent.means(id):
            return f"{id} is deleted, and only {intent.scope} were asked for"
        if id not in wanted and not intent.deletes_any:
            return f"the orphan {id} is deleted unasked"
        record = self._records.get(id)  # as it was when the plan was found to be fresh
        in_file = intent.action in ("up", "down") and id in wanted and wanted[id].protect
        protected = record is None or record.spec.protect or in_file
        if protected and not intent.allow_destroy:
            return f"the protected {id} is deleted"
        return None

    def may_delete_volume(self, name: str) -> str | None:
        """The same of a volume."""
        plan, intent = PLAN.get(), INTENT.get()
        if plan is None or intent is None or not intent.volumes:
            return f"the volume {name} is deleted unasked"
        if not any(change.loses_disk and change.subject == f"volume {name}" for change in plan.changes):
            return f"the volume {name} is lost, and the plan did not say so"
        gone = {step.operation.id for step in plan.steps if isinstance(step.operation, DeleteSandbox)}
        for id, box in self._host.boxes.items():
            if id not in gone and box.record and any(mount.volume == name for mount in box.record.spec.mounts):
                return f"the volume {name} of {id} is deleted"
        return None
