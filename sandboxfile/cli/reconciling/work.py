"""What a reconciler does to the world, a stage at a time, and tells on standard error."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread

from sandboxfile import pipeline
from sandboxfile.cli.approving import unapproved
from sandboxfile.cli.reconciling.checking import (
    Refused,
    load_commit,
    refuse_detours,
    refuse_errors,
    refuse_open,
    said_by,
    told,
)
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.plan import render_plan
from sandboxfile.cli.views.text import harmless
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import HostError, SandboxfileError
from sandboxfile.host.git_clone import BEGUN, LAID, LAYING, Clone
from sandboxfile.host.git_export import export, lay
from sandboxfile.host.layout import Layout, ReconcilerPaths
from sandboxfile.host.reconcilers import is_suspended, write_status
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.events import Event, StepStarted
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.model.reconciliation import Status
from sandboxfile.planning.widening import widening

LOCK_TIMEOUT = 30.0  # seconds
_TIDY_AFTER = 25  # commits: each leaves some small files in the clone


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked of it on the command line. `file` is relative to the top of the repository."""

    git: str
    ref: str
    file: str
    verify_signatures: bool = False
    deny_widening: bool = False
    remove_orphans: bool = False
    frozen: bool = False
    profiles: tuple[str, ...] = ()
    parallel: int = 4


@dataclass(slots=True)
class HostWork:
    """The real work. `look` raises Stopped when the end was asked for."""

    settings: Settings
    layout: Layout
    paths: ReconcilerPaths
    console: Console
    look: Callable[[], None] = lambda: None
    _exported: str = ""
    _fetched: int = field(default=0)
    _said: str = ""
    _changed: bool = False  # something, since it was last said what is applied

    @property
    def clone(self) -> Clone:
        return Clone(self.paths.clone)

    def refuse_open(self) -> None:
        """Raises SandboxfileError when agents may have moved the branch, and nothing else stands in their way."""
        if not (self.settings.verify_signatures or self.settings.deny_widening):
            refuse_open(self.settings.git, self.layout)

    async def fetch(self) -> str:
        await anyio.to_thread.run_sync(self.refuse_open)  # each time: sandboxes come and go
        before = self.clone.commit_of("refs/reconcile/fetched")
        commit = await self.clone.fetch(self.settings.git, self.settings.ref)
        if commit != before:
            self.console.say(f"fetched {commit[:12]} of {self.settings.ref}")
            self._fetched += 1
            if self._fetched % _TIDY_AFTER == 0:
                await anyio.to_thread.run_sync(self.clone.tidy)
        return commit

    async def check(self, commit: str) -> DesiredState:
        if commit != self._exported:
            await self._verify(commit)
            self._exported = ""
            try:
                await anyio.to_thread.run_sync(export, self.clone, commit, self.paths.source)
            except HostError as exc:
                raise Refused("content", exc.message) from exc
            self._exported = commit
        load = partial(load_commit, self.paths, self.settings.file, self.layout, frozen=self.settings.frozen)
        return await anyio.to_thread.run_sync(load, abandon_on_cancel=True)  # it only reads, and may take its time

    async def _verify(self, commit: str) -> None:
        if not self.settings.verify_signatures:
            return
        try:
            await self.clone.verify(commit)
        except (SandboxfileError, TimeoutError) as exc:
            said = said_by(exc.output) if isinstance(exc, SandboxfileError) else "no answer"
            why = f": {said}" if said else ""
            raise Refused("signature", f"commit {commit[:12]} has no signature that is good here{why}") from exc

    async def plan(self, wanted: DesiredState, *, guarded: bool) -> Plan:
        options = PlanOptions(remove_orphans=self.settings.remove_orphans, profiles=self.settings.profiles)
        plan = await pipeline.make_plan(wanted, self.layout, options, "refuse")
        refuse_errors("plan", plan.diagnostics, self.paths)
        wider = widening(plan) if guarded and self.settings.deny_widening else ()
        if wider:
            raise Refused("widening", "\n".join(f"widens: {shift.text}" for shift in wider))
        self._refuse_secrets(plan)
        if plan.steps:
            self.console.say(render_plan(plan, self.console))
        return plan

    def _refuse_secrets(self, plan: Plan) -> None:
        """Nobody is here to approve one, or to unlock it."""
        specs = pipeline.users_of_secrets([plan], self.layout)
        missing = unapproved(specs)
        if missing:
            lines = (f"sbx secret approve {each.secret} {each.approval.place}" for each in missing)
            raise Refused(
                "secrets", "\n".join(["secrets are not approved for these hosts; approve them here:", *lines])
            )
        found = pipeline.secret_problems(specs, self.layout)
        if has_errors(found):
            raise Refused("secrets", told(found, self.paths))

    async def begin(self, commit: str, wanted: DesiredState) -> None:
        await anyio.to_thread.run_sync(partial(self._begin, commit))
        refuse_detours(wanted, self.paths)
        await anyio.to_thread.run_sync(self.clone.remember, BEGUN, commit)

    def _begin(self, commit: str) -> None:
        """The refs keep what is needed from being tidied away, and say after a crash what may lie in the tree."""
        clone = self.clone
        before = [found for ref in (LAID, LAYING) if (found := clone.commit_of(ref))]
        if before == [commit, commit]:
            return
        clone.remember(LAYING, commit)
        lay(clone, commit, dict.fromkeys(before), self.paths.tree)
        clone.remember(LAID, commit)

    async def apply(self, plan: Plan) -> None:
        self._changed = True

        def emit(event: Event) -> None:
            if isinstance(event, StepStarted):
                self.look()
                self.console.say(harmless(f"  {event.key}: {event.reason}"))

        outcome = await pipeline.apply_plan(
            plan, self.layout, emit, lock_timeout=LOCK_TIMEOUT, parallel=self.settings.parallel
        )
        for key, error in outcome.failed:
            if not isinstance(error, SandboxfileError):
                raise error  # our own bug
            self.console.failure(error, about=key)
        if outcome.failed:
            lines = [f"{key}: {error.message}" for key, error in outcome.failed if isinstance(error, SandboxfileError)]
            raise HostError("\n".join(lines))

    def suspended(self) -> bool:
        return is_suspended(self.paths)

    def save(self, status: Status) -> None:
        write_status(self.paths, status)
        said = f"{status.reason}: {status.message}" if status.state == "failed" else ""
        if said and said != self._said:
            self.console.error(harmless(f"{(status.culprit or 'fetch')[:12]}: {status.message}"))
        if status.state == "applied" and self._said != (done := f"applied {status.applied[:12]}"):
            self.console.say(done if self._changed else f"nothing to do: all is as {status.applied[:12]} describes it")
            said, self._changed = done, False
        self._said = said or self._said
