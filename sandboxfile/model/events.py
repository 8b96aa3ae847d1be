"""What happened while a plan is executed or a sandbox starts, for progress views and the journal."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepStarted:
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepProgress:
    """`message` is one short line. `done`/`total` are bytes or counts when known."""

    key: str
    message: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StepFinished:
    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepFailed:
    key: str
    error: Exception


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """`because` is the key of the failed step that this one needed."""

    key: str
    because: str


Event = StepStarted | StepProgress | StepFinished | StepFailed | StepSkipped


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended: step keys by result, and the errors by step key."""

    done: tuple[str, ...]
    failed: tuple[tuple[str, Exception], ...]
    skipped: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.failed and not self.skipped
