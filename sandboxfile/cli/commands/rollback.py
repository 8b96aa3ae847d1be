"""Make the project as it was before the last `up` or `apply`: show the plan, ask, apply it.

Sandboxes get the settings back that they had. One that was replaced or removed comes back with its disk, which is put
aside until the next `up` changes something; one that was made since is deleted. What is on the disk of a sandbox that
was only changed stays as it is (`sbx checkpoint` is for that), and so do workspaces and volumes. Sandboxes that `rm` or
`down` deleted are gone for good: they are made anew.

Applies that fail or are killed count as one with the next that succeeds: after a failed `up`, a mended file and another
`up`, this goes back to how all was before the first of them. An `up` that finds nothing to do does not count.

The way back may widen: what the last `up` took away comes back. With --deny-widening that is refused: exit code 3.
"""

import argparse

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, add_fit_option, fit_of, plan_and_apply
from sandboxfile.cli.planning_options import add_checkpoint_option, checkpoint_label
from sandboxfile.cli.project import checked_project, load_file, show_problems, this_layout
from sandboxfile.cli.unmanaged import unasked
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.widening import add_widening_option
from sandboxfile.errors import SandboxfileError
from sandboxfile.model.plan import Plan


def register(parser: argparse.ArgumentParser) -> None:
    add_apply_options(parser)
    add_fit_option(parser)
    add_widening_option(parser)
    add_checkpoint_option(parser)
    parser.add_argument("project", metavar="PROJECT", nargs="?", help="its name (default: that of the sandbox file)")


def run(args: argparse.Namespace, console: Console) -> int:
    return roll_back(args.project or _project_here(args, console), args, console)


def roll_back(project: str, args: argparse.Namespace, console: Console) -> int:
    """Plan the way back, and go it as the arguments say; gives the exit code."""

    async def make_plans() -> list[Plan]:
        allow, fit = args.allow_destroy, fit_of(args)
        label = checkpoint_label(args)
        return [await pipeline.make_rollback(project, this_layout(), allow_destroy=allow, fit=fit, checkpoint=label)]

    return plan_and_apply(make_plans, args, console)


def go_back(project: str, args: argparse.Namespace, console: Console) -> None:
    """What `up --rollback-on-failure` does when it has failed: the same, unasked."""
    checked_project(project, args)
    console.say("going back to how it was before")
    changed = unasked(args)
    changed.shows_plan, changed.checkpoint = True, False  # what has failed is nothing to keep
    if roll_back(project, changed, console) != exits.OK:
        console.say("going back has failed; `sbx rollback` goes on with it")


def _project_here(args: argparse.Namespace, console: Console) -> str:
    loaded = load_file(args, frozen=None)
    if loaded.desired is None:
        show_problems(loaded, console)
        raise SandboxfileError("which project is meant is unclear: its file has errors", hint="sbx rollback PROJECT")
    return checked_project(loaded.desired.project, args)
