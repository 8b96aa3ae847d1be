"""Open a login shell in a sandbox, in the first workspace."""

import argparse

from sandboxfile.agents.command import agent_command
from sandboxfile.cli.commands.exec import add_place, execute
from sandboxfile.cli.views.console import Console
from sandboxfile.model.desired import NO_AGENT


def register(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    return execute(args, console, agent_command(NO_AGENT), tty=True, stdin=True)
