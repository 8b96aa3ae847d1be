"""How a plan is carried out for a program: refused, or its secrets not ready, before anything boots; never asking."""

from argparse import Namespace
from collections.abc import Awaitable, Callable

from sandboxfile import pipeline
from sandboxfile.cli.approving import commands, question, unapproved
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.trusting import trust, unattended
from sandboxfile.cli.views.diagnostics import render_human
from sandboxfile.diagnostics import Diagnostics, has_errors
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.model.events import Event, Outcome
from sandboxfile.model.plan import Plan

LOCK_TIMEOUT = 30.0  # seconds
ATTEMPTS = 5  # how often a plan that others overtook is made anew
Emit = Callable[[Event], None]


class PlanRefused(SandboxfileError):
    """The plan has errors, all of them in the message, and nothing was changed. `diagnostics` are its errors."""

    def __init__(self, diagnostics: Diagnostics) -> None:
        super().__init__(f"the plan is refused; nothing was changed\n{render_human(diagnostics, {}).rstrip()}")
        self.diagnostics = diagnostics


class SecretsNotReady(SandboxfileError):
    """Secrets that somebody has to approve for a host first, or that are not there; nothing was changed."""


def nothing(_: Event) -> None:
    """For whoever wants no progress."""


async def carry_out(
    make_plan: Callable[[], Awaitable[Plan]],
    emit: Emit = nothing,
    *,
    lock_timeout: float = LOCK_TIMEOUT,
    parallel: int = 4,
    attempts: int = ATTEMPTS,
) -> Outcome:
    """Plan and apply; planned anew, up to `attempts` times, when somebody else was faster.

    Raises PlanRefused, FilesNotTrusted, SecretsNotReady, BusyError, StaleError, and what a step failed with.
    """
    for attempt in range(1, attempts + 1):
        plan = await make_plan()
        if has_errors(plan.diagnostics):
            raise PlanRefused(plan.diagnostics)
        if not plan.steps:
            break
        approved = unattended([plan], this_layout())
        check_secrets(plan)
        trust(approved)
        try:
            outcome = await pipeline.apply_plan(plan, this_layout(), emit, lock_timeout=lock_timeout, parallel=parallel)
        except StaleError:
            if attempt == attempts:
                raise
        else:
            return succeeded(outcome)
    return Outcome((), (), ())


def check_secrets(plan: Plan) -> None:
    """Raises SecretsNotReady unless everything that the plan's secrets need is approved, and there."""
    layout = this_layout()
    specs = pipeline.users_of_secrets([plan], layout)
    if missing := unapproved(specs):
        raise SecretsNotReady(
            f"nothing was changed: these secrets are not approved for these hosts\n{question(missing)}",
            hint=" && ".join(commands(missing, Namespace())),
        )
    problems = pipeline.secret_problems(specs, layout)
    if has_errors(problems):
        said = render_human(problems, {}).rstrip()
        raise SecretsNotReady(f"nothing was changed: these secrets are not available\n{said}")


def succeeded(outcome: Outcome) -> Outcome:
    """Itself. When a step failed: raises its error, as it is, with the other steps in its notes."""
    if outcome.ok:
        return outcome
    (key, error), *others = outcome.failed
    error.add_note(f"in the step: {key}")
    for other, failure in others:
        error.add_note(f"failed as well: {other}: {failure}")
    if outcome.skipped:
        error.add_note(f"not done because of it: {', '.join(outcome.skipped)}")
    raise error
