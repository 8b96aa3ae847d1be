"""What an apply leaves for `sbx rollback`: how the project was, written before its first step has an effect.

Plans say what they mean for that (`Plan.history`). Called under the project's lock.
"""

from datetime import UTC, datetime

from sandboxfile.applying.storage import empty_trash
from sandboxfile.host import history
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout
from sandboxfile.model.events import Event, Outcome, StepStarted
from sandboxfile.model.plan import CheckpointSandbox, DeleteSandbox, Plan
from sandboxfile.planning.checkpoints import SHARED


class Remembering:
    """Of one apply."""

    def __init__(self, layout: Layout, plan: Plan) -> None:
        self._layout, self._plan = layout, plan
        self._harmless = {step.key for step in plan.steps if isinstance(step.operation, (*SHARED, CheckpointSandbox))}
        self._begun = False

    def note(self, event: Event) -> None:
        """At the first step that changes something, remember how all is. Raises HostError or OSError on a full disk.

        What fills the cache, and checkpoints, change no sandbox: fails one, what was put aside before is still there.
        """
        if isinstance(event, StepStarted) and event.key not in self._harmless and not self._begun:
            self._begun = True
            if self._plan.history == "begins":
                history.begin(self._layout, self._plan.project, datetime.now(UTC))

    def ended(self, outcome: Outcome) -> None:
        """Nobody goes back to what was deleted on purpose; what has succeeded is what the next apply begins from."""
        project = self._plan.project
        if self._plan.history == "leaves":
            done = [step.operation for step in self._plan.steps if step.key in outcome.done]
            deleted = [operation.id for operation in done if isinstance(operation, DeleteSandbox)]
            for id in deleted:
                history.drop_kept(self._layout, id)
            if deleted and project not in {owner for owner, _ in sandbox_directories(self._layout)}:
                history.forget(self._layout, project)
        elif outcome.ok and self._begun:
            history.finish(self._layout, project)
        empty_trash(self._layout)
