"""Checkpoints made, gone back to, and made another sandbox. Each whole or not at all; the caller holds the locks of
the projects concerned.

What is copied is the disk alone: workspaces are directories of this host, volumes have disks of their own, and what a
program has in memory only is not in it.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread

from sandboxfile.applying.storage import Foundation, create_on
from sandboxfile.control.client import request
from sandboxfile.control.messages import CopyDisk
from sandboxfile.errors import BusyError, HostError
from sandboxfile.host import checkpoints
from sandboxfile.host.checkpoints import PASSING, find_checkpoint, make_checkpoint, remove_checkpoint
from sandboxfile.host.copying import copy_file
from sandboxfile.host.durable import sync_directory
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, try_lock
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.planning.sandbox import setup_done
from sandboxfile.vm.disks import grow_disk


async def checkpoint(layout: Layout, id: SandboxId, label: str) -> None:
    """Copy a sandbox's disk; a running one stands still meanwhile. Raises BusyError when the label is taken."""
    paths = layout.sandbox(id)
    if is_locked(paths.lock):
        await request(paths.control, CopyDisk(label), timeout=None)  # as long as copying takes
        return
    async with _alone(paths, id):
        await to_thread.run_sync(make_checkpoint, paths, label)


async def restore(layout: Layout, id: SandboxId, label: str) -> None:
    """Put a copy of a checkpoint in place of a stopped sandbox's disk. Its settings stay as they are.

    Killed at any moment the sandbox has the one disk or the other. Raises BusyError when it runs, NotFoundError.
    """
    paths = layout.sandbox(id)
    async with _alone(paths, id):
        found = find_checkpoint(paths, label)
        coming = await to_thread.run_sync(checkpoints.coming_disk, paths, found)
        try:
            spec = read_record(paths).spec
            await grow_disk(coming, spec.resources.disk)  # it may have been made larger since
            done = setup_done(found.applied, spec)
            await to_thread.run_sync(checkpoints.put_in_place, paths, coming, done)
        finally:
            coming.unlink(missing_ok=True)


async def fork(layout: Layout, id: SandboxId, spec: DesiredSandbox, label: str | None) -> Applied:
    """Make the sandbox `spec`, stopped, with a copy of the disk that `id` has, or had at a checkpoint.

    Gives what was applied to the one that was copied, when it was. Raises HostError when the name is taken.
    """
    paths = layout.sandbox(id)
    if layout.sandbox(spec.id).root.exists():
        raise HostError(f"there is a sandbox {spec.id} already", hint="choose another name")
    if label is None:
        if (paths.checkpoints / PASSING).exists():  # left by a killed one
            await to_thread.run_sync(remove_checkpoint, paths, PASSING)
        await checkpoint(layout, id, PASSING)
    source = find_checkpoint(paths, label or PASSING)

    async def furnish(new: SandboxPaths) -> None:
        """Fill what is still hidden: after the rename it is whole."""
        new.disk.unlink()
        if label is None:
            source.paths.disk.rename(new.disk)
        else:
            await to_thread.run_sync(copy_file, source.paths.disk, new.disk)
        await grow_disk(new.disk, spec.resources.disk)
        new.copied.touch()
        if paths.command.exists():
            new.command.write_bytes(paths.command.read_bytes())  # `adopt` takes its template from there
        sync_directory(new.root)

    try:
        beneath = Foundation(paths.base, paths.tree, paths.image, source.applied.content)
        done = setup_done(source.applied, spec)
        await create_on(layout, spec, "", beneath, setup_done=done, prepare=furnish)
    finally:
        if label is None:
            await to_thread.run_sync(remove_checkpoint, paths, PASSING)
    return source.applied


@asynccontextmanager
async def _alone(paths: SandboxPaths, id: SandboxId) -> AsyncIterator[None]:
    """Nobody starts it meanwhile."""
    lock = try_lock(paths.lock)
    if lock is None:
        raise BusyError(f"the sandbox {id} is running", hint=f"sbx stop {id}")
    try:
        yield
    finally:
        os.close(lock)
