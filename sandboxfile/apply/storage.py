"""A sandbox's directory: made whole or not at all, deleted whole or not at all. What a crash leaves is swept later."""

import datetime
import errno
import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import anyio

from sandboxfile.errors import BuildError, BusyError, HostError
from sandboxfile.host.durable import sync_directory
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import read_record, try_lock, write_record
from sandboxfile.images.debian import find_image
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.vm.disks import create_overlay

_NEW = ".new-"  # hidden: `sandbox_directories` does not see what is half made
_FICLONE = 0x40049409  # ioctl_ficlone(2)


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
    project = paths.root.parent
    new = SandboxPaths(project / f"{_NEW}{spec.id.name}", paths.control)
    await anyio.to_thread.run_sync(_remove_tree, new.root)
    new.root.mkdir(mode=0o700, parents=True)  # a deletion beside us may just have removed the project's directory
    try:
        await _fill(new, spec, source, image)
        new.root.rename(paths.root)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_remove_tree, new.root)
        raise
    sync_directory(project)


async def _fill(new: SandboxPaths, spec: DesiredSandbox, source: str, image: Path) -> None:
    await anyio.to_thread.run_sync(link_or_copy, image, new.base)
    await create_overlay(new.base, new.disk, spec.resources.disk)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_record(new, Applied(spec, source, created, 0))
    await anyio.to_thread.run_sync(_on_disk, new.disk)


async def delete(layout: Layout, id: SandboxId) -> None:
    """Delete a stopped sandbox: one rename into the trash, then its files. Raises BusyError when it runs."""
    paths = layout.sandbox(id)
    if paths.root.exists():
        lock = try_lock(paths.lock)
        if lock is None:
            raise BusyError(f"the sandbox {id} is running", hint=f"sbx stop {id}")
        try:
            paths.root.rename(layout.trash / f"{id.project}.{id.name}.{secrets.token_hex(8)}")
        finally:
            os.close(lock)
        sync_directory(paths.root.parent)
        with suppress(OSError):  # others are in it
            paths.root.parent.rmdir()
    for socket in (paths.control, paths.monitor):
        socket.unlink(missing_ok=True)
    await anyio.to_thread.run_sync(empty_trash, layout)


def sweep(layout: Layout, project: str) -> None:
    """Remove what killed applies left: trash, and half-made sandboxes of this project (whose lock the caller holds)."""
    empty_trash(layout)
    directory = layout.sandboxes / project
    if directory.is_dir():
        for entry in list(directory.iterdir()):
            if entry.name.startswith(_NEW):
                _remove_tree(entry)


def empty_trash(layout: Layout) -> None:
    """Remove everything in the trash. Others may be at it as well."""
    for entry in list(layout.trash.iterdir()):
        _remove_tree(entry)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same file; across file systems a copy, shared blocks and holes kept where possible."""
    try:
        os.link(source, target)
        return
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
            raise HostError(f"cannot link {source} to {target}: {exc.strerror}") from exc
    try:
        with source.open("rb") as reader, target.open("xb") as writer:
            try:
                fcntl.ioctl(writer, _FICLONE, reader.fileno())
            except OSError:
                _copy_data(reader.fileno(), writer.fileno())
            os.fsync(writer.fileno())
    except OSError as exc:
        target.unlink(missing_ok=True)
        raise HostError(f"cannot copy {source} to {target}: {exc.strerror}", hint="is the disk full?") from exc


def _copy_data(source: int, target: int) -> None:
    """Copy the parts of a file that hold data; the holes between them stay holes."""
    length = os.fstat(source).st_size
    os.ftruncate(target, length)
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += os.sendfile(target, source, start, min(end - start, 1 << 26))


def _on_disk(path: Path) -> None:
    """Wait until a file's content survives a loss of power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
