"""Turns of a reconciler: what comes after what, what is written down when, how it ends. The work itself is handed in.

TERM and Ctrl-C end it after the step under way; whatever waits or only looks is given up at once. A second one cancels
that step too. Killed at any moment, the next one goes on from what is written down: `begun` before anything is done.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import anyio

from sandboxfile.cli.reconciling.checking import Refused, said_by
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.model.plan import Plan
from sandboxfile.model.reconciliation import (
    Reason,
    Status,
    applied,
    begun,
    due,
    entered,
    failed,
    fetched,
    targets,
    turned,
)

_MESSAGE_LIMIT = 8000  # characters
_OVERTAKEN = 3  # how often in a turn a plan that others overtook is made anew
T = TypeVar("T")


class Stopped(Exception):
    """It was asked to end. Not a failure."""


class Work(Protocol):
    """What touches the world. Everything raises SandboxfileError, and Refused where a commit is not to be had."""

    async def fetch(self) -> str:
        """The commit that is to be followed now."""

    async def check(self, commit: str) -> Any:
        """What a commit asks for, when it may ask for that."""

    async def plan(self, wanted: Any, *, guarded: bool) -> Plan:
        """How what is there becomes that; `guarded`: the commit is one that nobody has let through yet."""

    async def begin(self, commit: str, wanted: Any) -> None:
        """Put the commit's files where workspaces are; done already, it does nothing."""

    async def apply(self, plan: Plan) -> None:
        """Do it. Raises Stopped between two steps."""

    def suspended(self) -> bool:
        """Whether it is to do nothing."""

    def save(self, status: Status) -> None:
        """Write down where it stands."""


@dataclass(slots=True)
class Stop:
    """Whether the end was asked for. What only waits or looks runs in `harmless`, and is cancelled by it."""

    asked: anyio.Event = field(default_factory=anyio.Event)
    _scope: anyio.CancelScope | None = None

    def ask(self) -> None:
        self.asked.set()
        if self._scope is not None:
            self._scope.cancel()

    async def harmless(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`. Raises Stopped."""
        self.look()
        with anyio.CancelScope() as scope:
            self._scope = scope
            try:
                return await work()
            finally:
                self._scope = None
        raise Stopped

    def look(self) -> None:
        """Raises Stopped."""
        if self.asked.is_set():
            raise Stopped


@dataclass(slots=True)
class Loop:
    """One reconciler at work. `interval` in seconds; `now` is the time of day."""

    work: Work
    interval: float
    now: Callable[[], datetime]
    status: Status
    stop: Stop = field(default_factory=Stop)

    async def forever(self) -> None:
        """Turn after turn, until asked to end."""
        try:
            while True:
                await self.turn()
                await self.stop.harmless(lambda: anyio.sleep(self.interval))
        except Stopped:
            self.work.save(self.status)

    async def once(self) -> None:
        """One turn."""
        try:
            await self.turn()
        except Stopped:
            self.work.save(self.status)

    async def turn(self) -> None:
        """Fetch, and make what is there like the best commit. Its failures are in the status. Raises Stopped."""
        self.stop.look()
        if self.work.suspended():
            self.work.save(self.status)
            return
        self.status = turned(self.status)
        await self._fetch()
        for commit in targets(self.status, self.now()):
            await self._try(commit)
            if self.work.suspended() or self.status.begun == commit:
                break
        if self.status.state != "failed":
            next_turn = self.now() + timedelta(seconds=self.interval)
            self.status = replace(self.status, next_attempt=next_turn.isoformat(timespec="milliseconds"))
        self.work.save(self.status)

    async def _fetch(self) -> None:
        if self.status.reason == "fetch" and not due(self.status, self.now()):
            return
        try:
            commit = await self.stop.harmless(self.work.fetch)
        except SandboxfileError as exc:
            self._failed("fetch", exc, "")
            return
        before = self.status
        self.status = fetched(before, commit, self.now())
        if self.status.commit != before.commit:
            self.work.save(self.status)

    async def _try(self, commit: str) -> None:
        before = self.status.begun
        for attempt in range(1, _OVERTAKEN + 1):
            try:
                await self._make_so(commit)
                return
            except StaleError as exc:
                self.status = replace(self.status, begun=before)  # nothing was done, and the next plan may widen
                self.work.save(self.status)
                if attempt == _OVERTAKEN:
                    self._failed("apply", exc, commit)
            except Refused as exc:
                self._failed(exc.reason, exc, commit)
                return
            except SandboxfileError as exc:
                self._failed("apply" if self.status.begun == commit else "content", exc, commit)
                return

    async def _make_so(self, commit: str) -> None:
        new = commit != self.status.begun
        wanted = await self.stop.harmless(lambda: self.work.check(commit))
        if new:
            self.status = entered(self.status, "checked", self.now())
        plan = await self.stop.harmless(lambda: self.work.plan(wanted, guarded=new))
        if self.work.suspended():
            return
        await self.work.begin(commit, wanted)
        if new:
            self.status = begun(self.status, commit, self.now())
            self.work.save(self.status)
        if plan.steps:
            await self.work.apply(plan)
        self.status = applied(self.status, commit, len(plan.steps), self.now())

    def _failed(self, reason: Reason, exc: SandboxfileError, culprit: str) -> None:
        message = "\n".join(line for line in (exc.message, said_by(exc.output), exc.hint) if line)
        self.status = failed(self.status, reason, message[:_MESSAGE_LIMIT], culprit, self.interval, self.now())
        self.work.save(self.status)
