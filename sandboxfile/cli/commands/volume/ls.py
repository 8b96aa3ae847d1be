"""List this user's volumes, of every project: those of no file any more as well."""

import argparse

import anyio

from sandboxfile.cli import exits
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.volumes import listing, summary
from sandboxfile.host.volumes import volume_use
from sandboxfile.observe import observe_volumes


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("human", "json"), default="human")
    parser.add_argument("-q", "--quiet", action="store_true", help="only their ids")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    found = [(volume, volume_use(layout, volume.id)) for volume in anyio.run(observe_volumes, layout)]
    if args.format == "json":
        write_json([summary(volume, used) for volume, used in found], console)
    elif args.quiet:
        for volume, _ in found:
            console.print(str(volume.id))
    else:
        console.print(listing(found))
    return exits.OK
