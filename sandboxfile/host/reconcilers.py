"""What reconcilers leave on disk for whoever asks: their status, and whether they are suspended.

The status file is public: JSON, replaced as one step, with a version. Whoever cannot read it starts without.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sandboxfile.errors import BusyError, NotFoundError, StateError
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import Layout, ReconcilerPaths
from sandboxfile.host.statedir import is_locked, private_directory, read_record, try_lock
from sandboxfile.model.reconciliation import Status
from sandboxfile.names import SandboxId, VolumeId, is_name

VERSION = 1


def prepare(paths: ReconcilerPaths) -> ReconcilerPaths:
    """Make its directories, ours alone; gives them without symlinks on the way, as workspaces are known by."""
    for directory in (paths.root.parent.parent, paths.root.parent, paths.root, paths.source.parent.parent):
        private_directory(directory)
    for directory in (paths.source, paths.tree):
        private_directory(directory.parent)
        private_directory(directory)
    return replace(paths, source=paths.source.resolve(), tree=paths.tree.resolve())


def write_status(paths: ReconcilerPaths, status: Status) -> None:
    """Tell where it stands."""
    fields = {"version": VERSION, **asdict(status), "suspended": is_suspended(paths)}
    write_atomic(paths.status, json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n")


def read_status(paths: ReconcilerPaths) -> Status | None:
    """Where it stands; None when it has never run. Raises StateError when that cannot be read."""
    hint = f"look at it; without it (rm {paths.status}) the reconciler begins anew, and what is there stays"
    try:
        fields = json.loads(paths.status.read_bytes())
        version = fields.pop("version")
        if version != VERSION:
            raise StateError(f"{paths.status} has version {version}; this program knows {VERSION}", hint=hint)
        fields.pop("suspended", None)  # told to others; what counts is the file of that name
        return _adapter().validate_python(fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ValidationError) as exc:
        raise StateError(f"the status {paths.status} cannot be read: {exc}", hint=hint) from exc


def suspend(paths: ReconcilerPaths, wanted: bool) -> None:
    """From the next step on it does nothing; or goes on. Either way until the contrary is said."""
    if wanted:
        paths.suspended.touch(mode=0o600)
    else:
        paths.suspended.unlink(missing_ok=True)
    sync_directory(paths.root)
    handle = try_lock(paths.lock)  # one at work tells it itself
    if handle is None:
        return
    try:
        if (status := read_status(paths)) is not None:
            write_status(paths, status)
    finally:
        os.close(handle)


def is_suspended(paths: ReconcilerPaths) -> bool:
    return paths.suspended.exists()


def to_json(paths: ReconcilerPaths, status: Status) -> dict[str, Any]:
    """The object of `sbx reconcile --status --format json`: the status, and whether it runs and is suspended.

    There is a `next_attempt` only while one is to come.
    """
    running, suspended = is_locked(paths.lock), is_suspended(paths)
    due = status.next_attempt if running and not suspended else ""
    return {
        **asdict(replace(status, next_attempt=due)),
        "running": running,
        "suspended": suspended,
        "tree": str(paths.tree),
    }


def forget(layout: Layout, paths: ReconcilerPaths) -> bool:
    """Remove all that one that does not run has left; whether the tree went, too. It stays when there is work in it.

    Raises BusyError while it runs or something is of it. Killed half-way the same call goes on.
    """
    name = paths.root.name
    handle = try_lock(paths.lock)
    if handle is None:
        raise BusyError(f"the reconciler {name} is at work", hint="end it first")
    try:
        if found := held_by(layout, paths):
            raise BusyError(
                f"{', '.join(found)}: of the reconciler {name}", hint="delete them first: sbx rm, volume rm"
            )
        if paths.source.exists():
            shutil.rmtree(paths.source)
        with suppress(OSError):  # there is work in it, or it was never made
            paths.tree.rmdir()
        for entry in paths.root.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry != paths.lock:
                entry.unlink()
        paths.lock.unlink()  # last: from here on another one may begin by this name
        with suppress(OSError):  # and has
            paths.root.rmdir()
    finally:
        os.close(handle)
    return not paths.tree.exists()


def held_by(layout: Layout, paths: ReconcilerPaths) -> list[str]:
    """The sandboxes and volumes that come from a reconciler. What cannot be read says nothing."""
    from sandboxfile.host.volumes import volume_ids, volume_source

    sources: dict[SandboxId | VolumeId, str] = {id: volume_source(layout, id) for id in volume_ids(layout)}
    for id in (SandboxId(project, name) for project, name in sandbox_directories(layout)):
        with suppress(StateError, NotFoundError):
            sources[id] = read_record(layout.sandbox(id)).source
    outside = paths.source.resolve()
    return sorted(str(id) for id, source in sources.items() if source and Path(source).is_relative_to(outside))


def names(layout: Layout) -> list[str]:
    """All that there are."""
    try:
        return sorted(entry.name for entry in layout.reconcilers.iterdir() if is_name(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []


def kept_by(layout: Layout, source: str) -> dict[str, Any] | None:
    """How the reconciler stands that a sandbox comes from, by the path of its file; None when none made it."""
    outside = layout.reconciler("x").source.parent.resolve()
    path = Path(source)
    if not source or not path.is_relative_to(outside) or path == outside:
        return None
    paths = layout.reconciler(path.relative_to(outside).parts[0])
    try:
        status = read_status(paths)
    except StateError:  # `sbx reconcile --status` says what is wrong with it
        status = None
    return to_json(paths, status) if status is not None else None


@cache
def _adapter() -> TypeAdapter[Status]:
    return TypeAdapter(Status)
