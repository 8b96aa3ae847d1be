"""Checkpoints made, gone back to, and made another sandbox. Each whole or not at all; the caller holds the locks of
the projects concerned.

What is copied is the disk alone: workspaces are directories of this host, volumes have disks of their own, and what a
program has in memory only is not in it. A checkpoint may be of a disk that the sandbox had before it was replaced: then
what is beneath the disk comes back with it, and what the sandbox can only have by such a disk.
"""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from anyio import CancelScope, to_thread

from sandboxfile.applying.storage import Foundation, create_on, half_made
from sandboxfile.control.client import request
from sandboxfile.control.messages import CopyDisk
from sandboxfile.errors import BusyError, HostError
from sandboxfile.host import checkpoints
from sandboxfile.host.checkpoints import (
    PASSING,
    Checkpoint,
    find_checkpoint,
    free_label,
    make_checkpoint,
    remove_checkpoint,
)
from sandboxfile.host.copying import copy_file, link_or_copy
from sandboxfile.host.durable import exchange, sync_directory
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, try_lock, write_record
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


async def checkpoint_before(layout: Layout, id: SandboxId, label: str, report: Callable[[str], None]) -> None:
    """Make the one that a plan makes before anything else. A label that is taken by now gets a number."""
    free = free_label(layout.sandbox(id), label)
    report("copying the disk" if free == label else f"copying the disk, as {free}")
    await checkpoint(layout, id, free)


async def restore(layout: Layout, id: SandboxId, label: str) -> None:
    """Put a copy of a checkpoint in place of a stopped sandbox's disk. Its settings stay, but for `restored`.

    Killed at any moment the sandbox has the one disk or the other. Raises BusyError when it runs, NotFoundError.
    """
    paths = layout.sandbox(id)
    async with _alone(paths, id):
        found, applied = find_checkpoint(paths, label), read_record(paths)
        spec = restored(applied.spec, found.applied.spec)
        if spec == applied.spec and _stands_on(paths, found):
            await _put_disk(paths, found, spec)
        else:
            done = setup_done(found.applied, spec)
            now = replace(applied, spec=spec, setup_done=done, content=found.applied.content)
            await _put_whole(paths, found, now)


def restored(spec: DesiredSandbox, was: DesiredSandbox) -> DesiredSandbox:
    """What a sandbox is with a disk that it had when it `was` so: all that only a replacement could change. Pure."""
    disk = max(spec.resources.disk, was.resources.disk)
    spec = replace(spec, resources=replace(spec.resources, disk=disk))
    if (spec.image.digest, spec.agent) == (was.image.digest, was.agent):
        return spec
    return replace(
        spec, template=was.template, image=was.image, user=was.user, docker=was.docker, agent=was.agent
    )  # the user and the daemon are those that the image has


def _stands_on(paths: SandboxPaths, found: Checkpoint) -> bool:
    """Whether a checkpoint's disk is one upon the image that the sandbox has now."""
    return paths.base.exists() and paths.base.samefile(found.paths.base)


async def _put_disk(paths: SandboxPaths, found: Checkpoint, spec: DesiredSandbox) -> None:
    coming = await to_thread.run_sync(checkpoints.coming_disk, paths, found)
    try:
        await grow_disk(coming, spec.resources.disk)  # it may have been made larger since
        if found.paths.copied.exists():
            paths.copied.touch(mode=0o600)
        await to_thread.run_sync(checkpoints.put_in_place, paths, coming, setup_done(found.applied, spec))
    finally:
        coming.unlink(missing_ok=True)


async def _put_whole(paths: SandboxPaths, found: Checkpoint, applied: Applied) -> None:
    """Exchange the directory for one with the checkpoint's disk and what is beneath it; all else is in both.

    The lock is one of those: whoever holds it holds it on.
    """
    new = SandboxPaths(half_made(paths.root), paths.control)
    await to_thread.run_sync(_remake, new.root)
    try:
        await to_thread.run_sync(_furnish, new, paths, found)
        await grow_disk(new.disk, applied.spec.resources.disk)
        write_record(new, applied)
        exchange(new.root, paths.root)
        sync_directory(paths.root.parent)
    except OSError as exc:
        raise HostError(
            f"cannot give {applied.spec.id} the disk of {found.label}: {exc.strerror or exc}",
            hint=f"`sbx fork {applied.spec.id} NEW --checkpoint {found.label}` makes another sandbox of it",
        ) from exc
    finally:
        with CancelScope(shield=True):  # by now it is the old one, when all went well
            await to_thread.run_sync(partial(shutil.rmtree, new.root, ignore_errors=True))


def _remake(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)  # left by a killed one
    root.mkdir(mode=0o700)


def _furnish(new: SandboxPaths, paths: SandboxPaths, found: Checkpoint) -> None:
    beneath = {each.name: each for each in (found.paths.base, found.paths.tree, found.paths.image)}
    others = [entry for entry in paths.root.iterdir() if entry.is_file()]
    own = {each.name: each for each in others if each not in (paths.disk, paths.record, paths.moved_record)}
    for name, path in (own | beneath).items():
        link_or_copy(path, new.root / name)
    if found.paths.copied.exists():
        new.copied.touch(mode=0o600)
    copy_file(found.paths.disk, new.disk)


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
        there = source.paths
        beneath = Foundation(there.base, there.tree, there.image, source.applied.content)
        done = setup_done(source.applied, spec)
        await create_on(layout, spec, "", beneath, setup_done=done, prepare=furnish)
    finally:
        if label is None:
            with CancelScope(shield=True):
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
