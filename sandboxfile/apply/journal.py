"""What an apply is doing, a JSON line per event, so that the next one can say what an interrupted one was at.

The journal drives nothing: every driver may be run again, and the next plan starts from what is there. It is made when
an apply begins and removed when it ends, well or not; a journal that is found belongs to one that was killed.
Held by the project's lock: one writer.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandboxfile.host.statedir import sync_directory
from sandboxfile.model.events import Event, StepFailed, StepFinished, StepStarted
from sandboxfile.model.plan import Plan

VERSION = 1


def interrupted_steps(path: Path) -> tuple[str, ...] | None:
    """Steps that a killed apply had begun and not ended, in order; None when none was killed.

    A torn last line, or any that is not ours, is passed over: the journal only informs.
    """
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    begun: dict[str, None] = {}
    for entry in _entries(text):
        if "begin" in entry:
            begun[str(entry["begin"])] = None
        begun.pop(str(entry.get("end")), None)
    return tuple(begun)


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("v") == VERSION:
            yield entry


class Journal:
    """An open journal. `note` takes the executor's events; each line is on disk before the step's effect begins."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._write({"plan": [step.key for step in plan.steps], "observation": plan.observation})
        sync_directory(path.parent)

    def note(self, event: Event) -> None:
        """Write a step's begin or end."""
        match event:
            case StepStarted(key):
                self._write({"begin": key})
            case StepFinished(key) | StepFailed(key):
                self._write({"end": key})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)
        self._path.unlink(missing_ok=True)

    def _write(self, entry: dict[str, Any]) -> None:
        os.write(self._handle, json.dumps({"v": VERSION, **entry}).encode() + b"\n")
        os.fdatasync(self._handle)
