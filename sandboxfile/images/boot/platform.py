"""The platform: what every sandbox boots from, whatever its template. Kernel, initramfs, and the disk of our own tools.

    vmlinux      Debian's cloud kernel, uncompressed, for QEMU's PVH start
    initrd.cpio  static busybox, the modules that reach the disks, guest/rootfs/initramfs-init
    tools.erofs  /run/sbx of the guest: busybox, OpenSSH, resize2fs, find, tar, their libraries; the kernel's modules;
                 our scripts

Built from Debian packages that are only unpacked, never configured, so no root is needed and nothing of them runs
(busybox excepted, which is asked for the list of its commands). The same packages give the same bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache
from sandboxfile.images.boot import recipe
from sandboxfile.model.fingerprint import fingerprint


@dataclass(frozen=True, slots=True)
class Platform:
    """The files of a whole platform. `kernel` is its release, as `uname -r` gives it inside."""

    digest: str
    vmlinux: Path
    initrd: Path
    tools: Path
    kernel: str


def find_platform(layout: Layout) -> Platform | None:
    """The platform of this version of the program, if it is built and whole."""
    digest = platform_digest()
    found = cache.find(layout.platforms, digest)
    return _platform(digest, *found) if found else None


async def build_platform(layout: Layout, report: Callable[[str], None]) -> Platform:
    """Find it or build it: about 15 s and 60 MB of downloads. Raises BuildError; nothing half-done is left."""
    from sandboxfile.images.boot import assemble  # here, because finding must stay cheap
    from sandboxfile.images.packages import mmdebstrap

    async def make(work: Path) -> Mapping[str, Any]:
        return await assemble.assemble(work, report)

    digest = platform_digest()
    found = await cache.build(layout.platforms, digest, make, report=report, remove=mmdebstrap.remove_tree)
    return _platform(digest, *found)


def platform_digest() -> str:
    """Names the platform by its inputs, the guest's scripts among them."""
    return fingerprint(recipe.inputs())


def _platform(digest: str, directory: Path, manifest: Mapping[str, Any]) -> Platform:
    return Platform(
        digest, directory / "vmlinux", directory / "initrd.cpio", directory / "tools.erofs", manifest["kernel"]
    )
