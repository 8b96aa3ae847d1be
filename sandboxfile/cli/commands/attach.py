"""Be at the terminal of a sandbox's agent again. Gives the agent's exit code when it ends; 0 when it is left.

No agent runs in a sandbox that is asleep: it is woken, and its agent started.
"""

import argparse
from functools import partial

import anyio

from sandboxfile.cli.attaching import DETACH_KEYS, attach, has_terminal
from sandboxfile.cli.commands.exec import running
from sandboxfile.cli.project import find_sandboxes
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.waking import wake
from sandboxfile.control.client import request
from sandboxfile.control.messages import GetStatus, StatusReply
from sandboxfile.errors import SandboxfileError

_TIMEOUT = 10.0


def register(parser: argparse.ArgumentParser) -> None:
    add_detach_keys(parser)
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def add_detach_keys(parser: argparse.ArgumentParser) -> None:
    """The option that `attach` and `run` share."""
    parser.add_argument(
        "--detach-keys",
        metavar="KEYS",
        default=DETACH_KEYS,
        help=f"typed one after the other, they leave the agent running (default: {DETACH_KEYS}; '': none)",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    [id] = find_sandboxes([args.name], args)
    if not has_terminal():
        raise SandboxfileError("standard input and output are not a terminal", hint=f"sbx exec {id} COMMAND needs none")
    if wake(id, args, console):
        return attach(id, detach_keys=args.detach_keys, console=console)
    reply = anyio.run(partial(request, running(id), GetStatus(), timeout=_TIMEOUT))
    if not isinstance(reply, StatusReply) or reply.machine.session == "none":
        raise SandboxfileError(f"no agent runs in {id}", hint=f"start it: sbx run {id}")
    return attach(id, detach_keys=args.detach_keys, console=console)
