"""Remove from the cache what is not used: show it, ask, remove it. All of it can be built again.

What killed builds left, layers of no image and kernels of other versions go always; images when no sandbox stands on
them and nothing has used them for long. Saved templates, sandboxes with their checkpoints (`sbx checkpoint --rm`) and
what is being built stay. With --checkpoints those go that --checkpoint made (of `up`, `apply` and `rollback`) and that
are as old as unused images have to be, of sandboxes that are gone as well; no other checkpoint ever does.
"""

import argparse
import re
import time
from collections.abc import Sequence
from functools import partial

from sandboxfile.cli import exits, old_checkpoints
from sandboxfile.cli.applying import LOCK_TIMEOUT, confirm
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.put_aside import give_up, in_words, room_taken
from sandboxfile.cli.running import run_async
from sandboxfile.cli.templates import standing_images
from sandboxfile.cli.views.cache import choices_object, choices_table, use_in_words
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.text import roughly
from sandboxfile.host.layout import Layout
from sandboxfile.images import prune
from sandboxfile.images.boot.platform import platform_digest
from sandboxfile.model.values import parse_size

LONG = "30d"
_AGE = re.compile(r"(\d{1,6})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        type=_age,
        help=f"images that were not used for so long: 36h, 7d (default: {LONG})",
    )
    parser.add_argument(
        "--keep-size", metavar="SIZE", type=_size, help="and more, oldest first, until the rest fits: 20GiB"
    )
    parser.add_argument("-a", "--all", action="store_true", help="every image that no sandbox stands on")
    parser.add_argument(
        "--kept", action="store_true", help="and what `up` has put aside: `sbx rollback` then brings no disk back"
    )
    parser.add_argument(
        "--checkpoints", action="store_true", help="and checkpoints as old as that which --checkpoint has made"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would go")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("--format", choices=("human", "json"), default="human")


def _age(text: str) -> float:
    found = _AGE.match(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age: write 30m, 36h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])


def _size(text: str) -> int:
    size = parse_size(text)
    if size is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 500MiB or 20GiB")
    return size


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    entries = prune.survey(layout)
    unused = 0.0 if args.all else _age(LONG) if args.older_than is None else args.older_than
    rules = prune.Rules(platform_digest(), standing_images(layout), unused, args.keep_size)
    chosen = prune.choose(entries, rules, time.time())
    aside = in_words(layout)
    kept = room_taken(layout) if args.kept else 0
    old = old_checkpoints.find_old(layout, unused)
    copies = old if args.checkpoints else []
    kept += old_checkpoints.room_taken(copies)
    if args.format == "human":
        _show(entries, chosen, args, console)
        if aside:
            console.say(aside if args.kept else f"{aside}; --kept removes it")
        if said := old_checkpoints.in_words(old):
            console.say(said if copies else f"{said}; --checkpoints removes them")
    if args.dry_run:
        removed = chosen
    else:
        if (chosen or copies or (args.kept and aside)) and not args.yes:
            confirm(console, "Remove this?")
        removed = []
        run_async(partial(_remove, chosen, removed, console))
        if args.kept:
            run_async(partial(_give_up, layout))
        if copies:
            run_async(partial(_remove_old, layout, copies))
    if args.format == "json":
        found = choices_object(removed)
        write_json({**found, "freed": found["freed"] + kept, "dry_run": args.dry_run}, console)
    elif (removed or kept) and not args.dry_run:
        console.say(f"freed {roughly(sum(choice.entry.freed for choice in removed) + kept)}")
    return exits.OK


def _show(
    entries: Sequence[prune.Entry], chosen: Sequence[prune.Choice], args: argparse.Namespace, console: Console
) -> None:
    """What is to go: data when that is all that was asked for, else talk before the question."""
    tell = console.print if args.dry_run else console.say
    console.say(use_in_words(entries))
    if chosen:
        tell(choices_table(chosen, time.time()))
        tell(f"frees {roughly(sum(choice.entry.freed for choice in chosen))}")
    else:
        console.say("nothing to remove")


async def _give_up(layout: Layout) -> int:
    await give_up(layout, LOCK_TIMEOUT)
    return exits.OK


async def _remove_old(layout: Layout, old: Sequence[old_checkpoints.Old]) -> int:
    await old_checkpoints.remove_old(layout, old, LOCK_TIMEOUT)
    return exits.OK


async def _remove(chosen: Sequence[prune.Choice], removed: list[prune.Choice], console: Console) -> int:
    """Remove them one by one; those that went are in `removed`, whatever ends this."""
    for choice in chosen:
        if await prune.remove(choice.entry):
            removed.append(choice)
        else:
            console.say(f"{choice.entry.kind} {choice.entry.digest[:12]} stays: it is being built")
    return exits.OK
