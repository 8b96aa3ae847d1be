"""Container images in files: OCI layouts (a directory or a tar of one) and what `docker save` writes; read and written.

The door to them. Layers come out as files and are never extracted here; the same input is written as the same bytes.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio.from_thread
import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.images.config import Fetched, ImageConfig
from sandboxfile.images.containers import docker_archives, layouts, members, packing
from sandboxfile.images.containers.members import Cancelled, never
from sandboxfile.images.containers.packing import Format


async def read(path: Path, work: Path) -> Fetched:
    """`read_image` in a thread, which ends when the caller is cancelled."""
    return await anyio.to_thread.run_sync(partial(read_image, path, work, cancelled=anyio.from_thread.check_cancelled))


def read_image(path: Path, work: Path, *, cancelled: Cancelled = never) -> Fetched:
    """The image for this machine in an OCI layout, in a tar of one, or in a tar as `docker save` writes it.

    A layout is read in place; what a tar holds is copied into `work`, a directory that does not exist yet. The digest
    is the manifest's, or for `docker save` the configuration's. Raises BuildError.
    """
    found = members.open_directory(path) if path.is_dir() else members.open_tar(path, work, cancelled=cancelled)
    if found.find("oci-layout") and found.find("index.json"):
        return layouts.read_layout(found, cancelled)
    if found.find("manifest.json"):
        return docker_archives.read_saved(found, cancelled)
    raise BuildError(f"{path} is no image: it has neither an OCI index nor a Docker manifest")


async def write(
    target: Path, layers: Sequence[Path], config: ImageConfig, reference: str, *, epoch: int, format: Format = "oci"
) -> str:
    """`packing.write_archive` in a thread, which ends when the caller is cancelled."""
    cancelled = anyio.from_thread.check_cancelled
    job = partial(
        packing.write_archive, target, layers, config, reference, epoch=epoch, format=format, cancelled=cancelled
    )
    return await anyio.to_thread.run_sync(job)
