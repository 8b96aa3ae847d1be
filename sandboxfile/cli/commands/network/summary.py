"""Count what sandboxes reached and what was blocked: a line for each host and port.

Without a name: all sandboxes of the project here.
"""

import argparse
from contextlib import ExitStack
from datetime import UTC, datetime

from sandboxfile.cli import exits, traffic
from sandboxfile.cli.commands.network.log import add_filters, open_logs
from sandboxfile.cli.project import sandboxes_or_all
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.network import summaries, summary_table


def register(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("name", metavar="NAME", nargs="?", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    since = traffic.parse_since(args.since, datetime.now(UTC))
    with ExitStack() as opened:
        tails = open_logs(sandboxes_or_all([args.name] if args.name else [], args), opened)
        entries = traffic.chosen(traffic.read(tails, whole=True), since=since, blocked=args.blocked)
    found = summaries(entries)
    if args.format == "json":
        write_json(found, console)
    else:
        console.print(summary_table(found))
    return exits.OK
