"""A sandbox's directory: made whole or not at all, deleted whole or not at all. What a crash leaves is swept later."""

import datetime
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from sandboxfile.errors import BuildError, BusyError, HostError, StateError
from sandboxfile.host import history
from sandboxfile.host.checkpoints import sweep_copies
from sandboxfile.host.copying import link_or_copy
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import CHECKPOINTS, Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, try_lock, write_record
from sandboxfile.host.volumes import sweep_volumes
from sandboxfile.images.cache import MANIFEST
from sandboxfile.images.store import ImageInfo, find_image, mark_used
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import Applied
from sandboxfile.names import BUILDS, SandboxId, is_name
from sandboxfile.vm.disks import create_overlay

_NEW = ".new-"  # hidden: `sandbox_directories` does not see what is half made


async def create(layout: Layout, spec: DesiredSandbox, source: str) -> None:
    """Make directory, disk and record, and rename them into place. Existing with the same spec: does nothing.

    Raises BuildError when its image is not in the cache, HostError when the disk is full or the name is taken.
    """
    paths = layout.sandbox(spec.id)
    if paths.root.exists():
        if read_record(paths).spec == spec:
            return
        raise HostError(f"the sandbox {spec.id} exists already", hint="plan again")
    image = find_image(layout, spec.image.digest)
    if image is None:
        raise BuildError(f"the image of {spec.id} is no longer in the cache", hint="plan again")
    await create_on(layout, spec, source, foundation(image))
    mark_used(image.directory)


def half_made(root: Path) -> Path:
    """Where what is to be a sandbox's directory is made. What a killed one leaves there, `sweep` removes."""
    return root.with_name(f"{_NEW}{root.name}")


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a sandbox's disk stands on: an image's disk, list of files and manifest, and the digest of its content."""

    disk: Path
    tree: Path
    manifest: Path
    content: str = ""


def foundation(image: ImageInfo) -> Foundation:
    """An image as what disks stand on."""
    return Foundation(image.disk, image.tree, image.directory / MANIFEST, image.content)


async def create_on(
    layout: Layout,
    spec: DesiredSandbox,
    source: str,
    beneath: Foundation,
    *,
    setup_done: int = 0,
    prepare: Callable[[SandboxPaths], Awaitable[None]] | None = None,
) -> None:
    """The same on whatever is `beneath` it; the name must be free. `prepare` is given its files while it is hidden."""
    paths = layout.sandbox(spec.id)
    project = paths.root.parent
    new = SandboxPaths(half_made(paths.root), paths.control)
    await anyio.to_thread.run_sync(_remove_tree, new.root)
    new.root.mkdir(mode=0o700, parents=True)  # a deletion beside us may just have removed the project's directory
    try:
        await _fill(new, spec, source, beneath, setup_done)
        if prepare is not None:
            await prepare(new)
        new.root.rename(paths.root)
    except BaseException as exc:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_remove_tree, new.root)
        if isinstance(exc, OSError):
            raise HostError(
                f"cannot make the sandbox {spec.id}: {exc.strerror or exc}", hint="is the disk full?"
            ) from exc
        raise
    sync_directory(project)


async def _fill(new: SandboxPaths, spec: DesiredSandbox, source: str, beneath: Foundation, setup_done: int) -> None:
    await anyio.to_thread.run_sync(link_or_copy, beneath.disk, new.base)
    await anyio.to_thread.run_sync(link_or_copy, beneath.tree, new.tree)
    write_atomic(new.image, beneath.manifest.read_bytes())  # no link: the cache's says when it was last of use
    await create_overlay(new.base, new.disk, spec.resources.disk)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_record(new, Applied(spec, source, created, setup_done, beneath.content))
    await anyio.to_thread.run_sync(_on_disk, new.disk)


async def delete(layout: Layout, id: SandboxId, *, keep: bool = False, checkpoints: bool = False) -> None:
    """Delete a stopped sandbox: one rename into the trash, then its files. Raises BusyError when it runs.

    With `keep` one that `sbx rollback` goes back to is put aside instead; any that was made since is deleted. With
    `checkpoints` those go first: killed in between, the same command goes on.
    """
    paths = layout.sandbox(id)
    if paths.root.exists():
        lock = try_lock(paths.lock)
        if lock is None:
            raise BusyError(f"the sandbox {id} is running", hint=f"sbx stop {id}")
        try:
            if checkpoints:
                discard_checkpoints(layout, id)
            if keep and _counts(layout, paths):
                _put_aside(layout, id)
            else:
                paths.root.rename(layout.trash / f"{id.project}.{id.name}.{secrets.token_hex(8)}")
        finally:
            os.close(lock)
        sync_directory(paths.root.parent)
        with suppress(OSError):  # others are in it
            paths.root.parent.rmdir()
    for socket in (paths.control, paths.monitor):
        socket.unlink(missing_ok=True)
    await anyio.to_thread.run_sync(empty_trash, layout)


def discard_checkpoints(layout: Layout, id: SandboxId) -> None:
    """Move all that it has into the trash. It need not exist itself."""
    place = layout.sandbox(id).checkpoints
    if place.is_dir():
        place.rename(layout.trash / f"{id.project}.{id.name}.checkpoints.{secrets.token_hex(8)}")
        sync_directory(place.parent)
        for directory in (place.parent, place.parent.parent):
            with suppress(OSError):  # others are in it
                directory.rmdir()


def _counts(layout: Layout, paths: SandboxPaths) -> bool:
    try:
        return history.counts(layout, read_record(paths))
    except StateError:  # nobody could bring it back
        return False


def _put_aside(layout: Layout, id: SandboxId) -> None:
    history.drop_kept(layout, id)  # of an older story, whose end was killed
    place = layout.kept(id)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.sandbox(id).root.rename(place)
    sync_directory(place.parent)


def bring_back(layout: Layout, id: SandboxId) -> None:
    """Put back what `delete` put aside. Back already: does nothing. Raises HostError when the name is taken."""
    paths, place = layout.sandbox(id), layout.kept(id)
    if not place.is_dir():
        if paths.root.exists():
            return
        raise HostError(f"what was put aside of {id} is no longer there", hint="plan again: sbx rollback")
    if paths.root.exists():
        raise HostError(f"there is a sandbox {id}", hint="plan again: sbx rollback")
    paths.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.rename(paths.root)
    for directory in (paths.root.parent, place.parent):
        sync_directory(directory)


def sweep(layout: Layout, project: str) -> None:
    """Remove what killed commands left: trash, and half-made sandboxes and copies of disks of this project.

    The caller holds its lock.
    """
    sweep_builds(layout)
    empty_trash(layout)
    sweep_volumes(layout, project)
    directory = layout.sandboxes / project
    if not directory.is_dir():
        return
    for entry in list(directory.iterdir()):
        if entry.name.startswith(_NEW):
            _remove_tree(entry)
    names = {entry.name for entry in (*directory.iterdir(), *(directory / CHECKPOINTS).glob("*"))}
    for name in sorted(filter(is_name, names)):
        sweep_copies(layout.sandbox(SandboxId(project, name)))


def sweep_builds(layout: Layout) -> None:
    """Remove the machines of killed builders, which nobody holds. One that is just dying is left to the next sweep."""
    place = layout.sandboxes / BUILDS
    try:
        names = {entry.name for entry in place.iterdir()}
    except FileNotFoundError:
        return
    for name in sorted({name.removeprefix(_NEW).removeprefix(".").removesuffix(".hold") for name in names}):
        hold = layout.build_hold(name)
        held = try_lock(hold)
        if held is None:
            continue
        try:
            if not is_locked(layout.sandbox(SandboxId(BUILDS, name)).lock):
                remove_build(layout, name)
        finally:
            os.close(held)
    with suppress(OSError):  # others are in it
        place.rmdir()


def remove_build(layout: Layout, name: str) -> None:
    """Remove a build machine that no longer runs. The caller holds it."""
    paths = layout.sandbox(SandboxId(BUILDS, name))
    for path in (paths.root, paths.root.with_name(f"{_NEW}{name}")):
        _remove_tree(path)
    for path in (paths.control, paths.monitor, layout.build_hold(name)):
        path.unlink(missing_ok=True)


def empty_trash(layout: Layout) -> None:
    """Remove everything in the trash. Others may be at it as well."""
    for entry in list(layout.trash.iterdir()):
        _remove_tree(entry)


def _on_disk(path: Path) -> None:
    """Wait until a file's content survives a loss of power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
