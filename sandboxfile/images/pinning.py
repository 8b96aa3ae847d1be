"""What an image was made from, read off it and its layers: an entry of sandbox.lock."""

from dataclasses import replace

from sandboxfile.host.layout import Layout
from sandboxfile.images import store
from sandboxfile.model.lock import LockedTemplate
from sandboxfile.model.template import BuildStep, Recipe
from sandboxfile.resolve.locking import hidden
from sandboxfile.resolve.templates import IMAGE_FORMAT


def entry_of(layout: Layout, recipe: Recipe, image: store.ImageInfo) -> LockedTemplate | None:
    """The entry for `image`, which was built of `recipe`; None when a layer of it is no longer in the cache."""
    layers = store.find_chain(layout, image.layers, image.builds)
    if len(layers) != len(recipe.steps) + 1:
        return None
    base = recipe.origin
    origin = replace(
        base,
        digest=base.digest or image.origin_digest,
        versions=layers[0].versions.get("apt", ()) if base.kind in ("debian", "ubuntu") else (),
    )
    steps = tuple(_pinned(step, layer) for step, layer in zip(recipe.steps, layers[1:], strict=True))
    return LockedTemplate(hidden(Recipe(origin, steps, image.epoch)), image.content, IMAGE_FORMAT)


def _pinned(step: BuildStep, layer: store.Layer) -> BuildStep:
    return replace(step, versions=layer.versions.get(step.kind, ()))
