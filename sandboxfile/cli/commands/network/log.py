"""Show what sandboxes reached and what was blocked, by time. Without names: all sandboxes of the project here.

A request is shown when it has ended, a blocked one at once.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial

from sandboxfile.cli import exits, traffic
from sandboxfile.cli.project import sandboxes_or_all, this_layout
from sandboxfile.cli.tail import Tail, last_lines
from sandboxfile.cli.traffic import Entry
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.network import Columns, json_line
from sandboxfile.names import SandboxId

_POLL = 0.2  # seconds


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes from now on")
    parser.add_argument("-n", "--lines", metavar="N", type=_count, help="begin with the last N")
    add_filters(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: a record a line, whole")
    parser.add_argument("names", metavar="NAME", nargs="*", help="sandboxes of this project, or PROJECT/NAME")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads network logs."""
    parser.add_argument("--blocked", action="store_true", help="only what was blocked")
    add_since(parser)


def add_since(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="from then on: 10m ago (s, m, h, d), or 2026-01-31T12:00:00Z")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def run(args: argparse.Namespace, console: Console) -> int:
    since = traffic.parse_since(args.since, datetime.now(UTC))
    ids = sandboxes_or_all(args.names, args)
    with ExitStack() as opened:
        tails = open_logs(ids, opened)
        entries = traffic.chosen(traffic.read(tails, whole=True), since=since, blocked=args.blocked)
        printer = _Printer(args.format, console)
        printer.print(last_lines(entries, args.lines), header=True)
        if args.follow:
            from sandboxfile.cli.running import run_async

            return run_async(partial(follow, tails, args.blocked, printer))
    return exits.OK


def open_logs(ids: Sequence[SandboxId], opened: ExitStack) -> dict[SandboxId, Tail]:
    """The network logs of sandboxes, closed with `opened`."""
    layout = this_layout()
    return {id: opened.enter_context(closing(Tail(layout.sandbox(id).network_log))) for id in ids}


class _Printer:
    def __init__(self, form: str, console: Console) -> None:
        self.form, self.console, self.columns = form, console, Columns()

    def print(self, entries: Sequence[Entry], *, header: bool = False) -> None:
        if self.form == "json":
            lines = [json_line(entry) for entry in entries]
        else:
            lines = self.columns.lines(entries, header=header)
        for line in lines:
            self.console.print(line)
        self.console.out.flush()


async def follow(tails: Mapping[SandboxId, Tail], blocked: bool, printer: _Printer) -> int:
    """Print new records as they come, for ever."""
    import anyio

    while True:
        printer.print(traffic.chosen(traffic.read(tails), blocked=blocked))
        await anyio.sleep(_POLL)
