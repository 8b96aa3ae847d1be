"""Builds a template's disk image from Debian packages, into the cache. An image is never changed once it is built."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache
from sandboxfile.model.desired import ImageSpec

DISK = "rootfs.ext4"
# What a sandbox cannot do without, whatever its template names: apt, and `mount`, which is not essential in Debian.
ALWAYS = ("apt", "mount")


def find_image(layout: Layout, digest: str) -> Path | None:
    """The disk image, if it is built and whole."""
    found = cache.find(layout.images, digest)
    return found[0] / DISK if found else None


def list_images(layout: Layout) -> frozenset[str]:
    """Digests of all images that are built and whole."""
    return cache.digests(layout.images)


async def build_image(layout: Layout, spec: ImageSpec, report: Callable[[str], None]) -> Path:
    """Find it or build it, about half a minute. Raises BuildError, naming a suite or package that does not exist."""
    from sandboxfile.errors import BuildError
    from sandboxfile.images import disk, mmdebstrap  # here, because finding must stay cheap

    kind, _, suite = spec.base.partition(":")
    if kind != "debian" or not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", suite):
        raise BuildError(f"cannot build {spec.base!r}: the base of an image is debian:SUITE")
    for name in spec.packages:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*(:[a-z0-9]+)?", name):  # apt would read more into other names
            raise BuildError(f"{name!r} is not the name of a Debian package")

    async def make(work: Path) -> Mapping[str, Any]:
        mode = await mmdebstrap.choose_mode()
        tar = work / ".root.tar"
        packages = sorted({*ALWAYS, *spec.packages})
        await mmdebstrap.make_tar(tar, suite, packages, variant="essential", mode=mode, report=report)
        report("making the disk")
        await disk.make_disk(tar, work / DISK, mode=mode)
        return {"base": spec.base, "packages": list(spec.packages)}

    directory, _ = await cache.build(layout.images, spec.digest, make, report=report, remove=mmdebstrap.remove_tree)
    return directory / DISK
