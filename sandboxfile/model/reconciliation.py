r"""How far `sbx reconcile` is: a state machine over values. It knows neither git nor files nor the time of day.

    commit -> fetched -> checked -> planned -> applied
                 \          \          \-> failed: nothing of the commit was done, or it is tried again
                  \----------\-> failed: nothing was done, and `begun` goes on being held

A commit that was let through and whose apply began is `begun`: what is there is made to be like it at every turn,
until another one is let through. There is no way back from it: a half-done apply goes on, and is not undone.
Asked for something else (`resumed`), nothing is begun: each commit has to be let through again.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

State = Literal["waiting", "fetched", "checked", "planned", "applied", "failed"]
# What a failure is of. "fetch": the repository could not be asked. "apply": a step failed. Else the commit is refused.
Reason = Literal["", "fetch", "signature", "content", "file", "policy-test", "plan", "widening", "secrets", "apply"]

LONGEST_PAUSE = 900.0  # seconds between two tries of what goes on failing, when the interval is shorter


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the reconciler was made: turns, commits seen, applies with changes, of those for drift alone, failures."""

    turns: int = 0
    commits: int = 0
    applies: int = 0
    drifts: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """Where one reconciler stands. Times are RFC 3339, in UTC, empty for never; commits are full ids, or empty.

    `ref`, `path`, `profiles` and `deny_widening` are what it was last started with. `since` is when `state` began.
    `commit`: the newest fetched; `begun`: see above; `applied`: the last one that was wholly applied, at `applied_at`.
    With `failed`: `reason`, `message` (a line for each problem), `culprit` (the commit that it is about), and how many
    `failures` there were in a row. `next_attempt`: when what failed is tried again, else when the next turn is due.
    """

    name: str
    git: str
    ref: str
    path: str
    state: State = "waiting"
    since: str = ""
    commit: str = ""
    begun: str = ""
    applied: str = ""
    applied_at: str = ""
    reason: Reason = ""
    message: str = ""
    culprit: str = ""
    failures: int = 0
    next_attempt: str = ""
    counts: Counts = field(default_factory=Counts)
    profiles: tuple[str, ...] = ()
    deny_widening: bool = False


def resumed(status: Status, ref: str, path: str, profiles: tuple[str, ...], *, deny_widening: bool) -> Status:
    """A reconciler is started with these. What was let through as something else, or unguarded, is not begun here."""
    asked = replace(status, ref=ref, path=path, profiles=profiles, deny_widening=deny_widening)
    same = (status.ref, status.path, status.profiles) == (ref, path, profiles)
    guarded = status.deny_widening or not deny_widening
    return asked if same and guarded else replace(asked, begun="")


def entered(status: Status, state: State, now: datetime) -> Status:
    """The status in a state of the way. `since` stays when it is the same state."""
    return status if status.state == state else replace(status, state=state, since=_text(now))


def turned(status: Status) -> Status:
    """A turn begins."""
    return replace(status, counts=replace(status.counts, turns=status.counts.turns + 1))


def fetched(status: Status, commit: str, now: datetime) -> Status:
    """The repository has answered. A failure to ask it is over, and with another commit every one."""
    gone = not status.culprit or status.culprit not in (commit, status.begun)
    if status.state == "failed" and (commit != status.commit or gone):
        status = cleared(status, "fetched", now)
    if commit == status.commit:
        return status
    seen = replace(status.counts, commits=status.counts.commits + 1)
    return entered(replace(status, commit=commit, counts=seen), "fetched", now)


def begun(status: Status, commit: str, now: datetime) -> Status:
    """A commit is let through: from here on it is what is wanted."""
    return entered(replace(status, begun=commit), "planned", now)


def applied(status: Status, commit: str, steps: int, now: datetime) -> Status:
    """All of a commit is there, after so many steps. A failure that is about something else stays."""
    counts = status.counts
    drifted = commit == status.applied
    if steps:
        counts = replace(counts, applies=counts.applies + 1, drifts=counts.drifts + drifted)
    status = replace(status, counts=counts)
    if not drifted:
        status = replace(status, applied=commit, applied_at=_text(now))
    if status.state == "failed" and status.culprit != commit:
        return status
    return cleared(status, "applied", now)


def failed(status: Status, reason: Reason, message: str, culprit: str, interval: float, now: datetime) -> Status:
    """Something was refused or went wrong; it is tried again after a pause that doubles."""
    again = status.state == "failed" and (status.reason, status.culprit) == (reason, culprit)
    failures = status.failures + 1 if again else 1
    counts = replace(status.counts, failures=status.counts.failures + 1)
    status = replace(status, reason=reason, message=message, culprit=culprit, failures=failures, counts=counts)
    due = now + timedelta(seconds=pause(failures, interval))
    return replace(entered(status, "failed", now), next_attempt=_text(due))


def pause(failures: int, interval: float) -> float:
    """Seconds until what failed so often in a row is tried again."""
    longest = max(interval, LONGEST_PAUSE)
    return min(interval * 2.0 ** min(failures - 1, 30), longest)


def cleared(status: Status, state: State, now: datetime) -> Status:
    """Without its failure."""
    status = replace(status, reason="", message="", culprit="", failures=0)
    return entered(status, state, now)


def due(status: Status, now: datetime) -> bool:
    """Whether what failed is to be tried again by now; so is what has not failed."""
    return status.state != "failed" or not status.next_attempt or now >= datetime.fromisoformat(status.next_attempt)


def targets(status: Status, now: datetime) -> tuple[str, ...]:
    """The commits to try at this turn, the best first: the next is for when nothing of the one before was done."""
    waits = not due(status, now)
    found = [status.commit] if status.commit != status.begun and status.reason != "fetch" else []
    if waits and status.culprit:
        found = [commit for commit in found if commit != status.culprit]
    held = waits and status.culprit == status.begun
    return tuple(commit for commit in (*found, "" if held else status.begun) if commit)


def _text(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")
