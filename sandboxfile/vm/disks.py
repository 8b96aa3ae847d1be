"""The sandbox's disk: a qcow2 overlay on its image.

The overlay's header names no backing file: what is beneath it is said on QEMU's command line, by descriptor, so that
a disk can be moved and nobody can plant a name in it.
"""

import contextlib
import os
import secrets
import struct
from pathlib import Path

from sandboxfile.errors import HostError, MachineError
from sandboxfile.host.durable import sync_directory
from sandboxfile.host.process import run

_MAGIC = b"QFI\xfb"
_SIZE_AT = 24  # big-endian 64-bit virtual size: qcow2 specification, header


async def create_overlay(base: Path, disk: Path, size: int) -> None:
    """Make an empty overlay of `size` bytes on a raw image. Appears whole or not at all; replaces nothing.

    Raises MachineError when `size` is less than the image, HostError when the disk exists or qemu-img fails.
    """
    least = _length(base)
    if size < least:
        raise MachineError(
            f"a disk of {size} bytes is smaller than its image ({least} bytes)",
            hint="raise resources.disk of the sandbox",
        )
    temporary = disk.with_name(f".{disk.name}.{secrets.token_hex(4)}")
    try:
        await run(["qemu-img", "create", "-q", "-f", "qcow2", str(temporary), str(size)], what="create the disk")
        try:
            os.link(temporary, disk)  # unlike a rename, it replaces nothing
        except FileExistsError as exc:
            raise HostError(f"the disk {disk} exists already") from exc
        sync_directory(disk.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


async def disk_size(disk: Path) -> int:
    """The size of a disk as a guest sees it, in bytes; also while it is in use. Raises MachineError."""
    try:
        with disk.open("rb") as file:
            header = file.read(_SIZE_AT + 8)
    except OSError as exc:
        raise MachineError(f"cannot read the disk {disk}: {exc}") from exc
    if len(header) < _SIZE_AT + 8 or not header.startswith(_MAGIC):
        raise MachineError(f"{disk} is not a qcow2 disk")
    return int(struct.unpack_from(">Q", header, _SIZE_AT)[0])


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as exc:
        raise MachineError(f"cannot read the image {path}: {exc}") from exc


async def grow_disk(disk: Path, size: int) -> None:
    """Make the disk of a stopped machine larger; a smaller or equal size changes nothing."""
    if size > await disk_size(disk):
        await run(["qemu-img", "resize", "-q", "-f", "qcow2", str(disk), str(size)], what="grow the disk")
