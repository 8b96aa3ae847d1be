"""Make the sandboxes as the file describes them: show the plan, ask, apply it.

A plan without changes changes nothing. Sandboxes that are no longer in the file are reported, and deleted only with
--remove-orphans.

With --checkpoint, disks that the plan puts at risk are kept first: `sbx restore NAME before-TIME` brings one back, also
after its sandbox was replaced. A checkpoint that cannot be made stops it all before any sandbox is changed. `sbx prune
--checkpoints` removes old ones.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import (
    add_apply_options,
    add_fit_option,
    fit_of,
    plan_and_apply,
)
from sandboxfile.cli.commands.rollback import go_back
from sandboxfile.cli.planning_options import (
    add_checkpoint_option,
    add_frozen_option,
    add_plan_options,
    plan_options,
    tell_unknown_profiles,
)
from sandboxfile.cli.project import load_project, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.trusting import check_choice
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.sandboxes import main_process
from sandboxfile.cli.widening import add_widening_option
from sandboxfile.errors import SandboxfileError
from sandboxfile.host import history
from sandboxfile.model.observed import ObservedSandbox
from sandboxfile.model.plan import Plan
from sandboxfile.observe import observe
from sandboxfile.planning.selection import select

WAIT_TIMEOUT = 120.0  # seconds
_POLL = 0.25


def register(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    add_checkpoint_option(parser)
    add_apply_options(parser)
    add_fit_option(parser)
    add_frozen_option(parser)
    add_widening_option(parser)
    parser.add_argument(
        "--rollback-on-failure",
        action="store_true",
        help="when a step fails, or --wait waits in vain, go back to how it was (`sbx rollback`)",
    )
    parser.add_argument(
        "--wait", action="store_true", help="wait until main processes run, or have ended well, and all is healthy"
    )
    parser.add_argument(
        "--wait-timeout",
        metavar="SECONDS",
        type=float,
        default=WAIT_TIMEOUT,
        help=f"how long --wait waits (default: {WAIT_TIMEOUT:g})",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    desired = load_project(args, console)
    options = plan_options(args, desired.chosen)
    tell_unknown_profiles(args, desired, console)
    if desired.chosen and not args.profile:
        check_choice(desired, args)

    async def make_plans() -> list[Plan]:
        return [await pipeline.make_plan(desired, this_layout(), options, fit_of(args))]

    layout = this_layout()
    before = history.stamp(layout, desired.project)
    code = plan_and_apply(make_plans, args, console)
    if code == exits.OK:
        names = tuple(spec.id.name for spec in select(desired, options).chosen)
        try:
            return run_async(partial(look_at, desired.project, names, args, console))
        except SandboxfileError as exc:
            if args.rollback_on_failure and history.stamp(layout, desired.project) != before:
                console.say(f"{exc}")
                go_back(desired.project, args, console)
            raise
    if args.rollback_on_failure and not history.is_finished(layout, desired.project):
        go_back(desired.project, args, console)
    return code


async def look_at(project: str, names: Sequence[str], args: argparse.Namespace, console: Console) -> int:
    """After all is applied: wait if asked to, and say when the machines are emulated."""
    deadline = time.monotonic() + args.wait_timeout
    while True:
        state = await observe(this_layout(), project)
        chosen = [sandbox for sandbox in state.sandboxes if sandbox.id.name in names]
        waiting = [sandbox for sandbox in chosen if not settled(sandbox)] if args.wait else []
        if not waiting:
            break
        if time.monotonic() > deadline:
            raise SandboxfileError(
                f"not running after {args.wait_timeout:g} s: {', '.join(describe(sandbox) for sandbox in waiting)}",
                hint=f"sbx logs {waiting[0].id}",
            )
        await anyio.sleep(_POLL)
    if any(sandbox.machine is not None and sandbox.machine.accelerator == "tcg" for sandbox in chosen):
        console.warn("these machines are emulated (TCG, no usable KVM): slower, and not a security boundary")
    return exits.OK


def settled(sandbox: ObservedSandbox) -> bool:
    """Whether it runs, is healthy, and its main process runs too or to a good end; or whether it is asleep.

    Raises SandboxfileError when that cannot come.
    """
    if sandbox.asleep:
        return True
    if sandbox.machine is None or sandbox.status != "running":
        return False
    main = sandbox.machine.main
    if main.status == "exited" and main.exit_code != 0:
        raise SandboxfileError(
            f"the main process of {sandbox.id} {main_process(main)}", hint=f"sbx logs {sandbox.id} --main"
        )
    if sandbox.machine.check == "unhealthy":
        raise SandboxfileError(
            f"{sandbox.id} is unhealthy", hint=f"sbx status {sandbox.id}", output=sandbox.machine.check_output
        )
    return main.status != "waiting" and sandbox.machine.check != "starting"


def describe(sandbox: ObservedSandbox) -> str:
    if sandbox.machine is None or sandbox.status != "running":
        return f"{sandbox.id} is {sandbox.status}"
    if sandbox.machine.check == "starting":
        return f"{sandbox.id} is not healthy yet"
    return f"{sandbox.id}: main process {main_process(sandbox.machine.main)}"
