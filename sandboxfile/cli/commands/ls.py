"""List this user's sandboxes, of every project: those that run or are asleep, with -a all."""

import argparse
from datetime import UTC, datetime

import anyio

from sandboxfile.cli import exits
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.sandboxes import listing, summary
from sandboxfile.observe import observe_all


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="stopped ones too")
    parser.add_argument("--format", choices=("human", "json"), default="human")
    parser.add_argument("-q", "--quiet", action="store_true", help="only their ids")


def run(args: argparse.Namespace, console: Console) -> int:
    found = anyio.run(observe_all, this_layout())
    shown = [sandbox for sandbox in found if args.all or sandbox.status != "stopped" or sandbox.asleep]
    if args.format == "json":
        write_json([summary(sandbox) for sandbox in shown], console)
    elif args.quiet:
        for sandbox in shown:
            console.print(str(sandbox.id))
    else:
        console.print(listing(shown, datetime.now(UTC)))
    return exits.OK
