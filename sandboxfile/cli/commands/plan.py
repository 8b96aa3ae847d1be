"""Show what `sbx up` would change, and why. Changes nothing.

With --detailed-exitcode: 0 nothing to do, 1 error, 2 changes. With --deny-widening: 3 when something may do more than
before. With -o the plan is saved, and `sbx apply FILE` does exactly that.
"""

import argparse
from functools import partial
from pathlib import Path

import anyio

from sandboxfile import __version__, pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_frozen_option
from sandboxfile.cli.approving import question, unapproved
from sandboxfile.cli.planning_options import add_plan_options, plan_options, tell_unknown_profiles
from sandboxfile.cli.project import load_project, show_diagnostics, this_layout
from sandboxfile.cli.trusting import doubts_told
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.plan import plan_object, render_plan
from sandboxfile.cli.widening import add_widening_option, denied
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import StaleError
from sandboxfile.host.plan_files import plan_key, write_plan
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.observe import observe
from sandboxfile.planning.fit import as_warnings
from sandboxfile.planning.markdown import to_markdown
from sandboxfile.planning.saved import SavedPlan, encode
from sandboxfile.planning.snapshot import snapshot


def register(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are changes")
    parser.add_argument("--allow-destroy", action="store_true", help="also delete or replace what is protected")
    add_frozen_option(parser)
    add_widening_option(parser)
    parser.add_argument("-o", "--out", metavar="FILE", help="save the plan, for `sbx apply FILE`")
    parser.add_argument("--format", choices=("human", "json", "markdown"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    desired, options = load_project(args, console), plan_options(args)
    tell_unknown_profiles(args, desired, console)
    if args.out is None:
        saved = None
        plan = anyio.run(partial(pipeline.make_plan, desired, this_layout(), options, "warn"))
    else:
        plan, saved = anyio.run(make_saved, desired, options)
    show(plan, args, console)
    if has_errors(plan.diagnostics):
        return exits.FAILED
    if denied([plan], args, console):
        return exits.WIDENS
    if saved is not None:
        write_plan(Path(args.out), encode(saved, plan_key(this_layout()), __version__))
        console.say(f"saved; `sbx apply {args.out}` does exactly this")
    return exits.CHANGES if args.detailed_exitcode and plan.steps else exits.OK


def show(plan: Plan, args: argparse.Namespace, console: Console) -> None:
    """The plan, and what secrets it lacks."""
    specs = pipeline.users_of_secrets([plan], this_layout())
    lacking = as_warnings(pipeline.secret_problems(specs, this_layout(), run_commands=False))
    if args.format == "json":
        write_json(plan_object(plan), console)
        return
    if args.format == "markdown":
        console.print(to_markdown(plan, lacking).rstrip())
        return
    show_diagnostics((*plan.diagnostics, *lacking), {}, console)
    if missing := unapproved(specs):
        console.say(question(missing))
    doubts_told(plan, console)
    console.print(render_plan(plan, console))


async def make_saved(desired: DesiredState, options: PlanOptions) -> tuple[Plan, SavedPlan]:
    """A plan to be shown, and the same to be saved, with what it rests on; `apply` looks itself whether it fits here.

    What it rests on is looked at once more, and has to be what the planner found. Raises StaleError.
    """
    layout = this_layout()
    plan = await pipeline.make_plan(desired, layout, options)
    observed = await observe(layout, plan.project)
    rests_on = snapshot(observed, plan.steps)
    if plan.steps and fingerprint(rests_on) != plan.observation:
        raise StaleError("something changed while the plan was made; nothing was saved", hint="plan again")
    [shown] = pipeline.fitted([(plan, observed)], layout, "warn")
    return shown, SavedPlan(plan, rests_on)
