"""`sbx plan -o FILE`: the plan that is shown, and what goes into the file. Nobody imports it who saves nothing."""

from pathlib import Path

from sandboxfile import __version__, pipeline
from sandboxfile.cli.project import this_layout
from sandboxfile.errors import StaleError
from sandboxfile.host.files import as_read
from sandboxfile.host.plan_files import plan_key, write_plan
from sandboxfile.host.trust import approve, find_doubts
from sandboxfile.model.desired import DesiredState
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.observe import observe
from sandboxfile.planning.saved import SavedPlan, encode
from sandboxfile.planning.snapshot import snapshot


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
    doubted = {doubt.file.path for doubt in find_doubts(layout, plan.files)}
    return shown, SavedPlan(plan, rests_on, tuple(file.path for file in plan.files if file.path not in doubted))


def save(saved: SavedPlan, path: Path) -> None:
    """Write it, sealed; it alone is what is meant there from now on. Raises HostError, StateError."""
    text = encode(saved, plan_key(this_layout()), __version__)
    write_plan(path, text)
    approve(this_layout(), [as_read(path, text)])
