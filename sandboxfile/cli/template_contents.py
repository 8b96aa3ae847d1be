"""What is in a template that a word meant: how it is shown, the list of its files, the layers that can be exported."""

from collections.abc import Sequence

from anyio import to_thread

from sandboxfile.cli.templates import Known
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.views.templates import LayerRow, Shown
from sandboxfile.cli.working import working
from sandboxfile.errors import NotFoundError
from sandboxfile.host.layout import Layout
from sandboxfile.images import store
from sandboxfile.images.containers import export
from sandboxfile.images.containers.export import Content
from sandboxfile.images.layers.tree import Tree
from sandboxfile.images.saved import SavedInfo
from sandboxfile.resolve.templates import title_of


def shown(known: Known, layout: Layout) -> Shown:
    """What the views need to know of it."""
    if known.saved is not None:
        return _shown_saved(known.saved)
    image = known.image
    made_of = title_of(known.template.recipe) if known.template is not None else image.title if image else ""
    if image is None:
        digest = known.template.recipe.digest if known.template is not None else ""
        return Shown(known.name, known.source, made_of, digest, template=known.template)
    return Shown(
        known.name,
        known.source,
        made_of,
        image.digest,
        image.content,
        image.size,
        image.created,
        image.used,
        known.template,
        image.config,
        tuple(_layer_row(layout, key) for key in image.layers),
        image.versions,
        image.origin_digest,
    )


def _shown_saved(info: SavedInfo) -> Shown:
    rows = tuple(LayerRow(path.name, "", path.stat().st_blocks * 512) for path in info.layers)
    return Shown(
        info.tag,
        "saved",
        info.title,
        info.digest,
        size=info.size,
        created=info.created,
        config=info.config,
        layers=rows,
    )


def _layer_row(layout: Layout, key: str) -> LayerRow:
    layer = store.find_layer(layout, key)
    return LayerRow(key, layer.title, layer.size) if layer else LayerRow(key, "")


async def tree_of(known: Known, layout: Layout, console: Console) -> Tree:
    """The list of everything in it; that of a saved one is made of its layers first. Raises BuildError."""
    from sandboxfile.images.composing import read_tree
    from sandboxfile.images.layers.merge import merge_layers

    if known.image is not None:
        return await to_thread.run_sync(read_tree, known.image.tree)
    assert known.saved is not None
    async with (
        show_progress(console) as emit,
        export.workspace(layout) as work,
        working(f"inspect {known.name}", "lays its layers upon each other", emit) as report,
    ):
        merged = await merge_layers(known.saved.layers, work / "root.tar", epoch=0, report=report)
    return merged.tree


def need_built(known: Sequence[Known]) -> None:
    """Raise NotFoundError with all that are not built."""
    missing = [each.name for each in known if each.image is None and each.saved is None]
    if missing:
        several = len(missing) > 1
        raise NotFoundError(
            f"the template{'s' * several} {', '.join(missing)} {'are' if several else 'is'} not built",
            hint=f"sbx template build {' '.join(missing)}",
        )


def content_of(known: Known, layout: Layout) -> Content | None:
    """What an export writes; None when it is not built, or not all of its layers are in the cache any more."""
    if known.saved is not None:
        return Content(known.saved.layers, known.saved.config)
    image = known.image
    if image is None:
        return None
    chain = store.find_chain(layout, image.layers, image.builds)
    if len(chain) != len(image.layers):
        return None
    for layer in chain:
        store.mark_used(layer.directory)
    return Content(tuple(layer.tar for layer in chain), image.config, image.epoch)
