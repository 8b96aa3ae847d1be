"""How every command that changes something goes: show the plan, ask, apply with progress, say how it ended."""

import argparse
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.approving import ask_approvals
from sandboxfile.cli.project import show_diagnostics, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.trusting import settle_trust, trust
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.plan import render_plan
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.widening import denied
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.host.history import is_finished
from sandboxfile.model.events import Event
from sandboxfile.model.plan import Plan

LOCK_TIMEOUT = 30.0  # seconds
_ATTEMPTS = 5  # with --yes: how often a plan that others overtook is made anew
MakePlans = Callable[[], Awaitable[list[Plan]]]


def add_apply_options(parser: argparse.ArgumentParser, *, asks: bool = True) -> None:
    """Options of every command that applies a plan. One that `asks` shows the plan first, and can destroy."""
    parser.set_defaults(shows_plan=asks)
    if asks:
        parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
        parser.add_argument("--allow-destroy", action="store_true", help="also delete or replace what is protected")
    else:
        parser.set_defaults(yes=True)
    add_lock_timeout(parser)
    parser.add_argument("--parallel", metavar="N", type=positive, default=4, help="steps at a time (default: 4)")


def add_lock_timeout(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how long to wait for others."""
    parser.add_argument(
        "--lock-timeout",
        metavar="SECONDS",
        type=float,
        default=LOCK_TIMEOUT,
        help=f"how long to wait for another sbx at work on the project (default: {LOCK_TIMEOUT:g})",
    )


def add_fit_option(parser: argparse.ArgumentParser) -> None:
    """For commands that build or start: what to do when this host is too small for it."""
    parser.add_argument(
        "--overcommit", action="store_true", help="go on although memory or disk may not be enough for all of it"
    )


def fit_of(args: argparse.Namespace) -> pipeline.Fit:
    """What comes of it when this host lacks something."""
    return "overcommit" if args.overcommit else "refuse"


def positive(text: str) -> int:
    """A whole number of at least 1, for options."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def plan_and_apply(make_plans: MakePlans, args: argparse.Namespace, console: Console) -> int:
    """Everything from the plans to their outcome, one project after the other; gives the exit code."""
    return run_async(partial(_plan_and_apply, make_plans, args, console))


async def _plan_and_apply(make_plans: MakePlans, args: argparse.Namespace, console: Console) -> int:
    for attempt in range(1, _ATTEMPTS + 1):
        plans = await make_plans()
        for plan in plans:
            show_plan(plan, args, console)
        if any(has_errors(plan.diagnostics) for plan in plans):
            return exits.FAILED
        if denied(plans, args, console):
            return exits.WIDENS
        to_do = [plan for plan in plans if plan.steps]
        approved = settle_trust(to_do, args, console)
        settle_secrets(to_do, args, console)
        if to_do and not args.yes:
            confirm(console)
        trust(approved)
        try:
            return max([await apply(plan, args, console) for plan in to_do], default=exits.OK)
        except StaleError:
            # Another sbx was at work while we waited for its lock. A person has to see the new plan; --yes has not.
            if not args.yes or attempt == _ATTEMPTS:
                raise
            console.say("something changed since the plan was made; planning again")
    raise AssertionError("unreachable")


def show_plan(plan: Plan, args: argparse.Namespace, console: Console) -> None:
    """The plan and what is wrong with it, on standard error: it is talk, when it is about to be applied."""
    show_diagnostics(plan.diagnostics, {}, console)
    if args.shows_plan:
        console.say(render_plan(plan, console))
    elif not plan.steps and not plan.diagnostics:
        console.say("nothing to do")


def settle_secrets(plans: list[Plan], args: argparse.Namespace, console: Console) -> None:
    """Have what the plans' secrets need: approved for their hosts, and there. Raises SandboxfileError."""
    layout = this_layout()
    specs = pipeline.users_of_secrets(plans, layout)
    if not specs:
        return
    ask_approvals(specs, args, console)
    found = pipeline.secret_problems(specs, layout, tell_errors=console.interactive)
    show_diagnostics(found, {}, console)
    if has_errors(found):
        raise SandboxfileError("nothing was changed: these secrets are not available")


def confirm(console: Console, question: str = "Apply this?") -> None:
    """Ask whether to go on. Raises SandboxfileError when the answer is no, or nobody can be asked."""
    if not console.interactive:
        raise SandboxfileError("nothing was changed: there is no terminal to ask on", hint="--yes (-y) goes on unasked")
    if not console.ask(question):
        raise SandboxfileError("nothing was changed")


async def apply(plan: Plan, args: argparse.Namespace, console: Console) -> int:
    """Carry a plan out, with progress, and say what failed; gives the exit code."""

    def tell_interrupted(steps: tuple[str, ...]) -> None:
        at = f" at: {', '.join(steps)}" if steps else ""
        console.say(f"an earlier sbx was interrupted{at}; going on from what is there")

    begun = False

    def note(event: Event) -> None:
        nonlocal begun
        begun = True
        emit(event)

    try:
        async with show_progress(console) as emit:
            outcome = await pipeline.apply_plan(
                plan,
                this_layout(),
                note,
                lock_timeout=args.lock_timeout,
                parallel=args.parallel,
                on_interrupted=tell_interrupted,
            )
    except anyio.get_cancelled_exc_class():  # Ctrl-C or a signal
        if begun:
            console.say(_goes_on(plan))
        raise
    for key, error in outcome.failed:
        if not isinstance(error, SandboxfileError):
            raise error  # our own bug
        console.failure(error, about=key)
    if not outcome.ok and not getattr(args, "rollback_on_failure", False):
        console.say(_goes_on(plan))
    return exits.OK if outcome.ok else exits.FAILED


def _goes_on(plan: Plan) -> str:
    begun = plan.history == "begins" and not is_finished(this_layout(), plan.project)
    back = "; `sbx rollback` goes back" if begun else ""
    return f"what was done stays done; the same command goes on from there{back}"
