"""What reconcilers leave on disk for whoever asks: their status, and whether they are suspended.

The status file is public: JSON, replaced as one step, with a version. Whoever cannot read it starts without.
"""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sandboxfile.errors import StateError
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import Layout, ReconcilerPaths
from sandboxfile.host.statedir import is_locked, private_directory, try_lock
from sandboxfile.model.reconciliation import Status

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
        return TypeAdapter(Status).validate_python(fields)
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
    """The object of `sbx reconcile --status --format json`: the status, and whether it runs and is suspended."""
    found = asdict(status)
    return {**found, "running": is_locked(paths.lock), "suspended": is_suspended(paths), "tree": str(paths.tree)}


def names(layout: Layout) -> list[str]:
    """All that there are."""
    try:
        return sorted(entry.name for entry in layout.reconcilers.iterdir() if entry.is_dir())
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
