"""OCI image layouts: out of an index, the image for this machine, every blob of it compared with digest and size.

Everything read may be hostile. What is not plainly such an image is refused with the reason: artifacts, layers that
registries do not hand out, encrypted ones, other machines' images, digests other than SHA-256.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandboxfile.errors import BuildError
from sandboxfile.images import config
from sandboxfile.images.config import Fetched, ImageConfig
from sandboxfile.images.containers import members
from sandboxfile.images.containers.members import Cancelled, Members

# Of each, OCI's own is the first; the layers also begin with it: plain, gzip, zstd.
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
LAYERS = tuple(f"application/vnd.oci.image.layer.v1.tar{ending}" for ending in ("", "+gzip", "+zstd")) + tuple(
    f"application/vnd.docker.image.rootfs.diff.tar{ending}" for ending in ("", ".gzip", ".zstd")
)
DIGEST = re.compile("sha256:[0-9a-f]{64}")
LAYER_LIMIT = 1024
NESTING = 4


def read_layout(found: Members, cancelled: Cancelled) -> Fetched:
    """The image for this machine; its digest is the manifest's. Raises BuildError."""
    digest, manifest = _choose(found, members.as_object(found.json("index.json"), found.origin), NESTING)
    if manifest.get("mediaType", MANIFESTS[0]) not in MANIFESTS:
        raise BuildError(f"{found.origin} holds a manifest of an unknown kind: {members.shown(manifest['mediaType'])}")
    about = _descriptor(found.origin, manifest.get("config"))
    if about["mediaType"] not in CONFIGS:
        raise BuildError(
            f"{found.origin} is no image to run, but something of kind {members.shown(about['mediaType'])}"
        )
    said = described(found, _json_blob(found, about))
    layers = manifest.get("layers")
    if not isinstance(layers, list) or len(layers) > LAYER_LIMIT or len(layers) != len(said[1]):
        raise BuildError(f"{found.origin} is damaged: its manifest and its configuration name different layers")
    paths = tuple(_layer(found, item, cancelled) for item in layers)
    return Fetched(paths, said[0], digest, contents=tuple(said[1]))


def choose_digest(origin: str, index: Mapping[str, Any]) -> str:
    """The digest that an index has for this machine: of a manifest, or of another index. Raises BuildError."""
    return str(_fitting(origin, index)[0]["digest"])


def _choose(found: Members, index: Mapping[str, Any], depth: int) -> tuple[str, Mapping[str, Any]]:
    """The manifest for this machine, and its digest, out of an index and the indexes in it."""
    fitting = _fitting(found.origin, index)
    if len({item["digest"] for item in fitting}) > 1 and depth == NESTING:
        names = [_part(item, "annotations").get("org.opencontainers.image.ref.name", "?") for item in fitting]
        what = f"{found.origin} holds {len(fitting)} images: {members.shown(names)}"
        raise BuildError(what, hint="give an archive of one")
    chosen = fitting[0]
    if chosen["mediaType"] in INDEXES:
        if depth == 0:
            raise BuildError(f"{found.origin}: indexes within indexes, too deep")
        return _choose(found, _json_blob(found, chosen), depth - 1)
    if chosen["mediaType"] not in MANIFESTS:
        raise BuildError(f"{found.origin} holds no image, but something of kind {members.shown(chosen['mediaType'])}")
    return chosen["digest"], _json_blob(found, chosen)


def _fitting(origin: str, index: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an index has for this machine, without the variants of processors that not every such machine has."""
    listed = index.get("manifests")
    if not isinstance(listed, list) or not listed or len(listed) > LAYER_LIMIT:
        raise BuildError(f"{origin} holds no image")
    descriptors = [_descriptor(origin, item) for item in listed]
    fitting = [item for item in descriptors if _fits(item.get("platform"))]
    if not fitting:
        offered = sorted(
            {
                f"{_part(item, 'platform').get('os')}/{_part(item, 'platform').get('architecture')}"
                for item in descriptors
            }
        )
        raise BuildError(
            f"{origin} has no image for linux/{config.architecture()}", hint=f"it has {members.shown(offered)}"
        )
    return [item for item in fitting if not _part(item, "platform").get("variant")] or fitting


def _fits(wanted: object) -> bool:
    """Whether a descriptor is for this machine; one that does not say is taken at its configuration's word."""
    if not isinstance(wanted, Mapping):
        return True
    return (wanted.get("os"), wanted.get("architecture")) == ("linux", config.architecture())


def _part(descriptor: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = descriptor.get(name)
    return value if isinstance(value, Mapping) else {}


def _layer(found: Members, item: object, cancelled: Cancelled) -> Path:
    descriptor = _descriptor(found.origin, item)
    kind = descriptor["mediaType"]
    if "foreign" in kind or "nondistributable" in kind:
        raise BuildError(f"{found.origin} has a layer that registries do not hand out (a foreign layer)")
    if kind.endswith("+encrypted"):
        raise BuildError(f"{found.origin} has an encrypted layer", hint="decrypt it with `skopeo copy` first")
    if kind not in LAYERS:
        raise BuildError(f"{found.origin} has a layer of an unknown kind: {members.shown(kind)}")
    path = found.get(_blob(descriptor))
    with path.open("rb") as stream:
        if members.copy(stream, None, cancelled=cancelled) != (descriptor["digest"], descriptor["size"]):
            raise BuildError(
                f"{found.origin} is damaged: a layer is not what its digest says", hint=descriptor["digest"]
            )
    return path


def _descriptor(origin: str, value: object) -> Mapping[str, Any]:
    """A descriptor whose kind, digest and size are such."""
    item = members.as_object(value, origin)
    kind, digest, size = item.get("mediaType"), item.get("digest"), item.get("size")
    if (
        not isinstance(kind, str)
        or type(size) is not int
        or not isinstance(digest, str)
        or not DIGEST.fullmatch(digest)
    ):
        raise BuildError(f"{origin} is damaged, or names a blob by another digest than SHA-256")
    return item


def _blob(descriptor: Mapping[str, Any]) -> str:
    return f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"


def _json_blob(found: Members, descriptor: Mapping[str, Any]) -> Mapping[str, Any]:
    value = found.json(_blob(descriptor), digest=descriptor["digest"], size=descriptor["size"])
    return members.as_object(value, found.origin)


def described(found: Members, value: Mapping[str, Any]) -> tuple[ImageConfig, list[str]]:
    """What an image's configuration says for processes, and the digests of its uncompressed layers.

    Raises BuildError, also for an image of another machine.
    """
    made_for = (value.get("os"), value.get("architecture"))
    if made_for != ("linux", config.architecture()):
        theirs = members.shown("/".join(map(str, made_for)))
        raise BuildError(f"{found.origin} is for {theirs}, not for linux/{config.architecture()}")
    contents = members.as_list(members.as_object(value.get("rootfs"), found.origin).get("diff_ids"))
    if not all(isinstance(item, str) for item in contents):
        raise BuildError(f"{found.origin} is damaged: its configuration names no layers")
    try:
        return config.from_json(value.get("config")), contents
    except BuildError as exc:
        raise BuildError(f"{found.origin}: {exc.message}") from exc
