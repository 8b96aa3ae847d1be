"""Stop and delete every sandbox of this user, of every project, unreadable ones too. The last resort.

What killed builds left goes as well. Workspaces, saved templates and the cache of kernels and images stay.
"""

import argparse
from functools import partial

from anyio import to_thread

from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, confirm
from sandboxfile.cli.project import known_sandboxes, left_checkpoints, this_layout
from sandboxfile.cli.put_aside import give_up
from sandboxfile.cli.running import run_async
from sandboxfile.cli.verbs import remove_even_unreadable
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import roughly
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, hold_lock
from sandboxfile.images import prune
from sandboxfile.images.saved import list_saved


def register(parser: argparse.ArgumentParser) -> None:
    add_apply_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    if left := left_checkpoints(layout):
        console.say(f"these are gone, and their checkpoints go as well: {', '.join(map(str, left))}")
        if not args.yes and not known_sandboxes(layout):
            confirm(console, "Delete them?")
    code = remove_even_unreadable(known_sandboxes(layout), args, console)
    if code == exits.OK:
        code = run_async(partial(remove_leftovers, layout, args.lock_timeout, console))
        tell_what_stays(layout, console)
    return code


async def remove_leftovers(layout: Layout, timeout: float, console: Console) -> int:
    """Remove what was put aside, checkpoints of sandboxes that are gone, and what killed builds left: machines and
    halves of images.

    What is being built stays.
    """
    from sandboxfile.applying.storage import discard_checkpoints, sweep_builds

    left = [entry for entry in prune.survey(layout) if entry.kind == "leftover"]
    ensure_directories(layout)
    for id in left_checkpoints(layout):
        async with hold_lock(layout.project_lock(id.project), "remove checkpoints", timeout):
            await to_thread.run_sync(discard_checkpoints, layout, id)
    await give_up(layout, timeout)
    await to_thread.run_sync(sweep_builds, layout)
    gone = [entry for entry in left if await prune.remove(entry)]
    if gone:
        console.say(
            f"removed what {len(gone)} build{'s' * (len(gone) > 1)} left, {roughly(sum(e.freed for e in gone))}"
        )
    return exits.OK


def tell_what_stays(layout: Layout, console: Console) -> None:
    """Saved templates and the cache, with the commands that remove them."""
    if kept := list_saved(layout):
        size, _ = prune.disk_use(layout.saved)
        console.say(f"saved templates stay ({len(kept)}, {roughly(size)}): sbx template rm TAG")
    if (size := prune.disk_use(layout.cache)[0]) > 0:
        console.say(f"the cache stays ({roughly(size)}): sbx prune --all")
