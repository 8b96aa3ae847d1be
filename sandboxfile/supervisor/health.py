"""Whether a sandbox does its work: its healthcheck, by Docker's rules. Events in, state out; a thin runner looks.

Looked at while the main process runs, or where there is none while the machine does and setup is over. `starting` until
the first success, or until so many failures in a row count; while it is starting, failures of looks that began within
the start period do not. Each start of the main process begins anew.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import anyio

from sandboxfile.errors import MachineError, SandboxfileError
from sandboxfile.host.saying import say
from sandboxfile.model.desired import Healthcheck
from sandboxfile.model.observed import Check
from sandboxfile.supervisor.lifecycle import Life
from sandboxfile.supervisor.news import News

EAGER = 5.0  # seconds between looks within the start period, unless the interval is shorter: Docker's start_interval
_SHOWN = 300  # characters of a look's output that are written down

# `before`: there is nothing to look at yet; `held`: nothing can be looked at for now; `over`: it has ended for good.
Situation = Literal["before", "running", "held", "over"]


@dataclass(frozen=True, slots=True)
class Looking:
    """The state. `since`: when what is looked at began; `looked`: when the last look ended; `failures` in a row."""

    check: Healthcheck | None = None
    situation: Situation = "before"
    status: Check = "none"
    since: float = 0.0
    looked: float = 0.0
    failures: int = 0


# --- events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turned:
    """The situation is another one, or the same."""

    situation: Situation
    at: float


@dataclass(frozen=True, slots=True)
class Changed:
    """Another healthcheck, or none, from now on."""

    check: Healthcheck | None
    at: float


@dataclass(frozen=True, slots=True)
class Looked:
    """The command has ended, or its time has."""

    ok: bool
    began: float
    ended: float


Event = Turned | Changed | Looked


def begin(check: Healthcheck | None) -> Looking:
    """The state before anything happened."""
    return Looking(check, status="none" if check is None else "starting")


def situation_of(life: Life, *, in_setup: bool) -> Situation:
    """What there is to look at."""
    if life.health == "starting":
        return "before"
    if life.health != "running":
        return "held"
    if not life.has_command:
        return "before" if in_setup else "running"
    match life.main.status:
        case "running":
            return "running"
        case "exited":
            return "over"
    return "before"


def step(state: Looking, event: Event) -> Looking:
    """The next state."""
    match event:
        case Turned(situation, at):
            return _turned(state, situation, at)
        case Changed(check, at):
            return _changed(state, check, at)
        case Looked():
            return _looked(state, event)


def pause(state: Looking, now: float) -> float | None:
    """Seconds until the next look; None when there is none to come."""
    if state.check is None or state.situation != "running":
        return None
    eager = state.status == "starting" and now < state.since + state.check.start_period
    interval = min(state.check.interval, EAGER) if eager else state.check.interval
    return max(0.0, state.looked + interval - now)


def _turned(state: Looking, situation: Situation, at: float) -> Looking:
    before = state.situation
    if situation == before:
        return state
    turned = replace(state, situation=situation)
    if situation == "held" or (situation == "running" and before == "held"):
        return replace(turned, looked=at)
    if state.check is None:
        return replace(turned, since=at, looked=at)
    return replace(turned, status="unhealthy" if situation == "over" else "starting", since=at, looked=at, failures=0)


def _changed(state: Looking, check: Healthcheck | None, at: float) -> Looking:
    if check == state.check:
        return state
    changed = replace(state, check=check)
    if check is not None and state.check is not None and check.command == state.check.command:
        return changed  # what is known of it is still true
    status: Check = "none" if check is None else "unhealthy" if state.situation == "over" else "starting"
    return replace(changed, status=status, looked=at, failures=0)


def _looked(state: Looking, look: Looked) -> Looking:
    if state.check is None or state.situation != "running":
        return state
    after = replace(state, looked=look.ended)
    if look.ok:
        return replace(after, status="healthy", failures=0)
    if state.status == "starting" and look.began < state.since + state.check.start_period:
        return after
    failures = state.failures + 1
    return replace(after, failures=failures, status="unhealthy" if failures >= state.check.retries else state.status)


# --- the runner --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look has found. `text` in a clause: `it exited with 1`; `output` is bounded by whoever looks."""

    ok: bool
    text: str
    output: str = ""


class Look(Protocol):
    """Runs the command inside to its end, in its time and a few seconds. Raises SandboxfileError."""

    def __call__(self, check: Healthcheck) -> Awaitable[Finding]: ...


class HealthWatch:
    """That of one sandbox. `run` is its task; everything else may be called before it, too."""

    def __init__(self, check: Healthcheck | None, look: Look) -> None:
        self.state = begin(check)
        self.last: Finding | None = None  # of the present check
        self._look = look
        self._news = News()  # the state is another one
        self._scope = anyio.CancelScope()  # of the look under way

    @property
    def status(self) -> Check:
        return self.state.status

    @property
    def failure(self) -> str:
        """Why the last look failed, and what was printed; empty when it did not."""
        if self.last is None or self.last.ok:
            return ""
        return f"{self.last.text}\n{self.last.output}".rstrip()

    def turn(self, situation: Situation) -> None:
        """Tell how things are: as often as one likes."""
        self._tell(Turned(situation, anyio.current_time()))

    def change(self, check: Healthcheck | None) -> None:
        """Go by another healthcheck from now on."""
        if self.state.check is None or check is None or check.command != self.state.check.command:
            self.last = None
        self._tell(Changed(check, anyio.current_time()))

    async def run(self) -> None:
        """Look, whenever it is time to; for ever."""
        while True:
            await self._news.when_due(lambda: pause(self.state, anyio.current_time()))
            await self._look_once()

    async def wait(self, usable: Callable[[], Awaitable[object]]) -> None:
        """Return when it is healthy. Raises MachineError when that cannot come; what `usable` raises, asked each time.

        A failure that has been found before counts: there is nothing to wait for.
        """
        while True:
            news = self._news.next
            await usable()
            match self.state.status:
                case "healthy":
                    return
                case "none":
                    raise MachineError("it has no healthcheck, and so nobody can tell whether it is healthy")
                case "unhealthy":
                    raise self._unhealthy()
            await news.wait()

    def _unhealthy(self) -> MachineError:
        if self.state.situation == "over":
            return MachineError("it is unhealthy: its main process has ended", hint="sbx logs NAME --main")
        found = self.last or Finding(False, "its last check failed")
        return MachineError(
            f"it is unhealthy: of its healthcheck, {found.text}",
            hint="sbx status NAME shows what the check says; sbx logs NAME --main what the main process does",
            output=found.output,
        )

    async def _look_once(self) -> None:
        check = self.state.check
        assert check is not None, "there is something to look at"
        began = anyio.current_time()
        with anyio.CancelScope() as self._scope:
            try:
                found = await self._look(check)
            except SandboxfileError as exc:
                found = Finding(False, f"it could not be run: {exc.message}")
            if not self._scope.cancel_called:  # what was looked at has changed meanwhile
                self.last = found
                self._tell(Looked(found.ok, began, anyio.current_time()))

    def _tell(self, event: Event) -> None:
        before, self.state = self.state, step(self.state, event)
        if self.state == before:
            return
        if not isinstance(event, Looked):
            self._scope.cancel()
        if self.state.status != before.status:
            said = f": {self.last.text}: {self.last.output[-_SHOWN:]!r}" if self.last and not self.last.ok else ""
            say(f"health: {self.state.status}{said}")
        self._news.tell()
