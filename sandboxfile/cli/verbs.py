"""What `start`, `stop`, `restart`, `rm` and `reset` share: some sandboxes, of whatever projects, and a verb for all."""

import argparse
from collections.abc import Collection

from sandboxfile import pipeline
from sandboxfile.cli.applying import add_apply_options, plan_and_apply
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.model.plan import Plan
from sandboxfile.names import SandboxId
from sandboxfile.planning.verbs import Verb


def register_names(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verbs that lose nothing, and so do not ask."""
    add_names(parser)
    add_apply_options(parser, asks=False)


def add_names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="sandboxes of this project, or PROJECT/NAME")


def run_verb(verb: Verb, args: argparse.Namespace, console: Console) -> int:
    """Do it to the sandboxes that the arguments name."""
    return apply_verb(verb, find_sandboxes(args.names, args), args, console)


def apply_verb(verb: Verb, ids: Collection[SandboxId], args: argparse.Namespace, console: Console) -> int:
    allow_destroy = getattr(args, "allow_destroy", False)

    async def make_plans() -> list[Plan]:
        return await pipeline.make_verb_plans(verb, ids, this_layout(), allow_destroy=allow_destroy)

    return plan_and_apply(make_plans, args, console)
