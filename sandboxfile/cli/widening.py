"""--deny-widening: nothing is done by which a sandbox, or the build of a template, may do more than before."""

import argparse
from collections.abc import Iterable

from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.model.plan import Plan, Shift
from sandboxfile.planning.widening import widening

_SHOWN = 20


def add_widening_option(parser: argparse.ArgumentParser) -> None:
    """For commands that show or apply what changes."""
    parser.add_argument(
        "--deny-widening",
        action="store_true",
        help="fail with exit code 3, and change nothing, when something may do more than before",
    )


def denied(plans: Iterable[Plan], args: argparse.Namespace, console: Console) -> bool:
    """Whether the plans are not to be done because of --deny-widening; says why. Commands without it deny nothing."""
    if not getattr(args, "deny_widening", False):
        return False
    return tell_denied([shift for plan in plans for shift in widening(plan)], console)


def tell_denied(found: list[Shift], console: Console) -> bool:
    """Whether anything was found; says what."""
    if found:
        more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        told = "\n".join([*(f"  {harmless(shift.text)}" for shift in found[:_SHOWN]), *more])
        console.say(f"denied, and nothing was changed: this widens (--deny-widening)\n{told}")
    return bool(found)
