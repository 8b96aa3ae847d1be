"""Where an image begins becomes one layer in the cache, wherever it comes from. The only place that knows all origins.

Each origin fetches what it has (tars and a configuration); several tars are merged, so that what stands on the layer
need not know how many there were.
"""

import importlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from sandboxfile.errors import BuildError
from sandboxfile.host.layout import Layout
from sandboxfile.images import cache, saved, store
from sandboxfile.images.config import Fetched
from sandboxfile.images.layers import tars
from sandboxfile.images.layers.merge import merge_layers
from sandboxfile.images.packages import mmdebstrap
from sandboxfile.model.template import Origin, OriginKind

_MODULES: Mapping[OriginKind, str] = {
    "debian": "packages.debian",
    "ubuntu": "packages.debian",
    "oci": "containers.registry",
    "local": "containers.local",
    "tar": "containers.archive",
    "dockerfile": "containers.dockerfile",
}
Report = Callable[[str], None]


async def origin_layer(
    layout: Layout, origin: Origin, epoch: int, report: Report, *, accept: cache.Accept = lambda _: True
) -> store.Layer:
    """Find it or fetch it. One that `accept` refuses by its manifest is fetched again. Raises BuildError.

    Without an `epoch` it gets that of this moment, and keeps it: who pins what was built here pins that as well.
    """

    async def make(work: Path) -> Mapping[str, Any]:
        # mmdebstrap's scratch tree is named after the directory that it gets, and swept with it.
        place = work if origin.kind in ("debian", "ubuntu") else work / ".origin"
        place.mkdir(exist_ok=True)
        moment = epoch or int(time.time())
        fetched = await _fetch(layout, origin, place, moment, report)
        tar = await _one_tar(fetched, work / ".merged.tar", moment, report)
        report("compressing the layer")
        await tars.pack(tar, work / store.TAR)
        versions = {"apt": fetched.versions} if fetched.versions else {}
        return layer_facts(
            origin_title(origin),
            fetched.config.to_json(),
            origin_digest=fetched.digest,
            versions=versions,
            epoch=moment,
        )

    key = store.layer_key(None, origin, epoch)
    found = await cache.build(layout.layers, key, make, report=report, remove=mmdebstrap.remove_tree, accept=accept)
    layer = store.layer_info(*found)
    if layer is None:
        raise BuildError(f"the layer {found[0]} is of another version of this program", hint=f"remove {found[0]}")
    return layer


def layer_facts(
    title: str,
    config: Mapping[str, Any],
    *,
    parent: str = "",
    origin_digest: str = "",
    versions: Mapping[str, Any] | None = None,
    epoch: int = 0,
) -> Mapping[str, Any]:
    """What the manifest of a layer says; read by `store.layer_info`."""
    return {
        "title": title,
        "parent": parent,
        "config": config,
        "origin_digest": origin_digest,
        "versions": versions or {},
        "epoch": epoch,
    }


def origin_title(origin: Origin) -> str:
    """An origin in words."""
    kind = {"local": "docker"}.get(origin.kind, origin.kind)
    return f"{kind}:{origin.reference or origin.path or origin.dockerfile}"


async def _fetch(layout: Layout, origin: Origin, work: Path, epoch: int, report: Report) -> Fetched:
    if origin.kind == "saved":
        return await saved.fetch(layout, origin, work, epoch=epoch, report=report)
    module = importlib.import_module(f"sandboxfile.images.{_MODULES[origin.kind]}")  # only the one that is of use
    fetch: Callable[..., Awaitable[Fetched]] = module.fetch
    return await fetch(origin, work, epoch=epoch, report=report)


async def _one_tar(fetched: Fetched, target: Path, epoch: int, report: Report) -> Path:
    if len(fetched.layers) == 1:
        (tar,) = fetched.layers
        with tars.opened(tar) as stream:
            if stream.seekable() and stream.read(512)[257:262] == b"ustar":  # not compressed
                return tar
    report("merging the layers of the base")
    await merge_layers(fetched.layers, target, epoch=epoch, report=report)
    return target
