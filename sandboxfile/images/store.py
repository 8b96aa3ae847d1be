"""What is in the cache of images and layers, and what each is called. Looks, touches manifests, builds nothing.

An image is `{rootfs.ext4, tree.gz}`, a layer `{layer.tar.zst}`; the manifest of each says the rest. A layer is of use
only above the very build of the layer beneath it: it is a difference to that. So each build of a layer has a name of
its own, and the layer above remembers it. Cheap to import.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandboxfile.errors import BuildError, StateError
from sandboxfile.host.layout import Layout
from sandboxfile.images import cache
from sandboxfile.images.config import ImageConfig, from_json
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.template import BuildStep, Origin, Recipe, Versions

DISK, TREE, TAR = "rootfs.ext4", "tree.gz", "layer.tar.zst"
LAYER_FORMAT = 1  # part of every layer's key: raise it when the same inputs would be built into something else


@dataclass(frozen=True, slots=True)
class Difference:
    """What the lock expects of an image, and in what the image is another: `(path, what)`, as far as that is known."""

    expected: str
    paths: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image. `content` is the digest of its tree, `layers` and `builds` are the keys and builds of its layers.

    `size`: bytes on disk; `created`, `used`, `sealed`: seconds since 1970; whatever changes in a guest does so after
    `sealed`. `versions`: what apt, npm and pip have installed. `different` is set by a build whose lock expects another
    content.
    """

    digest: str
    directory: Path
    content: str
    title: str
    size: int
    created: float
    used: float
    config: ImageConfig
    layers: tuple[str, ...]
    builds: tuple[str, ...]
    sealed: float
    epoch: int
    origin_digest: str
    versions: Mapping[str, Versions] = field(default_factory=dict)
    template: str = ""
    different: Difference | None = None

    @property
    def disk(self) -> Path:
        return self.directory / DISK

    @property
    def tree(self) -> Path:
        return self.directory / TREE


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. `build` names this build of it, `parent` the build beneath it, empty for an origin.

    `config` is that of the image so far; `digest` (of an origin) what its reference stood for; `versions` what its
    step has installed. `epoch`, of an origin: what stands for the time in everything upon it.
    """

    key: str
    directory: Path
    title: str
    build: str
    parent: str
    size: int
    created: float
    used: float
    config: ImageConfig
    epoch: int = 0
    digest: str = ""
    versions: Mapping[str, Versions] = field(default_factory=dict)

    @property
    def tar(self) -> Path:
        return self.directory / TAR


# --- names -------------------------------------------------------------------------------------------------------


def layer_key(parent: str | None, made_from: Origin | BuildStep, epoch: int = 0) -> str:
    """The key of an origin's layer (no `parent`), or of a step upon the layer `parent`."""
    if parent is None:
        return fingerprint(("origin", LAYER_FORMAT, made_from, epoch))
    return fingerprint(("step", LAYER_FORMAT, parent, made_from))


def layer_keys(recipe: Recipe) -> tuple[str, ...]:
    """The keys of all layers of an image, lowest first."""
    keys = [layer_key(None, recipe.origin, recipe.epoch)]
    for step in recipe.steps:
        keys.append(layer_key(keys[-1], step))
    return tuple(keys)


# --- images ------------------------------------------------------------------------------------------------------


def find_image(layout: Layout, digest: str) -> ImageInfo | None:
    """The image of a recipe, if it is built and whole."""
    found = cache.find(layout.images, digest)
    return image_info(*found) if found else None


def images(layout: Layout) -> list[ImageInfo]:
    """All images that are built and whole, sorted by digest."""
    found = (image_info(*entry) for entry in cache.everything(layout.images))
    return [image for image in found if image is not None]


def list_images(layout: Layout) -> dict[str, str]:
    """All images that are built and whole: the content's digest by the recipe's."""
    return {image.digest: image.content for image in images(layout)}


def image_info(directory: Path, manifest: Mapping[str, Any]) -> ImageInfo | None:
    """Read an image's manifest, of the cache or of a sandbox; None when it is of another version of this program."""
    try:
        return ImageInfo(
            digest=manifest["digest"],
            directory=directory,
            content=manifest["content"],
            title=manifest["title"],
            size=disk_use(directory, manifest["files"]),
            created=manifest["created"],
            used=_used(directory),
            config=from_json(manifest["config"]),
            layers=tuple(manifest["layers"]),
            builds=tuple(manifest["builds"]),
            sealed=manifest["sealed"],
            epoch=manifest["epoch"],
            origin_digest=manifest["origin_digest"],
            versions=versions_of(manifest["versions"]),
            template=manifest["template"],
        )
    except (LookupError, TypeError, AttributeError, ValueError, BuildError):
        return None


def image_config(manifest: Path) -> ImageConfig:
    """What the image of a sandbox says besides its files, by the manifest beside its disk; nothing when it has none.

    Raises StateError when it cannot be read.
    """
    try:
        return from_json(json.loads(manifest.read_bytes())["config"])
    except FileNotFoundError:
        return ImageConfig()
    except (OSError, ValueError, LookupError, TypeError, RecursionError, BuildError) as exc:
        raise StateError(f"{manifest} cannot be read: {exc}") from exc


# --- layers ------------------------------------------------------------------------------------------------------


def find_layer(layout: Layout, key: str) -> Layer | None:
    """A layer, if it is built and whole."""
    found = cache.find(layout.layers, key)
    return layer_info(*found) if found else None


def layers(layout: Layout) -> list[Layer]:
    """All layers that are built and whole, sorted by key."""
    found = (layer_info(*entry) for entry in cache.everything(layout.layers))
    return [layer for layer in found if layer is not None]


def find_chain(layout: Layout, keys: Sequence[str], builds: Sequence[str] = ()) -> tuple[Layer, ...]:
    """The lowest of these layers that are there and stand on each other; with `builds`, only those very builds."""
    chain: list[Layer] = []
    for number, key in enumerate(keys):
        layer = find_layer(layout, key)
        if layer is None or layer.parent != (chain[-1].build if chain else ""):
            break
        if builds and layer.build != builds[number]:
            break
        chain.append(layer)
    return tuple(chain)


def layer_info(directory: Path, manifest: Mapping[str, Any]) -> Layer | None:
    """Read a layer's manifest; None when it is of another version of this program."""
    try:
        return Layer(
            key=manifest["digest"],
            directory=directory,
            title=manifest["title"],
            build=manifest["build"],
            parent=manifest["parent"],
            size=disk_use(directory, manifest["files"]),
            created=manifest["created"],
            used=_used(directory),
            config=from_json(manifest["config"]),
            epoch=manifest.get("epoch", 0),
            digest=manifest["origin_digest"],
            versions=versions_of(manifest["versions"]),
        )
    except (LookupError, TypeError, AttributeError, ValueError, BuildError):
        return None


# --- both --------------------------------------------------------------------------------------------------------


def mark_used(directory: Path) -> None:
    """Remember that an image or layer was of use now; of one that has just been removed nobody needs to."""
    with suppress(OSError):
        os.utime(directory / cache.MANIFEST)


def versions_of(value: Mapping[str, Any]) -> Mapping[str, Versions]:
    """Installed versions as they stand in a manifest."""
    return {kind: tuple((str(name), str(version)) for name, version in pairs) for kind, pairs in value.items()}


def disk_use(directory: Path, names: Mapping[str, Any]) -> int:
    """Bytes on disk of these files of a directory; those that are not there count nothing."""
    total = 0
    for name in names:
        with suppress(OSError):
            total += (directory / name).stat().st_blocks * 512  # these are the units, whatever the file system: stat(2)
    return total


def _used(directory: Path) -> float:
    try:
        return (directory / cache.MANIFEST).stat().st_mtime
    except OSError:
        return 0.0
