"""What an apply is doing, a JSON line per event, so that the next one can say what an interrupted one was at.

The journal drives nothing: every driver may be run again, and the next plan starts from what is there, so what was
interrupted is finished, or undone when the file no longer asks for it. It is made when an apply begins and removed
when every step that began has ended, well or not. Held by the project's lock: one writer.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandboxfile.errors import HostError
from sandboxfile.host.durable import sync_directory
from sandboxfile.model.events import Event, StepFailed, StepFinished, StepStarted
from sandboxfile.model.plan import Plan

VERSION = 1


def interrupted_steps(path: Path) -> tuple[str, ...] | None:
    """Steps that an interrupted apply had begun and not ended, in order; None when none was interrupted.

    A torn last line, or any that is not ours, is passed over: the journal only informs.
    """
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    planned: list[str] | None = None
    begun: dict[str, None] = {}
    ended: set[str] = set()
    for entry in _entries(text):
        match entry:
            case {"plan": [*keys]}:
                planned = [str(key) for key in keys]
            case {"begin": str(key)}:
                begun[key] = None
            case {"end": str(key)}:
                ended.add(key)
    if planned is not None and ended.issuperset(planned):
        return None  # killed with nothing left to do but to remove the journal
    return tuple(key for key in begun if key not in ended)


def _entries(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("v") == VERSION:
            yield entry


class Journal:
    """An open journal. `note` takes the executor's events; each line is on disk before the step's effect begins.

    Raises HostError when the disk is full: what cannot be noted is not begun.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._open: set[str] = set()
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise HostError(f"cannot write the journal {path}: {exc.strerror}") from exc
        self._write({"plan": [step.key for step in plan.steps], "observation": plan.observation})
        sync_directory(path.parent)

    def note(self, event: Event) -> None:
        """Write a step's begin or end."""
        match event:
            case StepStarted(key):
                self._open.add(key)
                self._write({"begin": key})
            case StepFinished(key) | StepFailed(key):
                self._open.discard(key)
                self._write({"end": key})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)
        if not self._open:
            self._path.unlink(missing_ok=True)

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            os.write(self._handle, json.dumps({"v": VERSION, **entry}).encode() + b"\n")
            os.fdatasync(self._handle)
        except OSError as exc:
            raise HostError(f"cannot write the journal {self._path}: {exc.strerror}") from exc
