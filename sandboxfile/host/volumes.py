"""Volumes in the state directory: which there are, and who has one. They are made in `applying.volumes`.

The lock of a volume is held for as long as a machine may write to its disk: by the supervisor, and by QEMU through a
copy of the same descriptor. The text in it says which sandbox that is, and counts while the lock is held only.
"""

import json
import os
import shutil

from sandboxfile.errors import BusyError, NotFoundError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import Layout, VolumePaths
from sandboxfile.host.statedir import is_locked, try_lock
from sandboxfile.names import SandboxId, VolumeId, is_name

NEW = ".new-"  # hidden: no volume has such a name, so what is half made is none
VERSION = 1  # of a volume's record
_PATIENCE = 10.0  # seconds for a machine that was killed to be gone
_POLL = 0.05


def volume_ids(layout: Layout, project: str | None = None) -> list[VolumeId]:
    """Every volume of this user, or those of one project, sorted."""
    return sorted(
        VolumeId(path.parent.parent.name, path.parent.name)
        for path in layout.volumes.glob(f"{project or '*'}/*/disk.qcow2")
        if is_name(path.parent.name) and is_name(path.parent.parent.name)
    )


def volume_use(layout: Layout, id: VolumeId) -> int:
    """What a volume occupies on this host, in bytes; 0 when it is gone."""
    try:
        return layout.volume(id).disk.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def volume_source(layout: Layout, id: VolumeId) -> str:
    """The file that a volume is of; empty when nobody can tell."""
    try:
        fields = json.loads(layout.volume(id).record.read_bytes())
        source = fields["source"] if fields["version"] == VERSION else ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return source if isinstance(source, str) else ""


def record_source(paths: VolumePaths, source: str) -> None:
    """Remember the file that a volume is of. Raises OSError when the disk is full."""
    write_atomic(paths.record, json.dumps({"version": VERSION, "source": source}).encode())


def volume_holder(layout: Layout, id: VolumeId) -> SandboxId | None:
    """The sandbox that has a volume now."""
    lock = layout.volume(id).lock
    if not is_locked(lock):
        return None
    try:
        return SandboxId.parse(lock.read_text().strip())
    except (OSError, ValueError):
        return None  # just being taken, or deleted


async def hold_volume(layout: Layout, id: VolumeId, holder: SandboxId) -> int:
    """Take a volume for a sandbox: its lock, for as long as this descriptor or a copy of it is open.

    Raises NotFoundError, and BusyError when another sandbox has it.
    """
    handle = await lock_volume(layout, id)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(holder).encode(), 0)
    return handle


async def lock_volume(layout: Layout, id: VolumeId) -> int:
    """The lock alone, for a change that no sandbox may see. Waits for the end of a machine that was killed."""
    import anyio  # here: who only looks starts no event loop

    paths = layout.volume(id)
    deadline = anyio.current_time() + _PATIENCE
    while paths.disk.exists():
        handle = try_lock(paths.lock)
        if handle is not None:
            return handle
        if anyio.current_time() > deadline:
            raise _in_use(id, volume_holder(layout, id))
        await anyio.sleep(_POLL)
    raise NotFoundError(f"there is no volume {id}", hint="`sbx up` makes the volumes of the file")


def _in_use(id: VolumeId, holder: SandboxId | None) -> BusyError:
    if holder is None:
        return BusyError(f"the volume {id} is in use")
    hint = f"one sandbox at a time has a volume: sbx stop {holder}"
    return BusyError(f"the volume {id} is in use by the sandbox {holder}", hint=hint)


def sweep_volumes(layout: Layout, project: str) -> None:
    """Remove what killed applies left of volumes of a project, whose lock the caller holds."""
    for left in list((layout.volumes / project).glob(f"{NEW}*")):
        shutil.rmtree(left, ignore_errors=True)
