"""Layers become an archive that other tools take as an image: of an OCI layout, or as `docker save` writes it.

The same layers and configuration give the same bytes: times are the epoch's, owners nobody's, members in one order.
The target appears by a rename when it is whole. Whiteouts in layers are those of the OCI image specification already.
"""

import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

from sandboxfile.errors import BuildError
from sandboxfile.images.config import ImageConfig, architecture
from sandboxfile.images.containers import members
from sandboxfile.images.containers.layouts import CONFIGS, INDEXES, LAYERS, MANIFESTS
from sandboxfile.images.containers.members import Cancelled, never
from sandboxfile.images.layers import tars

Format = Literal["oci", "docker"]
LEVEL = 3  # of gzip: a third of the time of 6 for a tenth more bytes
GZIP = 16 + zlib.MAX_WBITS  # a gzip header without name and time
NAMES = ("org.opencontainers.image.ref.name", "io.containerd.image.name")


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer as it goes into the archive. `content`: the digest of it uncompressed."""

    path: Path
    content: str
    digest: str
    size: int


def write_archive(
    target: Path,
    layers: Sequence[Path],
    config: ImageConfig,
    reference: str,
    *,
    epoch: int,
    format: Format = "oci",
    cancelled: Cancelled = never,
) -> str:
    """Write the image into `target`, called `reference` (`name:tag`). Layers are tars of any compression, lowest first.

    Gives its digest: of the manifest, for `docker` of the configuration. Needs room beside `target` for the layers
    once more. Raises BuildError for a layer that cannot be read, and OSError.
    """
    if not layers:
        raise BuildError("an image without layers has no files: there is nothing to write")
    with tempfile.TemporaryDirectory(prefix=".pack-", dir=target.parent) as name:
        work = Path(name)
        packed = [_pack(path, work / str(place), format, cancelled) for place, path in enumerate(layers)]
        about = _json(_configuration(config, [layer.content for layer in packed], epoch))
        whole = work / "archive"
        with tarfile.open(whole, "w", format=tarfile.PAX_FORMAT) as archive:
            if format == "oci":
                digest = _write_layout(archive, packed, about, reference, epoch)
            else:
                digest = _write_saved(archive, packed, about, reference, epoch)
        whole.rename(target)
    return digest


def _pack(layer: Path, target: Path, format: Format, cancelled: Cancelled) -> Packed:
    """A copy of the layer: gzipped for a layout, plain as `docker save` has it."""
    content, written, size = hashlib.sha256(), hashlib.sha256(), 0
    squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP) if format == "oci" else None

    def put(data: bytes, stream: IO[bytes]) -> int:
        written.update(data)
        return stream.write(data)

    with tars.opened(layer) as source, target.open("xb") as stream:
        while chunk := source.read(members.CHUNK):
            cancelled()
            content.update(chunk)
            size += put(squeeze.compress(chunk) if squeeze else chunk, stream)
        size += put(squeeze.flush() if squeeze else b"", stream)
    return Packed(target, f"sha256:{content.hexdigest()}", f"sha256:{written.hexdigest()}", size)


def _configuration(config: ImageConfig, contents: list[str], epoch: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": config.to_json(),
        "rootfs": {"type": "layers", "diff_ids": contents},
        "history": [{"created": created, "created_by": "sbx"} for _ in contents],
    }


def _write_layout(archive: tarfile.TarFile, layers: list[Packed], about: bytes, reference: str, epoch: int) -> str:
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFESTS[0],
            "config": _descriptor(CONFIGS[0], about),
            "layers": [{"mediaType": LAYERS[1], "digest": item.digest, "size": item.size} for item in layers],
        }
    )
    described = {**_descriptor(MANIFESTS[0], manifest), "platform": {"architecture": architecture(), "os": "linux"}}
    described["annotations"] = dict.fromkeys(NAMES, reference)
    index = _json({"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": [described]})
    _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}), epoch)
    _add(archive, "index.json", index, epoch)
    blobs: dict[str, bytes | Path] = {_sha256(data): data for data in (manifest, about)}
    blobs |= {item.digest: item.path for item in layers}
    for digest, data in sorted(blobs.items()):
        _add(archive, f"blobs/sha256/{digest.removeprefix('sha256:')}", data, epoch)
    return _sha256(manifest)


def _write_saved(archive: tarfile.TarFile, layers: list[Packed], about: bytes, reference: str, epoch: int) -> str:
    names = [f"{item.digest.removeprefix('sha256:')}.tar" for item in layers]
    digest = _sha256(about)
    config = f"{digest.removeprefix('sha256:')}.json"
    _add(archive, "manifest.json", _json([{"Config": config, "RepoTags": [reference], "Layers": names}]), epoch)
    _add(archive, config, about, epoch)
    for name, path in sorted({name: item.path for name, item in zip(names, layers, strict=True)}.items()):
        _add(archive, name, path, epoch)
    return digest


def _add(archive: tarfile.TarFile, name: str, data: bytes | Path, epoch: int) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = 0o644, epoch
    member.size = len(data) if isinstance(data, bytes) else data.stat().st_size
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as stream:
        archive.addfile(member, stream)


def _descriptor(kind: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _sha256(data), "size": len(data)}


def _json(value: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
