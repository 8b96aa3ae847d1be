"""What would change, and the change itself."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from sandboxfile import pipeline
from sandboxfile.api.applying import ATTEMPTS, LOCK_TIMEOUT, carry_out, nothing
from sandboxfile.api.blocking import blocking, explained
from sandboxfile.api.projects import Project, check_lists
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.views.diagnostics import render_human
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import NotFoundError
from sandboxfile.host.checkpoints import before_label
from sandboxfile.model.events import Event, Outcome
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.planning import render as planning
from sandboxfile.planning.selection import select


def plan(
    project: Project,
    *,
    only: Sequence[str] = (),
    profiles: Sequence[str] = (),
    goal: Literal["up", "down"] = "up",
    remove_orphans: bool = False,
    allow_destroy: bool = False,
    overcommit: bool = False,
    checkpoint: bool = False,
) -> Plan:
    """What `apply` would do, and why; changes nothing. `plan.steps` is empty when everything is as it should be.

    `only` limits it to some sandboxes of the file, with what they depend on; `profiles`: also those that have one of
    these, `*` for any (the environment is not asked). With `goal="down"` they are stopped and deleted.
    `remove_orphans`: delete what is no longer in the file; `allow_destroy`: delete or replace also what is protected;
    `overcommit`: go on although this host may be too small; `checkpoint`: first keep disks that are put at risk. A plan
    that cannot be applied says why in `plan.diagnostics`. Raises NotFoundError when the file has none of a name in
    `only`.
    """
    check_lists(only=only, profiles=profiles)
    _check_names(project, only)
    options = PlanOptions(
        goal=goal,
        only=tuple(only),
        profiles=tuple(profiles) or project.profiles,
        remove_orphans=remove_orphans,
        allow_destroy=allow_destroy,
        checkpoint=_label(checkpoint),
    )
    fit: pipeline.Fit | None = None if goal == "down" else "overcommit" if overcommit else "refuse"
    return blocking(partial(pipeline.make_plan, project.desired, this_layout(), options, fit))


def _label(checkpoint: bool) -> str:
    return before_label(datetime.now(UTC)) if checkpoint else ""


def _check_names(project: Project, only: Sequence[str]) -> None:
    """A name that nothing has is a mistake in the program, which must not go on with a plan that does nothing."""
    unknown = select(project.desired, PlanOptions(only=tuple(only))).problems if only else ()
    if unknown:
        hints = dict.fromkeys(each.hint for each in unknown if each.hint)
        with explained():
            raise NotFoundError(", ".join(each.detail for each in unknown), hint=" ".join(hints) or None)


def render(plan: Plan) -> str:
    """A plan for people, as `sbx plan` prints it: a line per object and field, and what keeps it from being done."""
    said = render_human(plan.diagnostics, {})
    return harmless(f"{said}{planning.render(plan)}").rstrip()


def apply(
    what: Project | Plan,
    *,
    profiles: Sequence[str] = (),
    checkpoint: bool = False,
    on_progress: Callable[[Event], None] | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
    parallel: int = 4,
) -> Outcome:
    """Make it so: a project as its file describes it, or exactly a plan. Returns when every step has succeeded.

    `profiles`: of a project also sandboxes that have one of these, `*` for any; a plan has chosen already.
    `checkpoint`: first keep the disks that it puts at risk, as `sbx up --checkpoint`, for `Sandbox.restore`.
    `on_progress` is told what happens, from this thread. `lock_timeout`: seconds to wait for another sbx at work on
    the project; `parallel`: steps at a time.
    Raises PlanRefused, FilesNotTrusted and SecretsNotReady before anything is changed, StaleError when the world is no
    longer the one that a given plan was made for, BusyError, and the error of the step that failed: CommandError for a
    `setup`.
    What was done before stays done; the next `apply` of the project goes on from there.
    """
    check_lists(profiles=profiles)
    if isinstance(what, Plan) and profiles:
        raise TypeError("a plan has chosen its sandboxes: give the profiles to `plan`")

    async def given() -> Plan:
        assert isinstance(what, Plan)
        return await pipeline.kept_before(what, this_layout(), _label(checkpoint))

    async def anew() -> Plan:
        assert isinstance(what, Project)
        options = PlanOptions(profiles=tuple(profiles) or what.profiles, checkpoint=_label(checkpoint))
        return await pipeline.make_plan(what.desired, this_layout(), options, "refuse")

    make: Callable[[], Awaitable[Plan]] = given if isinstance(what, Plan) else anew
    attempts = 1 if isinstance(what, Plan) else ATTEMPTS
    emit = on_progress or nothing
    return blocking(partial(carry_out, make, emit, lock_timeout=lock_timeout, parallel=parallel, attempts=attempts))


def rollback(
    project: Project | str,
    *,
    allow_destroy: bool = False,
    checkpoint: bool = False,
    on_progress: Callable[[Event], None] | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
    parallel: int = 4,
) -> Outcome:
    """Make a project, or the one of that name, as it was before the last `apply` of it, as `sbx rollback` does.

    `allow_destroy`: delete or replace also what is protected; the others as for `apply`, which has what is raised.
    Raises NotFoundError when nothing is known of how it was.
    """
    name = project if isinstance(project, str) else project.name

    async def back() -> Plan:
        label = _label(checkpoint)
        return await pipeline.make_rollback(
            name, this_layout(), allow_destroy=allow_destroy, fit="refuse", checkpoint=label
        )

    return blocking(partial(carry_out, back, on_progress or nothing, lock_timeout=lock_timeout, parallel=parallel))
