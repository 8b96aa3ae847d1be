"""What the platform is made of. Everything here takes part in its digest. Data only, cheap to import."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1  # raise it when the assembly changes and the rest below does not


@dataclass(frozen=True, slots=True)
class Packages:
    """Debian packages of one suite; `title` is for people."""

    title: str
    suite: str
    names: tuple[str, ...]


# bookworm's kernel (6.1): the next one (6.12) crashed in 5 of 74 boots under QEMU 7.2's emulation, this one in none.
KERNEL = Packages("kernel", "bookworm", ("linux-image-cloud-amd64",))
# trixie's OpenSSH (10): older ones give root sessions neither signals nor forwarded sockets.
# GNU find and tar: what has changed in a root, with all attributes that files have.
TOOLS = Packages("guest tools", "trixie", ("busybox-static", "e2fsprogs", "findutils", "openssh-server", "tar"))
PROGRAMS = (
    *("usr/sbin/sshd", "usr/lib/openssh/sshd-session", "usr/lib/openssh/sshd-auth", "usr/sbin/resize2fs"),
    *("usr/bin/find", "usr/bin/tar"),
)
LIBRARIES = "lib/x86_64-linux-gnu"
LOADER = "lib64/ld-linux-x86-64.so.2"
# What is needed before the tools disk is reached, and what every guest uses: each later load costs a process.
EARLY_MODULES = (
    "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_balloon", "virtio_net", "qemu_fw_cfg",
    "ext4", "erofs", "overlay", "fuse", "virtiofs",
)  # fmt: skip
EARLY_COMMANDS = ("sh", "mount", "insmod", "mkdir", "chroot", "sleep", "sync", "poweroff")
FILE_SYSTEM_UUID = "5b500000-0000-4000-8000-000000000001"
ROOTFS = Path(__file__).parents[2] / "guest" / "rootfs"  # data files; the guest package itself is not imported


def inputs() -> tuple[object, ...]:
    """Equal inputs, equal platform."""
    texts = {name: data.decode() for name, data in scripts()}
    return (FORMAT, KERNEL, TOOLS, PROGRAMS, EARLY_MODULES, EARLY_COMMANDS, texts)


def scripts() -> Iterator[tuple[str, bytes]]:
    """The guest's scripts: path below ROOTFS, and content."""
    for path in sorted(ROOTFS.rglob("*")):
        if path.is_file():
            yield path.relative_to(ROOTFS).as_posix(), path.read_bytes()
