"""What `plan` and `up` are asked in the same words: which sandboxes, what may be done to them, and by which lock."""

import argparse
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.host.checkpoints import before_label
from sandboxfile.host.variables import DOT_ENV, PROFILES, chosen_profiles
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.plan import PlanOptions
from sandboxfile.planning.selection import ALL_PROFILES


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="only these sandboxes of the file, and what they depend on"
    )
    parser.add_argument(
        "--target", metavar="NAME", action="append", default=[], help="the same as naming it; may be repeated"
    )
    parser.add_argument(
        "--replace",
        metavar="NAME",
        action="append",
        default=[],
        help="make this sandbox anew, although nothing of it changed; may be repeated",
    )
    parser.add_argument(
        "--profile",
        metavar="PROFILE",
        action="append",
        default=[],
        help=f"also sandboxes with this profile, * for any; may be repeated (default: {PROFILES} of the environment or"
        f" of {DOT_ENV}, with commas)",
    )
    parser.add_argument("--remove-orphans", action="store_true", help="delete sandboxes that are no longer in the file")


def add_checkpoint_option(parser: argparse.ArgumentParser) -> None:
    """For commands that may lose what is on a disk, or have it changed."""
    parser.add_argument(
        "--checkpoint",
        action="store_true",
        help="first keep the disks of sandboxes that are replaced or deleted, or in which setup or another command is"
        " to run, for `sbx restore`",
    )


def checkpoint_label(args: argparse.Namespace) -> str:
    """What such checkpoints are called; empty when none are asked for."""
    return before_label(datetime.now(UTC)) if getattr(args, "checkpoint", False) else ""


def add_frozen_option(parser: argparse.ArgumentParser) -> None:
    """For commands that may build: the lock is to hold."""
    parser.add_argument(
        "--frozen", action="store_true", help="fail when a template is not exactly as sandbox.lock has it"
    )


def plan_options(args: argparse.Namespace, chosen: Sequence[str] = ()) -> PlanOptions:
    """What was asked of the planner. Whoever names some sandboxes, and others to replace, means all of these.

    `chosen`: the profiles that the files ask for, where neither a person nor the environment does.
    """
    named = (*args.names, *args.target)
    only = (*named, *args.replace) if named else ()
    return PlanOptions(
        only=tuple(dict.fromkeys(only)),
        remove_orphans=args.remove_orphans,
        allow_destroy=args.allow_destroy,
        replace=tuple(dict.fromkeys(args.replace)),
        profiles=profiles_of(args, os.environ, chosen),
        checkpoint=checkpoint_label(args),
    )


def tell_unknown_profiles(args: argparse.Namespace, desired: DesiredState, console: Console) -> None:
    """Profiles that were given and that no sandbox of the file has: likely misspelt, and as in Compose no error.

    Nothing is said of those of the environment, which may be for other files.
    """
    known = {profile for spec in desired.sandboxes for profile in spec.profiles}
    for name in dict.fromkeys(args.profile):
        if name not in known and name != ALL_PROFILES:
            near = did_you_mean(name, sorted(known))
            console.warn(f"no sandbox has the profile {name}{f': {near}' if near else ''}")


def profiles_of(args: argparse.Namespace, environ: Mapping[str, str], chosen: Sequence[str] = ()) -> tuple[str, ...]:
    """The profiles that are asked for: those given, else, as in Compose, those of the environment, else `chosen`."""
    if args.profile:
        return tuple(dict.fromkeys(filter(None, args.profile)))
    return chosen_profiles(environ) if PROFILES in environ else tuple(chosen)
