"""A built image gets the name of another recipe that stands for the same: hard links, so that nothing is built twice.

That is so when a lock is written: what was built without pins is, by the pins read off it, what they would build.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache, store
from sandboxfile.model.template import Recipe

_OWN = ("version", "digest", "files", "build", "created")  # what the cache says of each by itself
Report = Callable[[str], None]


async def alias_image(layout: Layout, image: store.ImageInfo, recipe: Recipe, report: Report) -> None:
    """Let `image` and its layers be found by `recipe` as well. Raises BuildError when the cache cannot be written."""
    if image.digest == recipe.digest:
        return
    layers = await _alias_layers(layout, image, recipe, report)
    changes = {"alias": image.content, **layers}

    def same(manifest: Mapping[str, Any]) -> bool:
        return bool(manifest["content"] == image.content)

    make = partial(_link, image.directory, changes)
    await cache.build(layout.images, recipe.digest, make, report=report, accept=same)


async def _alias_layers(
    layout: Layout, image: store.ImageInfo, recipe: Recipe, report: Report
) -> Mapping[str, list[str]]:
    """What the image's manifest says of its layers then: nothing new when some have been pruned."""
    chain = store.find_chain(layout, image.layers, image.builds)
    keys = store.layer_keys(recipe)
    if not len(chain) == len(keys) == len(image.layers):
        return {}
    builds: list[str] = []
    for key, layer in zip(keys, chain, strict=True):
        if key == layer.key:
            builds.append(layer.build)
            continue
        facts = {"alias": layer.build, "parent": builds[-1] if builds else ""}

        def same(manifest: Mapping[str, Any], facts: Mapping[str, str] = facts) -> bool:
            return all(manifest.get(name) == value for name, value in facts.items())

        make = partial(_link, layer.directory, facts)
        _, manifest = await cache.build(layout.layers, key, make, report=report, accept=same)
        builds.append(manifest["build"])
    return {"layers": list(keys), "builds": builds}


async def _link(source: Path, changes: Mapping[str, Any], work: Path) -> Mapping[str, Any]:
    found = cache.find(source.parent, source.name)
    if found is None:  # pruned meanwhile
        raise FileNotFoundError(2, "it has just been removed", str(source))
    directory, manifest = found
    for name in manifest["files"]:
        os.link(directory / name, work / name)
    facts = {name: value for name, value in manifest.items() if name not in _OWN}
    return {**facts, **changes}
