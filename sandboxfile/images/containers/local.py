"""Images of this host's podman, buildah or docker, by name or id: found, taken out, read. Nothing comes from afar."""

from collections.abc import Callable
from pathlib import Path

import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.host.builders import LocalImage, local_image
from sandboxfile.images.config import Fetched
from sandboxfile.images.containers import engines, oci
from sandboxfile.model.template import Origin


async def fetch(origin: Origin, work: Path, *, epoch: int, report: Callable[[str], None]) -> Fetched:  # noqa: ARG001 - as all origins
    """Take out the image that the origin names; its digest is the image's id. Raises BuildError."""
    found = await find(origin.reference)
    if found is None:
        raise BuildError(
            f"this host has no local image {origin.reference}",
            hint="`podman image ls`, `buildah images` and `docker image ls` show what there is;"
            " an image of a registry is `oci:REFERENCE`",
        )
    if origin.digest and found.id != origin.digest:
        raise BuildError(
            f"the local image {origin.reference} was pinned to {origin.digest} and is now {found.id}",
            hint="`sbx template lock --update` takes what is there now",
        )
    image = await oci.read(await save(found, work, report), work / "members")
    if image.digest != found.id:
        raise BuildError(f"{found.engine} gave {image.digest} for the image {found.id}")
    return image


async def find(name: str) -> LocalImage | None:
    """What this host has under a name, and which program has it."""
    return await anyio.to_thread.run_sync(local_image, name)


async def save(image: LocalImage, work: Path, report: Callable[[str], None]) -> Path:
    """Take the image out, into an archive below `work`. Raises BuildError."""
    return await engines.save(image.engine, image.id, work, report)
