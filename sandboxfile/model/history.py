"""How a project was before it was changed: what `sbx rollback` goes back to. Kept by `host.history`."""

from dataclasses import dataclass

from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId


@dataclass(frozen=True, slots=True)
class Was:
    """One sandbox as it was."""

    applied: Applied
    running: bool

    @property
    def id(self) -> SandboxId:
        return self.applied.spec.id

    def is_same(self, applied: Applied | None) -> bool:
        """Whether a record is of this very sandbox, with its disk, and not of one made later under its name."""
        return applied is not None and (applied.spec.id, applied.created_at) == (self.id, self.applied.created_at)


@dataclass(frozen=True, slots=True)
class Before:
    """All sandboxes of a project at `at` (RFC 3339, UTC), sorted by name, when an apply began.

    `unreadable` are those that were there, too, and of which nobody could tell how they were.
    `complete`: that apply, or a later one, has succeeded wholly, and the next one begins another story.
    """

    project: str
    at: str
    sandboxes: tuple[Was, ...] = ()
    complete: bool = False
    unreadable: tuple[SandboxId, ...] = ()

    def was(self, id: SandboxId) -> Was | None:
        """A sandbox as it was; None: there was none of this name."""
        return next((each for each in self.sandboxes if each.id == id), None)
