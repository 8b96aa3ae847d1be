"""What `sbx rollback` goes back to, on disk: how a project was before an apply, and the sandboxes put aside since.

One generation. It is written when an apply begins its work, unless the one before failed or was killed: what that one
found is the good state, and counts until an apply has succeeded wholly. The caller holds the project's lock. Blocking.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sandboxfile.errors import StateError
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record
from sandboxfile.model.history import Before, Was
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

VERSION = 1


def read_before(layout: Layout, project: str) -> Before | None:
    """How the project was; None when no apply has begun. Raises StateError when that cannot be read."""
    path = layout.before(project)
    try:
        fields = json.loads(path.read_bytes())
        if fields.pop("version") != VERSION:
            raise StateError(f"{path} is of another version of sbx")
        return _adapter().validate_python(fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ValidationError) as exc:
        raise StateError(f"{path} cannot be read: {exc}") from exc


def begin(layout: Layout, project: str, now: datetime) -> None:
    """An apply begins: remember how the project is, unless an apply that failed has remembered it."""
    if not is_finished(layout, project):
        return
    at = now.astimezone(UTC).isoformat(timespec="seconds")  # as `created_at` of a record
    sandboxes, unreadable = _now(layout, project)
    _write(layout, Before(project, at, sandboxes, unreadable=unreadable))
    sweep_kept(layout, project)


def is_finished(layout: Layout, project: str) -> bool:
    """Whether the last apply has succeeded wholly, or there was none, or nobody can tell."""
    try:
        before = read_before(layout, project)
    except StateError:
        return True
    return before is None or before.complete


def stamp(layout: Layout, project: str) -> tuple[int, int] | None:
    """Differs after every apply that began its work. None when none has."""
    try:
        found = layout.before(project).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def finish(layout: Layout, project: str) -> None:
    """An apply has succeeded wholly, or what was remembered is reached again: the next one begins anew."""
    before = read_before(layout, project)
    if before is not None and not before.complete:
        _write(layout, replace(before, complete=True))


def forget(layout: Layout, project: str) -> None:
    """Nothing is left to go back to."""
    layout.before(project).unlink(missing_ok=True)
    sweep_kept(layout, project)


def counts(layout: Layout, applied: Applied) -> bool:
    """Whether a sandbox is one of those to go back to: then it is put aside rather than deleted."""
    before = read_before(layout, applied.spec.id.project)
    was = before.was(applied.spec.id) if before is not None else None
    return was is not None and was.is_same(applied)


# --- put aside ---------------------------------------------------------------------------------------------------


def kept(layout: Layout, project: str) -> Mapping[SandboxId, Applied]:
    """What was put aside, with its record. One that cannot be read is of no use."""
    found = {}
    for path in _inside(layout.kept(SandboxId(project, "x")).parent):
        id = SandboxId(project, path.name)
        try:
            found[id] = read_record(SandboxPaths(path, layout.sandbox(id).control))
        except StateError:
            continue
    return found


def kept_projects(layout: Layout) -> list[str]:
    """Projects of which something is put aside."""
    return [path.name for path in _inside(kept_root(layout))]


def kept_root(layout: Layout) -> Path:
    return layout.kept(SandboxId("x", "x")).parent.parent


def sweep_kept(layout: Layout, project: str) -> None:
    """Give up what was put aside, in one step; its files go with the trash."""
    place = layout.kept(SandboxId(project, "x")).parent
    if place.is_dir():
        discard(layout, place, project)


def drop_kept(layout: Layout, id: SandboxId) -> None:
    """The same for one sandbox."""
    if layout.kept(id).is_dir():
        discard(layout, layout.kept(id), f"{id.project}.{id.name}")


def discard(layout: Layout, path: Path, name: str) -> None:
    """Move a directory into the trash."""
    path.rename(layout.trash / f"{name}.kept.{secrets.token_hex(8)}")
    sync_directory(path.parent)


def _inside(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _now(layout: Layout, project: str) -> tuple[tuple[Was, ...], tuple[SandboxId, ...]]:
    """The sandboxes as they are; and those that nobody could make as they were."""
    found: list[Was] = []
    unreadable: list[SandboxId] = []
    for owner, name in sandbox_directories(layout):
        if owner != project:
            continue
        paths = layout.sandbox(SandboxId(owner, name))
        try:
            found.append(Was(read_record(paths), is_locked(paths.lock)))
        except StateError:
            unreadable.append(SandboxId(owner, name))
    return tuple(found), tuple(unreadable)


def _write(layout: Layout, before: Before) -> None:
    text = json.dumps({"version": VERSION, **asdict(before)}, indent=1, ensure_ascii=False)
    write_atomic(layout.before(before.project), text.encode())


@cache
def _adapter() -> TypeAdapter[Before]:
    return TypeAdapter(Before)
