"""A template leaves as an image for other tools: an archive, or an image in the store of podman, buildah or docker.

An archive appears by one rename when it is whole. Stores are filled by skopeo, from an archive of ours: nothing is
fetched from anywhere.
"""

import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import anyio

from sandboxfile.errors import BuildError, HostError, SandboxfileError
from sandboxfile.host.builders import find_builder
from sandboxfile.host.durable import sync_directory
from sandboxfile.host.layout import Layout
from sandboxfile.host.process import run
from sandboxfile.images import cache
from sandboxfile.images.config import ImageConfig
from sandboxfile.images.containers import oci
from sandboxfile.images.packages import mmdebstrap
from sandboxfile.model.references import parse_image_reference

Transport = Literal["oci-archive", "docker-archive", "containers-storage", "docker-daemon"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)
STORES = ("containers-storage", "docker-daemon")
REGISTRY = "localhost"  # in a name: of this host, never to be looked for elsewhere
_HINTS = {
    "containers-storage": "see whether `podman images` or `buildah images` works here",
    "docker-daemon": "see whether `docker info` shows a daemon that runs",
}
_NOT_PATH = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an image goes. `place`: the path of an archive (`-`: standard output); in a store unused.

    `reference`: what it is called there.
    """

    transport: Transport
    reference: str
    place: str = ""

    def __str__(self) -> str:
        return f"{self.transport}:{self.reference if self.transport in STORES else self.place}"


@dataclass(frozen=True, slots=True)
class Content:
    """What goes: the layers of a template, lowest first, and how its processes want to be started."""

    layers: tuple[Path, ...]
    config: ImageConfig
    epoch: int = 0


def reference_of(name: str, project: str = "") -> str:
    """What a template is called elsewhere unless said otherwise: `localhost/sbx/PROJECT-NAME:latest`.

    A saved template's own tag stays: `dev:1` becomes `localhost/sbx/dev:1`.
    """
    name, _, tag = name.partition(":")
    words = [word for word in (*_NOT_PATH.split(project), *_NOT_PATH.split(name)) if word]
    return f"{REGISTRY}/sbx/{'-'.join(words)}:{tag or 'latest'}"


def parse_destination(text: str, reference: str) -> Destination:
    """Read `TRANSPORT:PLACE`. A store's place is the image's name there, `reference` when it is left out.

    Raises SandboxfileError.
    """
    transport, _, place = text.partition(":")
    known = {str(each): each for each in TRANSPORTS}
    if transport not in known:
        forms = "oci-archive:PATH, docker-archive:PATH, containers-storage:NAME, docker-daemon:NAME"
        raise SandboxfileError(f"{text}: an image cannot be exported there", hint=f"it can go to {forms}")
    if transport not in STORES:
        if not place:
            raise SandboxfileError(f"{text}: the path is missing", hint=f"write {transport}:PATH, or - for the output")
        return Destination(known[transport], reference, place)
    name = parse_image_reference(place or reference)
    if name is None or name.digest:
        raise SandboxfileError(f"{place} cannot be the name of an image", hint="as in localhost/team/dev:latest")
    return Destination(known[transport], name.tagged)


def usual_store() -> Transport:
    """The store of the program that builds Dockerfiles here. Raises HostError when there is none."""
    builder = find_builder()
    if builder is None:
        hint = "write an archive: -o FILE; or install one: apt install buildah"
        raise HostError("neither buildah, podman nor docker works here, so there is no store of images", hint=hint)
    return "docker-daemon" if builder.name == "docker" else "containers-storage"


async def export(content: Content, to: Destination, work: Path, report: Callable[[str], None]) -> None:
    """Write the image there; it is there whole or not at all. `work` is an empty directory for what is big.

    Raises BuildError, HostError; OSError when an archive cannot be written.
    """
    if to.transport in STORES:
        archive = await write(content, to, work / "image.tar", report)
        await _copy(archive, to, report)
    else:
        target = Path(to.place).resolve()  # a link of the user's stays one
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            await write(content, to, part, report)
            part.rename(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)


async def write(content: Content, to: Destination, target: Path, report: Callable[[str], None]) -> Path:
    """Write an archive as `to` wants it into a file that is nobody's yet."""
    report("packing")
    form: Literal["oci", "docker"] = "docker" if to.transport.startswith("docker-") else "oci"
    await oci.write(target, content.layers, content.config, to.reference, epoch=content.epoch, format=form)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    return target


async def _copy(archive: Path, to: Destination, report: Callable[[str], None]) -> None:
    source = "docker-archive" if to.transport == "docker-daemon" else "oci-archive"
    report(f"copying into {to}")
    # Signatures are for what comes from elsewhere; this archive we have just written.
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", f"{source}:{archive}", str(to)]
    try:
        await run(command, what=f"copy the image into {to.transport}", error=BuildError)
    except BuildError as exc:  # its command names an archive that is gone by now
        hint = exc.hint or _HINTS[to.transport]
        raise BuildError(f"{exc.message}: {to.reference}", hint=hint, output=exc.output) from exc


@asynccontextmanager
async def workspace(layout: Layout) -> AsyncIterator[Path]:
    """An empty directory for what is big and is nobody's yet. What a kill leaves of it, the next build sweeps."""
    owner = f"work{secrets.token_hex(8)}"
    lock = cache.try_lock(layout.layers, owner)
    assert lock is not None
    work = layout.layers / cache.leftover_name(owner, "0")
    try:
        work.mkdir(mode=0o700)
        yield work
    finally:
        with anyio.CancelScope(shield=True):
            await mmdebstrap.remove_tree(work)
        cache.forget_lock(layout.layers, owner)
        os.close(lock)
