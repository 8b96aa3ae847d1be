"""What `sbx rollback` goes back to, on the fake host: how the project was, and the boxes that were put aside."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from sandboxfile.errors import HostError
from sandboxfile.host.layout import Layout
from sandboxfile.model.history import Before, Was
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

from .fake_files import FakeFiles
from .fake_supervisor import Box
from .pools import PROJECT

_DAWN = datetime(2026, 1, 1, tzinfo=UTC)


def now() -> str:
    """By the clock of the host, which jumps."""
    return moment().isoformat(timespec="microseconds")


def moment() -> datetime:
    return _DAWN + timedelta(seconds=trio.current_time())


class FakeHistory:
    """As `sandboxfile.host.history`."""

    def __init__(self, boxes: dict[SandboxId, Box], files: FakeFiles, layout: Layout) -> None:
        self._boxes, self._files, self._layout = boxes, files, layout
        self.before: Before | None = None
        self.aside: dict[SandboxId, Box] = {}

    def read_before(self, layout: Any, project: str) -> Before | None:
        return self.before

    def put_aside(self, id: SandboxId, box: Box) -> None:
        """Its directory, with all that is in it."""
        self._files.moved(self._layout.sandbox(id).root, self._layout.kept(id))
        self.aside[id] = box

    def _clear(self) -> None:
        for id in list(self.aside):
            self.drop_kept(None, id)

    def begin(self, layout: Any, project: str, at: datetime) -> None:
        if self.before is not None and not self.before.complete:
            return
        whole = (
            (box.record, box.supervisor is not None)
            for id, box in sorted(self._boxes.items())
            if id.project == project and box.record
        )
        self.before = Before(project, now(), tuple(Was(record, running) for record, running in whole))
        self._clear()

    def finish(self, layout: Any, project: str) -> None:
        if self.before is not None and project == PROJECT:
            self.before = replace(self.before, complete=True)

    def forget(self, layout: Any, project: str) -> None:
        if project == PROJECT:
            self.before = None
            self._clear()

    def drop_kept(self, layout: Any, id: SandboxId) -> None:
        if self.aside.pop(id, None) is not None:
            self._files.gone(self._layout.kept(id))

    def kept(self, layout: Any, project: str) -> Mapping[SandboxId, Applied]:
        return {id: box.record for id, box in self.aside.items() if box.record is not None}

    def counts(self, record: Applied | None) -> bool:
        was = self.before.was(record.spec.id) if self.before is not None and record is not None else None
        return was is not None and was.is_same(record)

    def bring_back(self, layout: Any, id: SandboxId) -> None:
        if id in self.aside and id not in self._boxes:
            self._boxes[id] = self.aside.pop(id)
            self._files.moved(self._layout.kept(id), self._layout.sandbox(id).root)
        elif id in self.aside or id not in self._boxes:
            raise HostError(f"{id} cannot come back")


def no_more(*_: Any) -> None:
    """In place of what there is nothing of on this host: a trash, a list of what agents can write to."""


Patch = Callable[[str, Any], None]


def remembered_by(history: FakeHistory, boxes: dict[SandboxId, Box], patch: Patch) -> None:
    """Put it in the place of the real one."""
    for name in ("begin", "finish", "forget", "drop_kept", "read_before", "kept"):
        patch(f"sandboxfile.host.history.{name}", getattr(history, name))
    patch("sandboxfile.applying.storage.bring_back", history.bring_back)
    patch("sandboxfile.applying.remembering.empty_trash", no_more)
    patch("sandboxfile.applying.remembering.sandbox_directories", lambda _: [(id.project, id.name) for id in boxes])
    patch("sandboxfile.pipeline.expose", no_more)
