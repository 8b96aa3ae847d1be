"""Layers become an image: one disk, the list of everything in it, and what its manifest says."""

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio import to_thread

from sandboxfile.errors import BuildError
from sandboxfile.images.disk import make_disk
from sandboxfile.images.layers.merge import merge_layers
from sandboxfile.images.layers.tree import Entry, Tree, decode, encode
from sandboxfile.images.packages import mmdebstrap
from sandboxfile.images.store import DISK, TREE, Layer
from sandboxfile.model.template import Versions

TREE_LIMIT = 2 << 30  # bytes of a list, decompressed; 200 an entry are usual


async def compose(
    layers: Sequence[Layer], directory: Path, *, title: str, template: str, epoch: int, report: Callable[[str], None]
) -> Mapping[str, Any]:
    """Make the files of an image of `layers`, lowest first, in `directory`; gives what its manifest says.

    Raises BuildError. Scratch in `directory` has names that begin with a dot.
    """
    tar = directory / ".root.tar"
    merged = await merge_layers([layer.tar for layer in layers], tar, epoch=epoch, report=report)
    await to_thread.run_sync(write_tree, directory / TREE, merged.tree)
    report("making the disk")
    mode = await mmdebstrap.choose_mode()
    users = any(name.startswith("user.") for entry in merged.tree.values() for name, _ in entry.xattrs)
    sealed = await make_disk(
        tar, directory / DISK, mode=mode, size=merged.size, entries=merged.entries, memory=not users
    )
    await mmdebstrap.remove_tree(directory / ".tree")
    return {
        "content": merged.content,
        "title": title,
        "template": template,
        "config": layers[-1].config.to_json(),
        "layers": [layer.key for layer in layers],
        "builds": [layer.build for layer in layers],
        "sealed": sealed,
        "epoch": epoch,
        "origin_digest": layers[0].digest,
        "versions": _installed(layers),
    }


def write_tree(path: Path, tree: Tree) -> None:
    """Write a list, compressed. Blocking."""
    path.write_bytes(gzip.compress(encode(tree), compresslevel=6, mtime=0))


def read_tree(path: Path) -> dict[str, Entry]:
    """Read what `write_tree` wrote. Blocking. Raises BuildError when it is damaged."""
    try:
        with gzip.open(path) as file:
            data = file.read(TREE_LIMIT + 1)
        if len(data) > TREE_LIMIT:
            raise ValueError("it is too long")
        return decode(data)
    except (OSError, EOFError, ValueError) as exc:
        raise BuildError(f"cannot read the list of files {path}: {exc}") from exc


def _installed(layers: Sequence[Layer]) -> Mapping[str, Versions]:
    """What each manager has installed: as the last layer says that knows."""
    found: dict[str, Versions] = {}
    for layer in layers:
        found |= layer.versions
    return found
