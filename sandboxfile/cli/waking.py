"""Starts a sandbox that is asleep, because somebody uses it: by the plan of `sbx start`, told in one line.

Called by whatever needs a running sandbox. One that was stopped by somebody stays so.
"""

from typing import TYPE_CHECKING

from sandboxfile.cli.project import show_diagnostics, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.names import SandboxId

if TYPE_CHECKING:
    import argparse

    from sandboxfile.model.plan import Plan

LOCK_TIMEOUT = 300.0  # seconds: somebody else may be waking it, and its setup may take long
_ATTEMPTS = 5  # how often a plan that others overtook is made anew


def wake(id: SandboxId, args: "argparse.Namespace", console: Console) -> bool:
    """Start a sandbox when it is asleep, and wait until it works; gives whether it was. Raises SandboxfileError.

    Also one that is just on its way to sleep: it gets there first.
    """
    if not this_layout().sandbox(id).asleep.exists():
        return False
    # Imported here: `exec` is called in loops, of sandboxes that run.
    import anyio

    console.say(f"{id} is asleep: starting it")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            anyio.run(_start, id, args, console)
            break
        except StaleError:  # others use it as well
            if attempt == _ATTEMPTS:
                raise
    return True


async def _start(id: SandboxId, args: "argparse.Namespace", console: Console) -> None:
    from sandboxfile import pipeline
    from sandboxfile.cli.applying import settle_secrets
    from sandboxfile.diagnostics import has_errors

    for plan in await pipeline.make_verb_plans("start", [id], this_layout(), fit="refuse"):
        show_diagnostics(plan.diagnostics, {}, console)
        if has_errors(plan.diagnostics):
            raise SandboxfileError(f"{id} is asleep, and was not started")
        settle_secrets([plan], args, console)
        if plan.steps:
            await _apply(plan)


async def _apply(plan: "Plan") -> None:
    from sandboxfile import pipeline

    outcome = await pipeline.apply_plan(plan, this_layout(), lambda _: None, lock_timeout=LOCK_TIMEOUT)
    for _, error in outcome.failed:
        raise error
