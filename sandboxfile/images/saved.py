"""Saved and imported templates: state, for nothing can make them anew. `SAVED/TAG/` holds layers and a manifest.

The manifest is what counts, and is replaced as one step; layers carry names of their own build, so that an old and a
new set of them stand beside each other until the manifest says which. Losing the cache loses nothing of these.
"""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import to_thread

from sandboxfile.errors import BuildError, BusyError, NotFoundError
from sandboxfile.host.copying import link_or_copy
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import Layout
from sandboxfile.images.cache import MANIFEST
from sandboxfile.images.config import Fetched, ImageConfig, from_json
from sandboxfile.images.store import disk_use
from sandboxfile.model.references import is_saved_tag
from sandboxfile.model.template import Origin

VERSION = 1
_SUFFIX = ".layer"


@dataclass(frozen=True, slots=True)
class SavedInfo:
    """One saved template. `digest` (`sha256:…`) is of its layers and configuration, lowest layer first.

    `size`: bytes on disk; `created`: seconds since 1970; `title`: where it comes from, in words; `facts`: what else
    whoever saved it has to say.
    """

    tag: str
    directory: Path
    digest: str
    size: int
    created: float
    config: ImageConfig
    layers: tuple[Path, ...]
    title: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def find_saved(layout: Layout, tag: str) -> SavedInfo | None:
    """The saved template called so, if it is there and whole."""
    directory = layout.saved / tag
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        if manifest["version"] != VERSION or not is_saved_tag(tag):
            return None
        if any((directory / name).stat().st_size != size for name, size in manifest["files"].items()):
            return None
        return _info(tag, directory, manifest)
    except (OSError, LookupError, TypeError, AttributeError, ValueError, BuildError):
        return None


def list_saved(layout: Layout) -> list[SavedInfo]:
    """All saved templates that are whole, sorted by tag."""
    try:
        tags = sorted(path.name for path in layout.saved.iterdir())
    except OSError:
        return []
    return [info for info in (find_saved(layout, tag) for tag in tags) if info is not None]


def save_layers(
    layout: Layout,
    tag: str,
    layers: Sequence[Path],
    config: ImageConfig,
    facts: Mapping[str, Any],
    *,
    title: str = "",
    replace: bool = False,
) -> SavedInfo:
    """Keep these layers, lowest first, under a tag; they are linked where possible, and stay where they are. Blocking.

    `facts` are kept as they are (JSON). Raises BusyError when the tag is taken and not to be replaced, BuildError when
    the disk is full.
    """
    if not is_saved_tag(tag):
        raise BuildError(f"{tag!r} cannot be the tag of a saved template", hint="small letters, digits and -, _, .")
    if not replace and find_saved(layout, tag) is not None:
        raise BusyError(f"there is a saved template {tag} already", hint="--replace replaces it")
    directory, build = layout.saved / tag, secrets.token_hex(8)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = [f"{build}-{number}{_SUFFIX}" for number in range(len(layers))]
        try:
            _fill(directory, dict(zip(names, layers, strict=True)), config, facts, title)
        except BaseException:
            _drop(directory, keep=_kept(directory))
            raise
        _drop(directory, keep=frozenset(names))
        sync_directory(layout.saved)
    except OSError as exc:
        raise BuildError(f"cannot save {tag}: {exc.strerror or exc}", hint=f"make room in {layout.saved}") from exc
    info = find_saved(layout, tag)
    if info is None:
        raise BuildError(f"what was saved as {tag} has been removed meanwhile")
    return info


def remove_saved(layout: Layout, tag: str) -> None:
    """Delete a saved template; images made from it stay. Raises NotFoundError."""
    if not is_saved_tag(tag) or not (layout.saved / tag).is_dir():
        raise NotFoundError(f"there is no saved template {tag}")
    directory = layout.saved / tag
    (directory / MANIFEST).unlink(missing_ok=True)  # first: what is half removed is not found
    _drop(directory, keep=frozenset())
    directory.rmdir()


async def fetch(
    layout: Layout,
    origin: Origin,
    work: Path,
    *,
    epoch: int,  # noqa: ARG001 - as for the other origins
    report: Callable[[str], None],
) -> Fetched:
    """The layers of a saved template, linked into `work`. Raises BuildError when it is gone, or not what was pinned."""
    info = find_saved(layout, origin.reference)
    if info is None:
        raise BuildError(f"there is no saved template {origin.reference}", hint="`sbx template ls` shows what there is")
    if origin.digest and origin.digest != info.digest:
        raise BuildError(f"saved:{origin.reference} was pinned to {origin.digest} and is now {info.digest}")
    report(f"taking saved:{origin.reference}")
    layers = []
    for number, layer in enumerate(info.layers):
        layers.append(work / f"{number}{_SUFFIX}")
        await to_thread.run_sync(link_or_copy, layer, layers[-1])
    return Fetched(tuple(layers), info.config, info.digest)


def _fill(
    directory: Path, layers: Mapping[str, Path], config: ImageConfig, facts: Mapping[str, Any], title: str
) -> None:
    """Put the layers on the disk, and then the manifest."""
    digests = []
    for name, layer in layers.items():
        link_or_copy(layer, directory / name)
        digests.append(_digest(directory / name))
    sync_directory(directory)
    fields = {"layers": digests, "config": config.to_json()}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    manifest = {
        **fields,
        "version": VERSION,
        "content": f"sha256:{digest}",
        "files": {name: (directory / name).stat().st_size for name in layers},
        "order": list(layers),
        "created": time.time(),
        "title": title,
        "facts": dict(facts),
    }
    write_atomic(directory / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _kept(directory: Path) -> frozenset[str]:
    """The layers that the manifest there names."""
    try:
        return frozenset(json.loads((directory / MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, LookupError, TypeError):
        return frozenset()


def _drop(directory: Path, keep: frozenset[str]) -> None:
    """Remove the layers that are no longer of use, also those of a save that was killed."""
    for path in directory.iterdir():
        if path.name not in keep and (path.suffix == _SUFFIX or path.name.startswith(".")):
            path.unlink(missing_ok=True)


def _info(tag: str, directory: Path, manifest: Mapping[str, Any]) -> SavedInfo:
    return SavedInfo(
        tag=tag,
        directory=directory,
        digest=manifest["content"],
        size=disk_use(directory, manifest["files"]),
        created=manifest["created"],
        config=from_json(manifest["config"]),
        layers=tuple(directory / name for name in manifest["order"]),
        title=manifest["title"],
        facts=manifest["facts"],
    )
