"""Open a login shell in a sandbox, in the first workspace."""

import argparse

from sandboxfile.cli.commands.exec import add_place, execute
from sandboxfile.cli.views.console import Console

# $SHELL is what the user's line in the sandbox's passwd says.
LOGIN = ("/bin/sh", "-c", 'exec "${SHELL:-/bin/sh}" -l')


def register(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, _console: Console) -> int:
    return execute(args, LOGIN, tty=True, stdin=True)
