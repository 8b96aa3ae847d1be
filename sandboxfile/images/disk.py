"""A merged tar becomes an ext4 image, without mounting anything and without being root.

Identity and hash seed are fixed; what mke2fs takes from the unpacked tree, such as times of change, is not: two images
of one tar are equal in all that a guest can tell, but not byte for byte.
"""

import time
from pathlib import Path

from sandboxfile.errors import BuildError
from sandboxfile.host.process import run
from sandboxfile.images.packages.mmdebstrap import (
    FULL,
    NAMESPACE,
    SUBORDINATE,
    Mode,
    as_root,
    environment,
    in_memory,
    isolation,
    spare_memory,
)

MIB = 1 << 20
BLOCK = 4096
INODE = 256
JOURNAL = 64 * MIB
SLACK = 256 * MIB  # the file is sparse: what is free in it costs nothing on the host
LARGEST = 1 << 40  # grown while mounted up to here by the quick way; beyond, the kernel takes its slower one
BYTES_AN_INODE = 16384  # as mke2fs has it
SPARE_INODES = 4096
# At most, for a file's last block, one block of extended attributes, its inode and its name in a directory.
AN_ENTRY = 2 * BLOCK + INODE + 320
# Named one by one: the defaults of a newer mke2fs may be unknown to the guest's kernel.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)
IDENTITY = "5b500000-0000-4000-8000-000000000002"  # of all root disks: each machine has but one
CUT_SHORT = "Wrote only"  # what GNU tar says when a file did not fit as a whole
FOREIGN = "Cannot change ownership"
SCRIPT = Path(__file__).with_name("make-disk.sh")


async def make_disk(tar: Path, image: Path, *, mode: Mode, size: int, entries: int, memory: bool = True) -> float:
    """Fill `image` with an ext4 file system holding what the merged `tar` holds. Consumes the tar. Raises BuildError.

    `size` and `entries` are `Merged`'s. It is as small as its content allows, and made to be grown while mounted.
    `memory`: it may be unpacked in memory, which keeps no extended attributes of users.
    Gives a time (seconds since 1970): nothing in the image has changed since, every later change in a machine is newer.
    """
    with image.open("wb") as stream:
        stream.truncate(_bytes(size, entries))
    tree, sealed = image.parent / ".tree", image.parent / ".sealed"
    options = (
        "-q", "-F", "-t", "ext4", "-O", FEATURES, "-m", "0", "-b", str(BLOCK), "-I", str(INODE),
        "-N", str(_inodes(size, entries)), "-J", f"size={JOURNAL // MIB}", "-U", IDENTITY,
        "-E", f"root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard,resize={LARGEST // BLOCK},"
        f"hash_seed={IDENTITY}",
    )  # fmt: skip
    tree.mkdir(mode=0o755)
    before = await _in_memory(mode, tree, size + entries * AN_ENTRY) if memory else as_root(mode)
    command = [
        *before,
        "sh",
        str(SCRIPT),
        str(tar),
        str(tree),
        str(sealed),
        str(image),
        *options,
    ]
    # What mke2fs makes of its own, the root directory above all, must be older than `sealed` as well.
    env = environment() | {"E2FSPROGS_FAKE_TIME": str(int(time.time()))}
    env.pop("SOURCE_DATE_EPOCH", None)  # a newer mke2fs goes by it: our caller's would reach into the image
    try:
        await run(command, what="make the disk image", error=BuildError, env=env)
    except BuildError as exc:
        if FULL.search(exc.output) or CUT_SHORT in exc.output:
            exc.message = "cannot make the disk image: the disk is full"
            exc.hint = f"make room in {image.parent.parent}"
        elif FOREIGN in exc.output and mode == "unshare":
            exc.message = "cannot make the disk image: it has files of owners for whom this user has no subordinate id"
            exc.hint = SUBORDINATE
        raise
    return sealed.stat().st_mtime


async def _in_memory(mode: Mode, tree: Path, needed: int) -> tuple[str, ...]:
    """As `as_root`, and the tree is memory where there is enough."""
    if mode == "fakechroot" or needed > spare_memory():
        return as_root(mode)
    if mode == "unshare":
        return (*NAMESPACE[:-1], "--mount", "--", *in_memory(tree, needed))
    apart = await isolation(mode)
    return (*apart, *in_memory(tree, needed)) if apart else ()


def _bytes(size: int, entries: int) -> int:
    """For the content, its inodes and directories, the journal, and slack; whole MiB."""
    return -(-((size + entries * AN_ENTRY) * 5 // 4 + JOURNAL + SLACK) // MIB) * MIB


def _inodes(size: int, entries: int) -> int:
    """One for each entry however small all are, and some that a machine makes before its disk is grown."""
    return max(_bytes(size, entries) // BYTES_AN_INODE, entries * 5 // 4 + SPARE_INODES)
