"""One try to apply, and what befalls it: a strike at the n-th place where it waits."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import trio


@dataclass(frozen=True)
class Strike:
    """`point` counts from 1: before the first step begins, or from then on when `late`. `target` chooses a sandbox."""

    late: bool
    point: int
    kind: str
    target: int = 0


@dataclass(eq=False)
class Attempt:
    """`killed`: as by SIGKILL, with the journal as it was then. `cancelled`: as by Ctrl-C."""

    strikes: tuple[Strike, ...] = ()
    journal: Path | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    late: bool = False
    points: int = 0
    failing: int = 0
    failures: int = 0
    killed: bool = False
    at_kill: Callable[[], None] = lambda: None
    _journal_then: bytes | None = None

    def next_blows(self) -> list[Strike]:
        """Count a point; what is to be done to the host there. What befalls the client itself is done here."""
        self.points += 1
        blows = []
        for strike in self.strikes:
            if (strike.late, strike.point) != (self.late, self.points):
                continue
            match strike.kind:
                case "kill client":
                    self._kill()
                case "cancel client":
                    self.scope.cancel()
                case "fail":
                    self.failing += 1
                case _:
                    blows.append(strike)
        return blows

    def begin_steps(self) -> None:
        """From here on points are counted anew."""
        if not self.late:
            self.late, self.points = True, 0

    def take_failure(self) -> bool:
        """Whether the step that is at this point fails."""
        if self.failing:
            self.failing -= 1
            self.failures += 1
            return True
        return False

    def _kill(self) -> None:
        if not self.killed:
            self.killed = True
            self.at_kill()
            if self.journal is not None and self.journal.exists():
                self._journal_then = self.journal.read_bytes()
            self.scope.cancel()

    def leave_as_killed(self) -> None:
        """Nothing tidies up after SIGKILL: put the journal back."""
        if self.killed and self.journal is not None:
            if self._journal_then is None:
                self.journal.unlink(missing_ok=True)
            else:
                self.journal.write_bytes(self._journal_then)


ATTEMPT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)
