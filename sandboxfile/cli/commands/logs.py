"""Show what a sandbox's console and its main process printed. With both, each line says whose it is."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial

from sandboxfile.cli import exits
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.tail import Tail, last_lines
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless

_POLL = 0.2  # seconds
WIDTH = len("console")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is printed from now on")
    parser.add_argument("-n", "--lines", metavar="N", type=_count, help="begin with the last N lines of each")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--console", action="store_true", help="only the console")
    which.add_argument("--main", action="store_true", help="only the main process")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def run(args: argparse.Namespace, console: Console) -> int:
    [id] = find_sandboxes([args.name], args)
    paths = this_layout().sandbox(id)
    sources = {"console": paths.console_log, "main": paths.main_log}
    if args.console or args.main:
        sources = {name: path for name, path in sources.items() if getattr(args, name)}
    prefixed = len(sources) > 1
    with ExitStack() as opened:
        tails = {name: opened.enter_context(closing(Tail(path))) for name, path in sources.items()}
        for name, tail in tails.items():
            show(name if prefixed else "", last_lines(tail.read(whole=True), args.lines), console)
        if args.follow:
            return run_async(partial(follow, tails, prefixed, console))
    return exits.OK


async def follow(tails: dict[str, Tail], prefixed: bool, console: Console) -> int:
    """Print new lines as they come, for ever."""
    import anyio

    while True:
        for name, tail in tails.items():
            show(name if prefixed else "", tail.read(), console)
        await anyio.sleep(_POLL)


def show(name: str, lines: Sequence[str], console: Console) -> None:
    """Print lines of one log. On a terminal without control characters; into a file as they are."""
    prefix = console.style(f"{name:<{WIDTH}} | ", "dim") if name else ""
    for line in lines:
        console.print(prefix + (harmless(line) if console.out.isatty() else line))
    console.out.flush()
