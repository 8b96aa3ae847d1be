"""Stop and delete the project's sandboxes: show the plan, ask, apply it. Workspaces stay, volumes unless asked for."""

import argparse

from sandboxfile import pipeline
from sandboxfile.cli.applying import add_apply_options, plan_and_apply
from sandboxfile.cli.project import load_project, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.model.plan import Plan, PlanOptions


def register(parser: argparse.ArgumentParser) -> None:
    add_apply_options(parser)
    parser.add_argument("--volumes", action="store_true", help="delete the project's volumes too, with what is on them")


def run(args: argparse.Namespace, console: Console) -> int:
    desired = load_project(args, console)
    options = PlanOptions(goal="down", allow_destroy=args.allow_destroy, volumes=args.volumes)

    async def make_plans() -> list[Plan]:
        return [await pipeline.make_plan(desired, this_layout(), options)]

    return plan_and_apply(make_plans, args, console)
