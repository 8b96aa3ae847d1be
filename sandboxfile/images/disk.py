"""A directory tree in a tar becomes an ext4 image, without mounting anything and without being root."""

import tarfile
from pathlib import Path

import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.host.process import run
from sandboxfile.images.mmdebstrap import FULL, Mode, as_root, environment

MIB = 1 << 20
BLOCK = 4096
INODE = 256
JOURNAL = 64 * MIB
SLACK = 256 * MIB  # the file is sparse: what is free in it costs nothing on the host
LARGEST = 1 << 40  # grown while mounted up to here by the quick way; beyond, the kernel takes its slower one
# Named one by one: the defaults of a newer mke2fs may be unknown to the guest's kernel.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)
SCRIPT = Path(__file__).with_name("make-disk.sh")


async def make_disk(tar: Path, image: Path, *, mode: Mode) -> None:
    """Fill `image` with an ext4 file system holding what `tar` holds. Consumes the tar. Raises BuildError.

    It is as small as its content allows, and made to be grown while mounted.
    """
    size = await anyio.to_thread.run_sync(_size, tar)
    with image.open("wb") as stream:
        stream.truncate(size)
    options = (
        "-q", "-F", "-t", "ext4", "-O", FEATURES, "-m", "0", "-b", str(BLOCK), "-I", str(INODE),
        "-J", f"size={JOURNAL // MIB}",
        "-E", f"root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard,resize={LARGEST // BLOCK}",
    )  # fmt: skip
    command = [*as_root(mode), "sh", str(SCRIPT), str(tar), str(image.parent / ".tree"), str(image), *options]
    try:
        await run(command, what="make the disk image", error=BuildError, env=environment())
    except BuildError as exc:
        if FULL.search(exc.output):
            exc.message = "cannot make the disk image: the disk is full"
            exc.hint = f"make room in {image.parent.parent}"
        raise


def _size(tar: Path) -> int:
    """Bytes for the content, its inodes and directories, the journal, and slack; whole MiB."""
    total = 0
    with tarfile.open(tar) as archive:
        for member in archive:
            total += -(-member.size // BLOCK) * BLOCK + 2 * INODE + 64
    return -(-(total * 5 // 4 + JOURNAL + SLACK) // MIB) * MIB
