"""What `plan` and `up` are asked in the same words: which sandboxes, and what may be done to them."""

import argparse

from sandboxfile.model.plan import PlanOptions


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these sandboxes of the file")
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
    parser.add_argument("--remove-orphans", action="store_true", help="delete sandboxes that are no longer in the file")


def plan_options(args: argparse.Namespace) -> PlanOptions:
    """What was asked of the planner. Whoever names some sandboxes, and others to replace, means all of these."""
    named = (*args.names, *args.target)
    only = (*named, *args.replace) if named else ()
    return PlanOptions(
        only=tuple(dict.fromkeys(only)),
        remove_orphans=args.remove_orphans,
        allow_destroy=args.allow_destroy,
        replace=tuple(dict.fromkeys(args.replace)),
    )
