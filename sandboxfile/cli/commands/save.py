"""Keep a sandbox as a template: its disk as it is now, without workspaces. `base: saved:TAG` then builds upon it.

A running sandbox goes on running; a stopped one stays stopped. Temporary files are not kept, nor are images and
containers of its Docker daemon. `sbx template rm TAG` deletes what was kept.
"""

import argparse
from functools import partial

from sandboxfile.cli import exits
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.templates import saved_tag
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.views.text import roughly
from sandboxfile.cli.working import working
from sandboxfile.host.layout import Layout
from sandboxfile.names import SandboxId


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replace", action="store_true", help="when there is a saved template of that tag already")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("tag", metavar="TAG", type=saved_tag, help="what it is to be called: NAME or NAME:TAG")


def run(args: argparse.Namespace, console: Console) -> int:
    (id,) = find_sandboxes([args.name], args)
    return run_async(partial(save_one, id, args.tag, this_layout(), console, replace=args.replace))


async def save_one(id: SandboxId, tag: str, layout: Layout, console: Console, *, replace: bool) -> int:
    """Keep one sandbox, with progress."""
    from sandboxfile.applying.building import save_sandbox

    async with show_progress(console) as emit, working(f"save {id}", f"as {tag}", emit) as report:
        info = await save_sandbox(layout, id, tag, report, replace=replace)
    console.say(
        f"kept as saved:{info.tag} ({roughly(info.size)}); a template builds upon it with `base: saved:{info.tag}`"
    )
    return exits.OK
