"""Show what `sbx up` would change, and why. Changes nothing.

With --detailed-exitcode: 0 nothing to do, 1 error, 2 changes.
"""

import argparse
from functools import partial

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_frozen_option
from sandboxfile.cli.approving import question, unapproved
from sandboxfile.cli.project import load_project, show_diagnostics, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.plan import plan_object, render_plan
from sandboxfile.diagnostics import has_errors
from sandboxfile.model.plan import PlanOptions
from sandboxfile.planning.fit import as_warnings


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="only these sandboxes of the file")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are changes")
    parser.add_argument("--remove-orphans", action="store_true", help="plan to delete what is no longer in the file")
    parser.add_argument("--allow-destroy", action="store_true", help="also delete or replace what is protected")
    add_frozen_option(parser)
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    options = PlanOptions(only=tuple(args.names), remove_orphans=args.remove_orphans, allow_destroy=args.allow_destroy)
    desired = load_project(args, console)
    plan = anyio.run(partial(pipeline.make_plan, desired, this_layout(), options, "warn"))
    specs = pipeline.users_of_secrets([plan], this_layout())
    lacking = as_warnings(pipeline.secret_problems(specs, this_layout(), run_commands=False))
    if args.format == "json":
        write_json(plan_object(plan), console)
    else:
        show_diagnostics((*plan.diagnostics, *lacking), {}, console)
        if missing := unapproved(specs):
            console.say(question(missing))
        console.print(render_plan(plan, console))
    if has_errors(plan.diagnostics):
        return exits.FAILED
    return exits.CHANGES if args.detailed_exitcode and plan.steps else exits.OK
