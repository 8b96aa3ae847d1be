"""What `start`, `stop`, `restart`, `rm` and `reset` share: some sandboxes, of whatever projects, and a verb for all."""

import argparse
from collections.abc import Collection

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, fit_of, plan_and_apply
from sandboxfile.cli.belonging import others_told
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import StateError
from sandboxfile.host.statedir import read_record
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
    """Do it to the sandboxes that the arguments name; say it when they are of another place."""
    ids = find_sandboxes(args.names, args, several=True)
    tell_others(ids, args, console)
    return apply_verb(verb, ids, getattr(args, "allow_destroy", False), args, console)


def tell_others(ids: Collection[SandboxId], args: argparse.Namespace, console: Console) -> None:
    """Name the file of those that were named without their project, and are not of a file here or above."""
    layout = this_layout()
    sources = {id: read_record(layout.sandbox(id)).source for id in ids if _is_readable(id)}
    for sentence in others_told(args.names, sources, args.file):
        console.say(harmless(sentence))


def remove_even_unreadable(ids: Collection[SandboxId], args: argparse.Namespace, console: Console) -> int:
    """Delete sandboxes; a record that cannot be read hinders nobody, one that says `protect` does."""
    unreadable = [id for id in ids if not _is_readable(id)]
    readable = [id for id in ids if id not in unreadable]
    parts = [(part, destroy) for part, destroy in ((unreadable, True), (readable, args.allow_destroy)) if part]
    if not parts:
        console.say("there are no sandboxes")
    return max([apply_verb("remove", part, destroy, args, console) for part, destroy in parts], default=exits.OK)


def apply_verb(
    verb: Verb, ids: Collection[SandboxId], allow_destroy: bool, args: argparse.Namespace, console: Console
) -> int:
    """Plan a verb for some sandboxes, and apply it."""
    fit = fit_of(args) if verb in ("start", "restart") else None

    async def make_plans() -> list[Plan]:
        return await pipeline.make_verb_plans(verb, ids, this_layout(), allow_destroy=allow_destroy, fit=fit)

    return plan_and_apply(make_plans, args, console)


def _is_readable(id: SandboxId) -> bool:
    try:
        read_record(this_layout().sandbox(id))
    except StateError:
        return False
    return True
