"""Delete sandboxes with their disks, running ones too: show what is lost, ask, do it. Workspaces stay as they are."""

import argparse
from contextlib import suppress

from sandboxfile.cli.applying import add_apply_options
from sandboxfile.cli.project import find_sandboxes
from sandboxfile.cli.verbs import add_names, remove_even_unreadable, run_verb, tell_others
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import NotFoundError
from sandboxfile.names import SandboxId


def register(parser: argparse.ArgumentParser) -> None:
    add_names(parser)
    add_apply_options(parser)
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="do not ask; pass over what does not exist; delete what cannot be read",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    if not args.force:
        return run_verb("remove", args, console)
    args.yes = True
    found: list[SandboxId] = []
    for name in args.names:
        with suppress(NotFoundError):
            found += find_sandboxes([name], args, several=True)
    tell_others(found, args, console)
    return remove_even_unreadable(found, args, console)
