"""Remove images from the cache, with the layers that only they have; saved templates for good, after asking.

Sandboxes lose nothing: their disks stand on links of their own. A template of the file is built again when it is
needed.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from sandboxfile.cli import exits
from sandboxfile.cli.applying import confirm
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.templates import Known, find, standing_on
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import roughly
from sandboxfile.host.layout import Layout
from sandboxfile.images import prune
from sandboxfile.images.saved import remove_saved


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("names", metavar="NAME", nargs="+", help="a template, the tag of a saved one, or a digest")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    known = find(args.names, args, console)
    standing = standing_on(layout)
    for each in known:
        console.say(_said(each))
        if each.image is not None and (ids := standing.get(each.image.digest)):
            console.say(f"  {', '.join(map(str, ids))}: made from it, and keep what they stand on")
    if any(each.saved for each in known) and not args.yes:
        confirm(console, "Remove this?")
    there = [each for each in known if each.saved is not None or each.image is not None]
    return run_async(partial(remove_all, there, layout, console)) if there else exits.OK


def _said(known: Known) -> str:
    if known.saved is not None:
        return f"saved template {known.name}: is deleted, and nothing can make it again"
    if known.image is None:
        return f"template {known.name}: is not built, nothing to remove"
    return f"image {known.image.digest[:12]} of {known.name}: is removed from the cache"


async def remove_all(known: Sequence[Known], layout: Layout, console: Console) -> int:
    """Remove them one by one; says how much that freed."""
    freed, code = 0, exits.OK
    for each in known:
        if each.saved is not None:
            freed += prune.disk_use(each.saved.directory)[1]
            remove_saved(layout, each.saved.tag)
        elif each.image is not None:
            taken = await _remove_image(each.image.digest, layout)
            if taken is None:
                console.error(f"the image of {each.name} is being built; it stays")
                code = exits.FAILED
            else:
                freed += taken
    console.say(f"freed {roughly(freed)}")
    return code


async def _remove_image(digest: str, layout: Layout) -> int | None:
    """Bytes given back; None when somebody builds it."""
    entries = prune.survey(layout)
    image = next((entry for entry in entries if entry.kind == "image" and entry.digest == digest), None)
    if image is None:
        return 0
    if not await prune.remove(image):
        return None
    freed = image.freed
    for layer in prune.exclusive_layers(image, entries):
        freed += layer.freed if await prune.remove(layer) else 0
    return freed
