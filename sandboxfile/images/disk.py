"""A directory tree in a tar becomes an ext4 image, without mounting anything and without being root."""

import tarfile
from pathlib import Path

import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.host.process import run
from sandboxfile.images.mmdebstrap import Mode, as_root, environment

MIB = 1 << 20
BLOCK = 4096
INODE = 256
JOURNAL = 64 * MIB
SLACK = 256 * MIB  # the file is sparse: what is free in it costs nothing on the host
LARGEST = 1 << 40  # grown while mounted up to here by the quick way; beyond, the kernel takes its slower one

# Unpack, make tidy, fill. $1 tar, $2 tree, $3 image, then mke2fs arguments. dev is the guest's own at every boot.
# resolv.conf and hostname are copies of the build host's; an empty machine-id is filled at the first boot.
SCRIPT = """
set -e
tar=$1 tree=$2 image=$3; shift 3
mkdir "$tree"
tar -C "$tree" --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' -xf "$tar"
rm -f "$tar" "$tree/etc/resolv.conf" "$tree/etc/hostname" "$tree/var/lib/dbus/machine-id"
if [ -e "$tree/etc/machine-id" ]; then : >"$tree/etc/machine-id"; fi
mke2fs "$@" -d "$tree" "$image"
"""


async def make_disk(tar: Path, image: Path, *, mode: Mode) -> None:
    """Fill `image` with an ext4 file system holding what `tar` holds. Consumes the tar. Raises BuildError.

    It is as small as its content allows, and made to be grown while mounted.
    """
    size = await anyio.to_thread.run_sync(_size, tar)
    await anyio.to_thread.run_sync(_reserve, image, size)
    options = f"root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard,resize={LARGEST // BLOCK}"
    tree = image.parent / ".tree"
    await run(
        [*as_root(mode), "sh", "-c", SCRIPT, "sh", str(tar), str(tree), str(image), "-q", "-F", "-t", "ext4", "-m", "0",
         "-b", str(BLOCK), "-I", str(INODE), "-J", f"size={JOURNAL // MIB}", "-E", options],
        what="make the disk image", error=BuildError, env=environment(),
        hint="is there room in the cache's file system?",
    )  # fmt: skip


def _size(tar: Path) -> int:
    """Bytes for the content, its inodes and directories, the journal, and slack; whole MiB."""
    total = 0
    with tarfile.open(tar) as archive:
        for member in archive:
            total += -(-member.size // BLOCK) * BLOCK + 2 * INODE + 64
    return -(-(total * 5 // 4 + JOURNAL + SLACK) // MIB) * MIB


def _reserve(image: Path, size: int) -> None:
    with image.open("wb") as stream:
        stream.truncate(size)
