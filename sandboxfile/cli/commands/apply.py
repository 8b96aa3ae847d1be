"""Do a plan that `sbx plan -o FILE` saved, exactly as it is: the sandbox file is not read.

A file that a sandbox could have put in its place is named, and with --yes refused: a seal says whose a plan is, and not
that it is the last one that was saved there.

Refused, with what moved and exit code 1, when a sandbox that the plan concerns is not as it was, or the policies of the
user or the machine are not. A plan that somebody has changed, or that another user, host or version of sbx made, is
refused too.

With --checkpoint, disks that the plan puts at risk are kept before its first step, as by `sbx up --checkpoint`; a plan
that was saved with --checkpoint does so by itself.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandboxfile import __version__, pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import (
    add_apply_options,
    add_fit_option,
    apply,
    confirm,
    fit_of,
    settle_secrets,
    show_plan,
)
from sandboxfile.cli.planning_options import add_checkpoint_option, checkpoint_label
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.trusting import settle_trust, trust
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.widening import add_widening_option, denied
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import StaleError, StateError
from sandboxfile.host.files import as_read
from sandboxfile.host.plan_files import find_plan_key, read_plan
from sandboxfile.host.policy_files import read_policy_files
from sandboxfile.model.desired import FileContent
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import Plan
from sandboxfile.observe import observe
from sandboxfile.planning.checkpoints import with_checkpoints
from sandboxfile.planning.saved import SavedPlan, decode
from sandboxfile.planning.snapshot import moved, snapshot

_TOLD = 20  # sentences about what moved


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", metavar="FILE", help="what `sbx plan -o FILE` saved")
    add_checkpoint_option(parser)
    add_apply_options(parser, asks=False)
    add_fit_option(parser)
    add_widening_option(parser)
    parser.add_argument("-y", "--yes", action="store_true", default=False, help="do not ask")
    parser.set_defaults(shows_plan=True, yes=False)


def run(args: argparse.Namespace, console: Console) -> int:
    saved, file = read_saved(Path(args.plan))
    return run_async(partial(_apply_saved, saved, file, args, console))


def read_saved(path: Path) -> tuple[SavedPlan, FileContent]:
    """The plan in a file, and what was read. Raises NotFoundError, HostError, and StateError for any other."""
    try:
        data = read_plan(path)
        return decode(data, find_plan_key(this_layout()), __version__), as_read(path, data)
    except StateError as exc:
        raise StateError(f"{path} is not applied: {exc.message}", hint=exc.hint) from exc


async def _apply_saved(saved: SavedPlan, file: FileContent, args: argparse.Namespace, console: Console) -> int:
    observed = await _unmoved(saved)
    plan = pipeline.refused(saved.plan, pipeline.missing_workspaces(saved.plan))
    wanted = with_checkpoints(plan, observed, checkpoint_label(args))
    [plan] = pipeline.fitted([(wanted, observed)], this_layout(), fit_of(args))
    show_plan(plan, args, console)
    if has_errors(plan.diagnostics):
        return exits.FAILED
    if denied([plan], args, console):
        return exits.WIDENS
    if not plan.steps:
        return exits.OK
    with_itself = replace(plan, files=(*plan.files, file))
    approved = settle_trust([with_itself], args, console, saved.vouched)
    settle_secrets([plan], args, console)
    if not args.yes:
        confirm(console)
    trust(approved)
    try:
        return await apply(plan, args, console)
    except StaleError:  # while somebody was asked, or another sbx was waited for
        await _unmoved(saved)
        raise


async def _unmoved(saved: SavedPlan) -> ObservedState:
    """What is there, when all that the plan rests on is as it was. Raises StaleError with what is not."""
    observed = await observe(this_layout(), saved.plan.project)
    if found := (*_moved_policies(saved.plan), *moved(saved.rests_on, snapshot(observed, saved.plan.steps))):
        more = (f"and {len(found) - _TOLD} more",) if len(found) > _TOLD else ()
        told = "\n".join(f"  {sentence}" for sentence in (*found[:_TOLD], *more))
        raise StaleError(f"the plan is stale, and nothing was changed. Since it was made:\n{told}", hint="plan again")
    return observed


def _moved_policies(plan: Plan) -> Iterator[str]:
    """Of a plan made from files: which policies of this user and the machine are not those that it was made under."""
    if not plan.files:
        return
    now = read_policy_files(this_layout())
    before = {file.path: file.digest for file in plan.files}
    yield from (f"policies: {file.path} has changed" for file in now.files if before.get(file.path) != file.digest)
    if has_errors(now.problems):  # one that cannot be read looks like none
        yield "policies: those of this user or the machine have errors (`sbx validate` shows them)"
