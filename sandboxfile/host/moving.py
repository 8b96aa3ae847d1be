"""A sandbox gets another identity: its directory is renamed, with disk, logs and certificates. It must be stopped.

The rename is the one moment at which the sandbox is another one: before it, the record that it is to have lies beside
the one that counts; after it, the other counts (`statedir.read_record` takes the one that is for its directory). So a
kill leaves the old sandbox whole or the new one whole, and `settle` only tidies up. The caller holds the locks of both
projects.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import replace

from sandboxfile.errors import BusyError, HostError
from sandboxfile.host.directories import checkpoint_labels
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import encode_record, read_record, try_lock, write_record
from sandboxfile.model.policy import Policy
from sandboxfile.names import SandboxId


def move(layout: Layout, old: SandboxId, new: SandboxId, source: str) -> None:
    """Make the sandbox `old` the sandbox `new`, of the file `source`. Not settled yet: `move_back` undoes it.

    Raises BusyError when it runs, HostError when the name is taken.
    """
    applied = read_record(layout.sandbox(old))
    moved = replace(applied, spec=replace(applied.spec, id=new), source=source)
    write_atomic(layout.sandbox(old).moved_record, encode_record(moved))
    try:
        _rename(layout, old, new)
    except BaseException:
        layout.sandbox(old).moved_record.unlink(missing_ok=True)
        raise


def move_back(layout: Layout, new: SandboxId, old: SandboxId) -> None:
    """Undo `move`, as long as it is not settled."""
    _rename(layout, new, old)
    layout.sandbox(old).moved_record.unlink(missing_ok=True)


def settle(layout: Layout, id: SandboxId, policy: Policy | None = None) -> None:
    """Leave one record only, the one that counts; with this `policy`, where there is one."""
    paths = layout.sandbox(id)
    applied = read_record(paths)
    spec = applied.spec if policy is None else replace(applied.spec, policy=policy)
    write_record(paths, replace(applied, spec=spec))


def _rename_checkpoints(there: SandboxPaths, wanted: SandboxPaths, new: SandboxId) -> None:
    """Before the sandbox itself. Killed in between, they wait for it under the new name: the same command goes on."""
    if not checkpoint_labels(there.checkpoints):
        return
    wanted.checkpoints.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if checkpoint_labels(wanted.checkpoints):
        hint = f"choose another name, or remove them: sbx checkpoint --rm {new} LABEL"
        raise HostError(f"there are checkpoints of another sandbox {new}", hint=hint)
    with suppress(FileNotFoundError):
        shutil.rmtree(wanted.checkpoints)  # nothing whole is in it
    there.checkpoints.rename(wanted.checkpoints)
    sync_directory(wanted.checkpoints.parent)


def _rename(layout: Layout, old: SandboxId, new: SandboxId) -> None:
    there, wanted = layout.sandbox(old), layout.sandbox(new)
    lock = try_lock(there.lock)
    if lock is None:
        raise BusyError(f"the sandbox {old} is running", hint=f"sbx stop {old}")
    try:
        wanted.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wanted.root.exists():
            raise HostError(f"there is a sandbox {new} already", hint="choose another name")
        _rename_checkpoints(there, wanted, new)
        there.root.rename(wanted.root)
    finally:
        os.close(lock)
    for directory in (wanted.root.parent, there.root.parent):
        sync_directory(directory)
    for socket in (there.control, there.monitor):
        socket.unlink(missing_ok=True)
