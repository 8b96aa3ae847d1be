"""Show what `sbx up` would change, and why. Changes nothing.

With --detailed-exitcode: 0 nothing to do, 1 error, 2 changes. With --deny-widening: 3 when something may do more than
before. With -o the plan is saved, and `sbx apply FILE` does exactly that.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.planning_options import (
    add_checkpoint_option,
    add_frozen_option,
    add_plan_options,
    plan_options,
    tell_unknown_profiles,
)
from sandboxfile.cli.project import load_project, show_diagnostics, this_layout
from sandboxfile.cli.trusting import doubts_of, doubts_told
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.plan import plan_object, render_plan
from sandboxfile.cli.widening import add_widening_option, denied
from sandboxfile.diagnostics import has_errors
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.plan import Plan, PlanOptions


def register(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    add_checkpoint_option(parser)
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are changes")
    parser.add_argument("--allow-destroy", action="store_true", help="also delete or replace what is protected")
    add_frozen_option(parser)
    add_widening_option(parser)
    parser.add_argument("-o", "--out", metavar="FILE", help="save the plan, for `sbx apply FILE`")
    parser.add_argument("--format", choices=("human", "json", "markdown"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    desired = load_project(args, console)
    options = plan_options(args, desired.chosen)
    tell_unknown_profiles(args, desired, console)
    if args.out is not None:
        return _saved(desired, options, args, console)
    plan = pipeline.make_plan_blocking(desired, this_layout(), options, "warn")
    show(plan, args, console)
    return _exit_code(plan, args, console)


def _saved(desired: DesiredState, options: PlanOptions, args: argparse.Namespace, console: Console) -> int:
    import anyio  # here, as below: most plans are made to look at them

    from sandboxfile.cli.saving import make_saved, save

    plan, saved = anyio.run(make_saved, desired, options)
    show(plan, args, console)
    code = _exit_code(plan, args, console)
    if code in (exits.OK, exits.CHANGES):
        save(saved, Path(args.out))
        console.say(f"saved; `sbx apply {args.out}` does exactly this")
    return code


def _exit_code(plan: Plan, args: argparse.Namespace, console: Console) -> int:
    if has_errors(plan.diagnostics):
        return exits.FAILED
    if denied([plan], args, console):
        return exits.WIDENS
    return exits.CHANGES if args.detailed_exitcode and plan.steps else exits.OK


def show(plan: Plan, args: argparse.Namespace, console: Console) -> None:
    """The plan, what its secrets lack, and which of its files are in doubt, in every format."""
    if specs := pipeline.users_of_secrets([plan], this_layout()):
        from sandboxfile.cli.approving import unready

        plan = replace(plan, diagnostics=(*plan.diagnostics, *unready(specs, args)))
    doubts = doubts_of(plan)
    if args.format == "json":
        write_json(plan_object(plan, doubts), console)
        return
    if args.format == "markdown":
        from sandboxfile.planning.markdown import to_markdown

        console.print(to_markdown(plan, doubts).rstrip())
        return
    show_diagnostics(plan.diagnostics, {}, console)
    doubts_told(doubts, console)
    console.print(render_plan(plan, console))
