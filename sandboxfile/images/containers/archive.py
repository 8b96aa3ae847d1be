"""A root file system in a tar of any compression; or an image in one, as `docker save` or an OCI tool wrote it.

The tar is copied while its digest is taken: what was checked is what is used, whatever becomes of the original.
"""

from collections.abc import Callable
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.images.config import Fetched, ImageConfig
from sandboxfile.images.containers import members, oci
from sandboxfile.images.containers.members import Cancelled
from sandboxfile.images.layers import tar_reader, tars
from sandboxfile.model.template import Origin

IMAGE = frozenset({"oci-layout", "manifest.json"})
# Any of these, at the top, makes a root: without a shell nothing would run in it.
ROOT = frozenset({"bin", "usr/bin", "bin/sh", "usr/bin/sh", "sbin/init"})


async def fetch(origin: Origin, work: Path, *, epoch: int, report: Callable[[str], None]) -> Fetched:  # noqa: ARG001 - as all origins
    """Take in the tar at `origin.path`; its digest is the file's. Raises BuildError."""
    report(f"reading {Path(origin.path).name}")
    return await anyio.to_thread.run_sync(_fetch, origin, work, anyio.from_thread.check_cancelled)


def _fetch(origin: Origin, work: Path, cancelled: Cancelled) -> Fetched:
    source, copy = Path(origin.path), work / "root.tar"
    try:
        with source.open("rb") as stream, copy.open("xb") as target:
            digest, _ = members.copy(stream, target, cancelled=cancelled)
    except OSError as exc:
        raise BuildError(f"cannot read {source}: {exc.strerror}") from exc
    if origin.digest and digest != origin.digest:
        raise BuildError(
            f"{source} was pinned to {origin.digest} and is now {digest}",
            hint="`sbx template lock --update` takes what is there now",
        )
    if _is_image(copy, source, cancelled):
        image = oci.read_image(copy, work / "members", cancelled=cancelled)
        return Fetched(image.layers, image.config, digest)
    return Fetched((copy,), ImageConfig(), digest)


def _is_image(tar: Path, source: Path, cancelled: Cancelled) -> bool:
    """Whether the tar holds an image; False: a root file system. Raises BuildError when it is neither."""
    tops: set[str] = set()
    with tars.opened(tar) as stream:
        for member in tar_reader.members(stream, str(source)):
            cancelled()
            name = members.plain_name(member.name)
            if name in ROOT or name.startswith(("bin/", "usr/bin/")):
                return False
            if name in IMAGE:
                return True
            tops.add(name.partition("/")[0])
    hint = "pack it from within: tar -C ROOT -cf root.tar ."
    if len(tops - {"."}) == 1:
        hint = f"everything in it is below {members.shown(min(tops - {'.'}))}/; {hint}"
    raise BuildError(f"{source} holds neither a root file system (it has no bin, no usr/bin) nor an image", hint=hint)
