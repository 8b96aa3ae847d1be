"""A volume's directory: made whole or not at all, deleted whole or not at all. What a crash leaves is swept later.

Its disk is a qcow2 file that names no other, with an empty ext4 file system that belongs to the sandbox's user. It is
filled without being mounted, so no right is needed on the host. Growing while no sandbox has it makes the disk larger;
its file system follows when it is mounted next.
"""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread

from sandboxfile.control.client import request
from sandboxfile.control.messages import GrowVolume
from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.capacity import SYSTEM_DIRECTORIES
from sandboxfile.host.durable import sync_directory
from sandboxfile.host.layout import Layout, VolumePaths
from sandboxfile.host.process import run
from sandboxfile.host.statedir import is_locked
from sandboxfile.host.volumes import NEW, lock_volume, record_source, volume_holder
from sandboxfile.images.disk import BLOCK, FEATURES, INODE, LARGEST, MIB
from sandboxfile.names import VolumeId
from sandboxfile.vm.disks import grow_disk

_OWNER = "1000:1000"  # of what is inside, whoever calls sbx: the user `agent` of every sandbox
_LARGEST_JOURNAL = 64 * MIB
_GROW_TIMEOUT = 600.0  # seconds


async def create_volume(layout: Layout, id: VolumeId, size: int, source: str = "") -> None:
    """Make an empty volume of the file `source`, and rename it into place. Existing: makes it larger where too small.

    Raises HostError when the disk is full or a program is missing.
    """
    paths = layout.volume(id)
    if paths.disk.exists():
        await grow_volume(layout, id, size)
        return
    new = VolumePaths(paths.root.parent / f"{NEW}{id.name}")
    await to_thread.run_sync(_remove_tree, new.root)
    try:
        new.root.mkdir(mode=0o700, parents=True)
        await _make_disk(new, size)
        record_source(new, source)
        await to_thread.run_sync(_on_disk, new.disk)
        await to_thread.run_sync(_remove_tree, paths.root)  # without a disk it is no volume
        new.root.rename(paths.root)
    except BaseException as exc:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(_remove_tree, new.root)
        if isinstance(exc, OSError):
            raise HostError(f"cannot make the volume {id}: {exc.strerror or exc}", hint="is the disk full?") from exc
        raise
    sync_directory(paths.root.parent)


async def _make_disk(new: VolumePaths, size: int) -> None:
    """A sparse raw file with the file system in it, then qcow2 of what is not zero in it."""
    raw = new.root / "raw"
    with raw.open("xb") as file:
        file.truncate(size)
    # Grown while mounted up to LARGEST by the quick way; beyond, or when it begins so, the kernel takes its slower one.
    resize = f",resize={LARGEST // BLOCK}" if size < LARGEST else ""
    journal = max(4 * MIB, min(_LARGEST_JOURNAL, size // 16)) // MIB
    options = (
        *("-q", "-F", "-t", "ext4", "-O", FEATURES, "-m", "0", "-b", str(BLOCK), "-I", str(INODE)),
        *("-J", f"size={journal}"),
        *("-E", f"root_owner={_OWNER},lazy_itable_init=1,lazy_journal_init=1,nodiscard{resize}"),
    )
    env = os.environ | {"PATH": f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}"}
    await run(["mke2fs", *options, str(raw)], what="make the volume's file system", env=env)
    # Programs that want an empty directory take `lost+found` for content.
    await run(["debugfs", "-w", "-R", "rmdir lost+found", str(raw)], what="empty the volume", env=env)
    convert = ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(new.disk)]
    await run(convert, what="make the volume's disk")
    raw.unlink()


async def grow_volume(layout: Layout, id: VolumeId, size: int) -> None:
    """Make a volume larger, also while a sandbox has it; a smaller or equal size changes nothing. Raises HostError."""
    holder = volume_holder(layout, id)
    if holder is not None and is_locked(layout.sandbox(holder).lock):
        await request(layout.sandbox(holder).control, GrowVolume(id.name, size), timeout=_GROW_TIMEOUT)
        return
    lock = await lock_volume(layout, id)
    try:
        await grow_disk(layout.volume(id).disk, size)
    finally:
        os.close(lock)


def record_volume(layout: Layout, id: VolumeId, source: str) -> None:
    """Say which file a volume is of. Raises NotFoundError, HostError."""
    paths = layout.volume(id)
    if not paths.disk.exists():
        raise NotFoundError(f"there is no volume {id}", hint="plan again")
    try:
        record_source(paths, source)
    except OSError as exc:
        raise HostError(f"cannot write {paths.record}: {exc.strerror or exc}", hint="is the disk full?") from exc


async def delete_volume(layout: Layout, id: VolumeId) -> None:
    """Delete a volume that no sandbox has: one rename into the trash, then its files. Raises BusyError."""
    paths = layout.volume(id)
    if not paths.disk.exists():
        return
    lock = await lock_volume(layout, id)
    gone = layout.trash / f"{id.project}.{id.name}.{secrets.token_hex(8)}"
    try:
        paths.root.rename(gone)
    finally:
        os.close(lock)
    sync_directory(paths.root.parent)
    with suppress(OSError):  # others are in it
        paths.root.parent.rmdir()
    await to_thread.run_sync(_remove_tree, gone)


def _on_disk(path: Path) -> None:
    """Wait until a file's content survives a loss of power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
