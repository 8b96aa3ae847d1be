"""Lives a history on the fake host, through the real pipeline, and checks what must hold, always and in the end."""

import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from sandboxfile import pipeline
from sandboxfile.applying import executor
from sandboxfile.applying.journal import interrupted_steps
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.host.layout import Layout
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.events import Event, Outcome
from sandboxfile.model.history import Before
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.names import SandboxId
from sandboxfile.planning import observation_fingerprint
from sandboxfile.planning.selection import select

from .attempt import ATTEMPT, Attempt, Strike
from .checks import Broken, Watch, differences, setup_problem
from .fake_host import FakeHost, beneath_the_real_thing
from .fake_supervisor import Box, Disk, Supervisor
from .histories import GIB, PROJECT, TEMPLATES, History, Round, edited, rightly, volumes

_ATTEMPTS = 5  # as the command line: how often a plan that others overtook is made anew
_GIVES_UP = 3000.0  # seconds after which a person presses Ctrl-C
_SETTLED = 3000.0  # seconds after which nothing that was begun is still going on
VERBS = ("start", "stop", "restart", "remove")  # planned from what is there, whatever the file says
_FILES = ("/p/sandbox.yaml", "/q/sandbox.yaml")


@dataclass(frozen=True)
class Intent:
    """What the user asked for with a plan: the measure of what it may destroy."""

    desired: DesiredState
    deletes_any: bool
    of_what_is_there: bool
    allow_destroy: bool
    only: tuple[str, ...] = ()


INTENT: ContextVar[Intent | None] = ContextVar("intent", default=None)
PLAN: ContextVar[Plan | None] = ContextVar("plan", default=None)


def live(history: History) -> list[int]:
    """Live it through, and give how many places to strike at the steps of each round had. Raises Broken."""
    # Trio reverses the order of ready tasks at random, and has no public way to repeat that.
    trio._core._run._r.seed(history.seed)
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="sbx-") as root:
        try:
            return trio.run(_live, history, Path(root), clock=trio.testing.MockClock(autojump_threshold=0))
        except ExceptionGroup as several:
            raise _first(several) from several


def strike_everywhere(history: History) -> None:
    """At each place of its last round: kill the client, fail the step, kill the supervisor. Then go on, or go back."""
    *before, last = history.rounds
    for place in range(1, live(history)[-1] + 1):
        for kind in ("kill client", "fail", "kill"):
            struck = replace(last, strikes=(Strike(True, place, kind),))
            live(replace(history, rounds=(*before, struck)))
            live(replace(history, rounds=(*before, struck, Round(undo=True, pause=100.0))))


def _first(failure: Exception) -> Exception:
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _memory() -> str | None:
    """Where files cost no disk writes: the journal is a real one, synced at each line."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def _live(history: History, root: Path) -> list[int]:
    layout = Layout(root / "state", root / "cache", root / "run")
    with trio.move_on_after(1e7) as ample:
        async with trio.open_nursery() as nursery:
            host = FakeHost(layout, nursery, history.seed)
            with beneath_the_real_thing(host):
                life = Life(history, host)
                with life.watching():
                    for round in history.rounds:
                        await life.go_on(round)
                    await life.end()
            nursery.cancel_scope.cancel()
    if ample.cancelled_caught:
        raise Broken("it hangs")
    return life.places[: len(history.rounds)]


class Life:
    """A project and its user."""

    def __init__(self, history: History, host: FakeHost) -> None:
        self.host, self.layout = host, host.layout
        self.source = _FILES[0]
        self.host.files.add(self.source)
        self.file = self.earlier = rightly(history.file)
        self.volume = 1
        self.places: list[int] = []
        self.executing = 0
        self.others = 0
        self.open: dict[str, None] = {}
        self.records: dict[SandboxId, Applied | None] = {}
        host.may_delete = self._may_delete
        host.other_apply = self._other_apply

    @property
    def desired(self) -> DesiredState:
        return DesiredState(PROJECT, self.source, self.file, TEMPLATES, volumes(self.volume))

    # --- what happens --------------------------------------------------------------------------------------------

    async def go_on(self, round: Round) -> None:
        """One round of a history."""
        await trio.sleep(round.pause)
        self.earlier, self.file = self.file, rightly(edited(self.earlier if round.undo else self.file, round.edits))
        self.volume = max(self.volume, round.volume)
        if round.action == "move file":
            self.host.files.discard(self.source)
            self.source = _FILES[1 - _FILES.index(self.source)]
            self.host.files.add(self.source)
        names = {spec.id.name for spec in self.file}
        round = replace(round, only=tuple(name for name in round.only if name in names))
        if round.action == "up" and not round.only and not round.remove_orphans:
            await self._plan_is_refused_rightly(round)
        before = self.host.history.before if round.action == "rollback" else None
        there = {**self.host.boxes, **self.host.history.aside}
        outcome = await self._attempt(self._maker(round), self._intent(round), round)
        self._must_hold()
        if before is not None and outcome is not None and outcome.ok and not (round.strikes or self.others):
            self._as_it_was(before, there, round.allow_destroy)

    def _as_it_was(self, before: Before, there: Mapping[SandboxId, Box], allow_destroy: bool) -> None:
        """After a rollback: all that was there is, with the disk that it had, unless that is gone for good; and of
        what was made since only what is protected.
        """
        for was in before.sandboxes:
            box = self.host.boxes.get(was.id)
            if box is None or box.record is None:
                raise Broken(f"{was.id} did not come back")
            if was.id in there and was.is_same(there[was.id].record) and not was.is_same(box.record):
                raise Broken(f"{was.id} came back without its disk")
            if replace(box.record.spec, resources=was.applied.spec.resources) != was.applied.spec:
                raise Broken(f"{was.id} has other settings than before")
            if was.running != (box.supervisor is not None) and not box.asleep:
                raise Broken(f"{was.id} runs, or does not, unlike before")

        ids = {was.id for was in before.sandboxes}
        others = [box.record for id, box in self.host.boxes.items() if id not in ids and box.record]
        if any(record.created_at >= before.at and (allow_destroy or not record.spec.protect) for record in others):
            raise Broken("something was made since, and is there")

    def _maker(self, round: Round) -> Callable[[], Awaitable[list[Plan]]]:
        if round.action == "rollback":
            return self._make_rollback(round.allow_destroy)
        if round.action in VERBS:
            verb: Any = round.action
            ids = [SandboxId(PROJECT, name) for name in round.only] or sorted(self.host.boxes)
            return lambda: pipeline.make_verb_plans(verb, ids, self.layout, allow_destroy=round.allow_destroy)
        options = PlanOptions(
            "down" if round.action == "down" else "up", round.only, round.remove_orphans, round.allow_destroy
        )
        desired = self.desired

        async def make() -> list[Plan]:
            return [await pipeline.make_plan(desired, self.layout, options)]

        return make

    def _make_rollback(self, allow_destroy: bool) -> Callable[[], Awaitable[list[Plan]]]:
        async def make() -> list[Plan]:
            return [await pipeline.make_rollback(PROJECT, self.layout, allow_destroy=allow_destroy)]

        return make

    def _intent(self, round: Round) -> Intent:
        deletes_any = round.action in ("down", "remove", "rollback") or round.remove_orphans
        named = round.only if round.action != "rollback" else ()  # which is of all
        if round.action == "up" and named:  # with what they depend on
            named = tuple(spec.id.name for spec in select(self.desired, PlanOptions(only=named)).chosen)
        return Intent(self.desired, deletes_any, round.action in (*VERBS, "rollback"), round.allow_destroy, named)

    async def _attempt(self, make: Callable[[], Awaitable[list[Plan]]], intent: Intent, round: Round) -> Outcome | None:
        """As the command line does it with --yes. None when it was refused, struck down or overtaken."""
        attempt = Attempt(round.strikes, self.layout.journal(PROJECT))
        tokens = ATTEMPT.set(attempt), INTENT.set(intent)
        open_at_kill: list[tuple[str, ...]] = []
        attempt.at_kill = lambda: open_at_kill.append(tuple(self.open)) if self.executing == 1 else None
        outcome = None
        try:
            with attempt.scope, trio.move_on_after(_GIVES_UP):
                outcome = await self._plan_and_apply(make, round)
        except SandboxfileError:
            outcome = None
        finally:
            ATTEMPT.reset(tokens[0])
            INTENT.reset(tokens[1])
        attempt.leave_as_killed()
        self.places.append(attempt.points if attempt.late else 0)
        if open_at_kill and open_at_kill[0] and not self.executing and not self.others:
            told = interrupted_steps(self.layout.journal(PROJECT))
            self._check(told == open_at_kill[0], f"the journal says {told}, killed at {open_at_kill[0]}")
        return outcome

    async def _plan_and_apply(self, make: Callable[[], Awaitable[list[Plan]]], round: Round) -> Outcome | None:
        for attempt in range(_ATTEMPTS):
            plans = await make()
            if refused := [plan for plan in plans if has_errors(plan.diagnostics)]:
                self._check(not any(plan.steps for plan in refused), "a refused plan has steps")
                return None
            outcome = None
            await self.host.point()
            await trio.sleep(round.thought)
            await self.host.point()
            try:
                for plan in plans:
                    outcome = await pipeline.apply_plan(
                        plan, self.layout, lambda _: None, lock_timeout=round.patience, parallel=round.parallel
                    )
                return outcome or Outcome((), (), ())
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _other_apply(self, which: int) -> None:
        """Another user of the same project, with this file, an earlier one, or one that protects all of it."""
        desired = self.desired
        if which % 3 == 1:
            desired = replace(desired, sandboxes=self.earlier)
        if which % 3 == 2:
            desired = replace(desired, sandboxes=tuple(replace(spec, protect=True) for spec in self.earlier))
        round = Round(patience=300.0 if which < 3 else 0.0)
        intent = Intent(desired, deletes_any=False, of_what_is_there=False, allow_destroy=False)

        async def make() -> list[Plan]:
            return [await pipeline.make_plan(desired, self.layout, PlanOptions())]

        async def other() -> None:
            ATTEMPT.set(None)
            INTENT.set(intent)
            PLAN.set(None)
            self.others += 1
            try:
                with trio.move_on_after(_GIVES_UP):
                    await self._plan_and_apply(make, round)
            except SandboxfileError:
                pass
            finally:
                self.others -= 1

        self.host.nursery.start_soon(other)

    # --- what must hold at every moment --------------------------------------------------------------------------

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.host.violations.append(otherwise)

    def _must_hold(self) -> None:
        if self.host.violations:
            raise Broken("; ".join(self.host.violations))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look on at every execution."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executor, "execute", partial(self._execute, executor.execute))
            yield

    async def _execute(self, really: Any, plan: Plan, drivers: Any, emit: Any, *, parallel: int) -> Outcome:
        watch = Watch(plan, parallel, self._check, lambda: self._fingerprint(plan), self.host.boxes)
        self.executing += 1
        self.open = watch.open
        self._check(self.executing == 1, "two applies of one project at once")
        token = PLAN.set(plan)
        self.records = {id: box.record for id, box in self.host.boxes.items()}

        def note(event: Event) -> None:
            watch.see(event)
            emit(event)

        try:
            outcome: Outcome = await really(plan, drivers, note, parallel=parallel)
        finally:
            self.executing -= 1
            PLAN.reset(token)
        watch.agree(outcome)
        return outcome

    def _fingerprint(self, plan: Plan) -> str:
        return observation_fingerprint(self.host.observe_now(PROJECT), plan.steps)

    def _may_delete(self, id: SandboxId) -> str | None:
        """What is wrong with deleting this one now, if anything is."""
        plan, intent = PLAN.get(), INTENT.get()
        if plan is None or intent is None:
            return f"{id} is deleted outside of any plan"
        if not any(change.loses_disk and change.subject == f"sandbox {id.name}" for change in plan.changes):
            return f"the disk of {id} is lost, and the plan did not say so"
        wanted = {spec.id: spec for spec in intent.desired.sandboxes}
        if intent.only and id.name not in intent.only:
            return f"{id} is deleted, and only {intent.only} were asked for"
        if id not in wanted and not intent.deletes_any:
            return f"the orphan {id} is deleted unasked"
        record = self.records.get(id)  # as it was when the plan was found to be fresh
        in_file = not intent.of_what_is_there and id in wanted and wanted[id].protect
        protected = record is None or record.spec.protect or in_file
        if protected and not intent.allow_destroy:
            return f"the protected {id} is deleted"
        return None

    # --- what must hold in the end -------------------------------------------------------------------------------

    async def end(self) -> None:
        """No more strikes: the next apply makes it as the file says, and a second one finds nothing to do."""
        await trio.sleep(_SETTLED)
        self.host.armed.clear()
        self._must_hold()
        if self.others or self.executing:
            raise Broken("an apply hangs")
        round = Round()
        while True:
            plan = await self._plan_is_refused_rightly(round)
            if not plan.diagnostics:
                break
            round = await self._give_in({diagnostic.summary for diagnostic in plan.diagnostics}, round)
        before = {id: (box.supervisor, box.disk) for id, box in self.host.boxes.items()}
        outcome = await self._attempt(self._maker(round), self._intent(round), round)
        self._must_hold()
        if outcome is None or not outcome.ok:
            raise Broken(f"the apply fails: {outcome}, plan {plan}")
        self._no_more_than_planned(plan, before)
        self._as_the_file_says()
        await self._nothing_left_to_do()
        await self._take_down()

    async def _plan_is_refused_rightly(self, round: Round) -> Plan:
        (plan,) = await self._maker(round)()
        expected = set(self._expected_refusals(round.allow_destroy))
        told = {diagnostic.summary for diagnostic in plan.diagnostics}
        if expected - {"Volume in use"}:  # who is refused neither takes volumes nor gives up its own
            expected.discard("Volume in use")
            told.discard("Volume in use")
        if expected != told:
            raise Broken(f"refused: {plan.diagnostics}; to be expected: {expected}")
        return plan

    def _expected_refusals(self, allow_destroy: bool) -> Iterator[str]:
        """What a person would refuse, from what is there."""
        records = {id: box.record for id, box in self.host.boxes.items()}
        if any(r is not None and r.source != self.source and r.source in self.host.files for r in records.values()):
            yield "Project name in use"
        if any(self._held_by_orphan(mount.volume) for spec in self.file for mount in spec.mounts):
            yield "Volume in use"
        for spec in self.file:
            if spec.id not in records:
                continue
            record = records[spec.id]
            if record is None:
                yield "Unreadable sandbox"
            elif self._loses_its_disk(record.spec, spec):
                if (record.spec.protect or spec.protect) and not allow_destroy:
                    yield "Protected sandbox"
            elif spec.resources.disk < record.spec.resources.disk:
                yield "Disk cannot shrink"

    def _held_by_orphan(self, name: str) -> bool:
        """Whether one that the file does not know has a volume, and nobody stops it."""
        volume = self.host.volumes.disks.get(name)
        holder = volume.holder.spec.id if volume is not None and volume.holder is not None else None
        return holder is not None and holder not in {spec.id for spec in self.file}

    def _loses_its_disk(self, old: DesiredSandbox, new: DesiredSandbox) -> bool:
        other = (old.image.digest, old.agent) != (new.image.digest, new.agent)
        return other or self.host.boxes[new.id].disk is None

    async def _give_in(self, refusals: set[str], round: Round) -> Round:
        """Do what the refusals' hints say."""
        if "Unreadable sandbox" in refusals:
            names = tuple(id.name for id, box in self.host.boxes.items() if box.record is None)
            remove = Round(action="remove", only=names, allow_destroy=True)
            await self._attempt(self._maker(remove), self._intent(remove), remove)
        if "Volume in use" in refusals:
            wanted = {spec.id for spec in self.file}
            stop = Round(action="stop", only=tuple(id.name for id in self.host.boxes if id not in wanted))
            await self._attempt(self._maker(stop), self._intent(stop), stop)
        if "Disk cannot shrink" in refusals:
            self.file = tuple(self._not_smaller(spec) for spec in self.file)
        return replace(round, allow_destroy=round.allow_destroy or "Protected sandbox" in refusals)

    def _not_smaller(self, spec: DesiredSandbox) -> DesiredSandbox:
        box = self.host.boxes.get(spec.id)
        there = box.record.spec.resources.disk if box and box.record else 0
        return replace(spec, resources=replace(spec.resources, disk=max(there, spec.resources.disk)))

    def _no_more_than_planned(self, plan: Plan, before: dict[SandboxId, tuple[Supervisor | None, Disk | None]]) -> None:
        """What is live does not restart, and what the plan does not name is not touched."""
        actions = {change.subject: change.action for change in plan.changes}
        for id, (supervisor, disk) in before.items():
            action = actions.get(f"sandbox {id.name}")
            box = self.host.boxes.get(id)
            if action not in ("replace", "delete") and (box is None or box.disk is not disk):
                raise Broken(f"the disk of {id} is gone: {action}")
            if action in (None, "update", "resume") and (box is None or box.supervisor is not supervisor):
                raise Broken(f"{id} was restarted: {action}")

    def _as_the_file_says(self) -> None:
        for mount in (mount for spec in self.file for mount in spec.mounts):
            if (volume := self.host.volumes.disks.get(mount.volume)) and volume.size < self.volume * GIB:
                raise Broken(f"the volume {mount.volume} is too small")
        for spec in self.file:
            box = self.host.boxes.get(spec.id)
            if box is None:
                raise Broken(f"{spec.id} does not exist")
            for what, wanted, there in differences(spec, self.source, box):
                if wanted != there:
                    raise Broken(f"{spec.id}: {what} is {there}, not {wanted}")
            if problem := setup_problem(box):
                raise Broken(f"{spec.id}: {problem}")

    async def _nothing_left_to_do(self) -> None:
        changes = self.host.changes
        plan = await pipeline.make_plan(self.desired, self.layout, PlanOptions())
        if plan.steps or plan.changes or plan.diagnostics:
            raise Broken(f"a second plan is not empty: {plan.changes} {plan.diagnostics}")
        if self.host.changes != changes:
            raise Broken("planning changed something")
        wanted = {spec.id for spec in self.file}
        if set(plan.orphans) != self.host.boxes.keys() - wanted:
            raise Broken(f"orphans: {plan.orphans}")
        if self.layout.journal(PROJECT).exists():
            raise Broken("a journal is left")

    async def _take_down(self) -> None:
        """And all of it goes away again."""
        down = Round(action="down", allow_destroy=True)
        outcome = await self._attempt(self._maker(down), self._intent(down), down)
        self._must_hold()
        if outcome is None or not outcome.ok or self.host.boxes or self.host.half_made:
            raise Broken(f"something is left after down: {outcome} {self.host.boxes}")
