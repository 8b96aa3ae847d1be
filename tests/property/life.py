"""A project and its user: edits of its file, and commands, each of whose plans is looked at."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from sandboxfile import pipeline
from sandboxfile.applying.journal import interrupted_steps
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.events import Outcome
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.names import UNMANAGED, SandboxId, VolumeId

from .aftermath import as_it_was, left_alone
from .asking import (
    FILE_WORK,
    INTENT,
    PLAN,
    VERBS,
    Intent,
    intent_of,
    meant_there,
    options_of,
    refusals_of_up,
    wrong_in,
)
from .attempt import ATTEMPT, Attempt
from .checks import Broken
from .fake_files import Killed
from .fake_host import FakeHost
from .files import FORK, called, edited, rightly, scaled, text_of, volumes
from .guard import Guard
from .histories import History, Round
from .keeping import Keeping
from .pools import NAMES, PROJECT, TEMPLATES
from .saving import Saved, essence, plan_in, read_unmoved, save, surroundings

_ATTEMPTS = 5  # as the command line: how often a plan that others overtook is made anew
_GIVES_UP = 3000.0  # seconds after which a person presses Ctrl-C
Make = Callable[[], Awaitable[list[Plan]]]


class Life:
    """Of one history. `written` is the file before what is scaled in it is so many."""

    def __init__(self, history: History, host: FakeHost) -> None:
        self.host, self.layout = host, host.layout
        self._files = [str(self.layout.state.parent / name / "sandbox.yaml") for name in ("p", "q")]
        for file in self._files:
            Path(file).parent.mkdir()
        self.source = self._files[0]
        self.host.files.add(self.source)
        self.names = {name: name for name in NAMES}
        self.written = self.written_before = rightly(history.file)
        self.volume, self.scale = 1, 0
        self.saved: Saved | None = None
        self.places: list[int] = []
        self.others = 0
        self.guard, self.keeping = Guard(host), Keeping(self)
        self._write_text()
        host.other_apply = self._other_apply

    @property
    def file(self) -> tuple[DesiredSandbox, ...]:
        return scaled(called(self.written, self.names), self.scale)

    @property
    def text(self) -> str:
        """What is in the file, as far as names go."""
        return Path(self.source).read_text()

    @property
    def desired(self) -> DesiredState:
        return DesiredState(PROJECT, self.source, self.file, TEMPLATES, volumes(self.volume))

    # --- what happens --------------------------------------------------------------------------------------------

    async def go_on(self, round: Round) -> None:
        """One round of a history."""
        await trio.sleep(round.pause)
        self._edit(round)
        for supervisor in (box.supervisor for box in self.host.boxes.values() if box.supervisor is not None):
            supervisor.mark()
        only, anew = (tuple(self.names.get(name, name) for name in each) for each in (round.only, round.anew))
        names = {spec.id.name for spec in self.file} | {spec.service for spec in self.file}
        round = replace(
            round,
            only=tuple(name for name in only if name in names),
            anew=tuple(name for name in anew if name in names),
        )
        intent = intent_of(round, self.desired)
        if intent.action == "up" and not intent.deletes_any:
            await self.plan_is_refused_rightly(round)
        before = self.host.history.before if round.action == "rollback" else None
        there = {**self.host.boxes, **self.host.history.aside}
        as_they_were = {id: (box.disk, box.record) for id, box in self.host.boxes.items()}
        quiet = not (round.strikes or self.others)
        self.keeping.struck |= not quiet
        outcome = await self._act(round, intent)
        self.guard.must_hold()
        if not quiet or self.others:
            return
        if round.action not in ("apply plan", "restore", "restore keeping", "rename", "adopt"):
            left_alone(self.host, intent, as_they_were)
        if before is not None and outcome is not None and outcome.ok:
            as_it_was(self.host, before, there, round.allow_destroy)

    def _edit(self, round: Round) -> None:
        base = self.written_before if round.undo else self.written
        self.written_before, self.written = self.written, rightly(edited(base, round.edits))
        self.volume = max(self.volume, round.volume)
        self.scale = self.scale if round.scale is None else round.scale
        if round.action == "move file":
            self.host.files.discard(self.source)
            Path(self.source).unlink()
            self.source = self._files[1 - self._files.index(self.source)]
            self.host.files.add(self.source)
        self._write_text()

    def _write_text(self) -> None:
        adopted = any(spec.id.name == FORK for spec in self.written)
        Path(self.source).write_text(text_of({**self.names, **({FORK: FORK} if adopted else {})}))

    def see_text(self) -> None:
        """What a command has written into the file."""
        names = json.loads(self.text)
        box = self.host.boxes.get(SandboxId(PROJECT, FORK))
        if names.pop(FORK, None) and not any(spec.id.name == FORK for spec in self.written):
            if box is None or box.record is None:
                raise Broken("the file has a sandbox that is not adopted")
            self.written = (*self.written, box.record.spec)
        self.names = names

    async def nothing_to_do(self) -> bool:
        """Whether `up` would change nothing."""
        plan = await pipeline.make_plan(self.desired, self.layout, PlanOptions())
        return not (plan.steps or plan.changes or plan.diagnostics)

    async def keeps(self, name: str) -> bool:
        """Whether `up` would go on with a sandbox as it is."""
        plan = await pipeline.make_plan(self.desired, self.layout, PlanOptions(only=(name,)))
        told = [change.action for change in plan.changes if change.subject == f"sandbox {name}"]
        return not {*told} & {"create", "replace", "delete"}

    async def _act(self, round: Round, intent: Intent) -> Outcome | None:
        if round.action == "save plan":
            return await self._attempt(partial(self._save, round, intent), intent, round)
        if round.action == "apply plan" and (saved := self.saved) is not None:
            return await self._attempt(partial(self._apply_saved, saved, round), saved.intent, round)
        if round.action in FILE_WORK:
            quiet = not (round.strikes or self.others)
            return await self._attempt(partial(self._work_on_files, round, quiet), intent, round)
        return await self.carry_out(round)

    async def _work_on_files(self, round: Round, quiet: bool) -> None:
        await self.keeping.run(round, quiet=quiet)

    async def carry_out_verb(self, verb: Any, ids: list[SandboxId], round: Round) -> int:
        """As a command does it on its way, with its exit code."""
        (id,) = ids
        intent = Intent(self.desired, verb, frozenset({id.name}), project=id.project)
        token = INTENT.set(intent)
        try:
            make = partial(pipeline.make_verb_plans, verb, ids, self.layout)
            outcome = await self._plan_and_apply(make, replace(round, thought=0.0))
        finally:
            INTENT.reset(token)
        return 0 if outcome is not None and outcome.ok else 1

    async def carry_out(self, round: Round) -> Outcome | None:
        """Plan and apply as the command line does it with --yes. None when refused, struck down or overtaken."""
        work = partial(self._plan_and_apply, self.maker(round), round)
        return await self._attempt(work, intent_of(round, self.desired), round)

    def maker(self, round: Round) -> Make:
        """What makes the plans of a round."""
        desired, layout = self.desired, self.layout

        async def make() -> list[Plan]:
            if round.action == "rollback":
                return [await pipeline.make_rollback(PROJECT, layout, allow_destroy=round.allow_destroy)]
            if round.action == "delete volumes":
                ids = [VolumeId(PROJECT, name) for name in self.host.volumes.disks]
                return await pipeline.make_volume_deletions(ids, layout)
            if round.action == "remove fork":
                ids_ = [SandboxId(UNMANAGED, FORK)]
                return await pipeline.make_verb_plans("remove", ids_, layout, allow_destroy=round.allow_destroy)
            if round.action in VERBS:
                verb: Any = round.action
                there = sorted(id for id in self.host.boxes if id.project == PROJECT)
                ids_ = [SandboxId(PROJECT, name) for name in sorted(meant_there(round.only))] or there
                return await pipeline.make_verb_plans(verb, ids_, layout, allow_destroy=round.allow_destroy)
            return [await pipeline.make_plan(desired, layout, options_of(round))]

        return make

    async def _attempt(
        self, work: Callable[[], Awaitable[Outcome | None]], intent: Intent, round: Round
    ) -> Outcome | None:
        attempt = Attempt(round.strikes, self.layout.journal(PROJECT))
        tokens = ATTEMPT.set(attempt), INTENT.set(intent)
        open_at_kill: list[tuple[str, ...]] = []
        attempt.at_kill = lambda: open_at_kill.append(tuple(self.guard.open)) if self.guard.executing == 1 else None
        outcome = None
        try:
            with attempt.scope, trio.move_on_after(_GIVES_UP):
                outcome = await work()
        except (SandboxfileError, OSError, Killed):
            outcome = None
        finally:
            ATTEMPT.reset(tokens[0])
            INTENT.reset(tokens[1])
        attempt.leave_as_killed()
        self.places.append(attempt.points if attempt.late else 0)
        if open_at_kill and open_at_kill[0] and not self.guard.executing and not self.others:
            told = interrupted_steps(self.layout.journal(PROJECT))
            self.guard.check(told == open_at_kill[0], f"the journal says {told}, killed at {open_at_kill[0]}")
        return outcome

    async def _plan_and_apply(self, make: Make, round: Round) -> Outcome | None:
        for attempt in range(_ATTEMPTS):
            plans = await make()
            self._look_at(plans)
            if any(has_errors(plan.diagnostics) for plan in plans):
                return None
            outcome = None
            await self._ask(round)
            try:
                for plan in plans:
                    outcome = await self._apply(plan, round)
                return outcome or Outcome((), (), ())
            except StaleError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def _look_at(self, plans: list[Plan]) -> None:
        """As they were just made."""
        intent = INTENT.get()
        assert intent is not None
        for plan in plans:
            self.guard.check(not (plan.steps and has_errors(plan.diagnostics)), "a refused plan has steps")
            for wrong in wrong_in(plan, intent, self.host.boxes):
                self.guard.check(False, wrong)

    async def _ask(self, round: Round) -> None:
        await self.host.point()
        await trio.sleep(round.thought)
        await self.host.point()

    async def _apply(self, plan: Plan, round: Round) -> Outcome:
        return await pipeline.apply_plan(
            plan, self.layout, lambda _: None, lock_timeout=round.patience, parallel=round.parallel
        )

    async def _save(self, round: Round, intent: Intent) -> None:
        self.saved = await save(self.host, intent, options_of(round), self.guard.check) or self.saved

    async def _apply_saved(self, saved: Saved, round: Round) -> Outcome:
        """Refused when what it rests on has moved, and only then."""
        plan, quiet = plan_in(saved), not (round.strikes or self.others)
        stale = essence(self.host, plan) != saved.essence
        fresh = surroundings(self.host, plan) == saved.then
        try:
            plan = await read_unmoved(self.host, saved)
            await self._ask(round)
            outcome = await self._apply(plan, round)
        except StaleError:
            fresh = fresh and surroundings(self.host, plan) == saved.then
            self.guard.check(not (quiet and fresh), "a saved plan is refused, and nothing of it has moved")
            raise
        self.guard.check(not (quiet and stale), "a saved plan is applied to what has moved")
        return outcome

    def _other_apply(self, which: int) -> None:
        """Another user of the same project, with this file, an earlier one, or one that protects all of it."""
        desired = self.desired
        earlier = scaled(called(self.written_before, self.names), self.scale)
        if which % 3 == 1:
            desired = replace(desired, sandboxes=earlier)
        if which % 3 == 2:
            desired = replace(desired, sandboxes=tuple(replace(spec, protect=True) for spec in earlier))
        round = Round(patience=300.0 if which < 3 else 0.0)

        async def make() -> list[Plan]:
            return [await pipeline.make_plan(desired, self.layout, PlanOptions())]

        async def other() -> None:
            ATTEMPT.set(None)
            INTENT.set(intent_of(round, desired))
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

    async def plan_is_refused_rightly(self, round: Round) -> Plan:
        """The plan of an `up`, refused for what a person would refuse it for, and for nothing else. Raises Broken."""
        (plan,) = await self.maker(round)()
        needed, allowed = refusals_of_up(self.host, intent_of(round, self.desired))
        told = {diagnostic.summary for diagnostic in plan.diagnostics}
        if not needed <= told <= needed | allowed:
            raise Broken(f"refused: {plan.diagnostics}; to be expected: {needed}, perhaps {allowed}")
        return plan
