"""A plan for people (planning's own text, in colour) and for machines. Pure."""

from collections.abc import Sequence
from typing import Any

from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import to_json
from sandboxfile.cli.views.text import harmless
from sandboxfile.model.plan import Plan
from sandboxfile.planning import render
from sandboxfile.planning.trusting import Doubt

# By the first word of a line: planning's symbols for actions, and its mark for what is lost.
_COLORS = {
    "+": ("green",),
    ">": ("green",),
    "~": ("yellow",),
    "-": ("red",),
    "-/+": ("bold", "red"),
    "!!": ("bold", "red"),
    "!": ("bold", "yellow"),
    "?": ("yellow",),
}


def render_plan(plan: Plan, console: Console) -> str:
    """The text of the plan."""
    return colored(render.render(plan), console)


def colored(text: str, console: Console) -> str:
    """Lines as those of a plan, made harmless."""
    return "\n".join(_colored(line, console) for line in harmless(text).rstrip().splitlines())


def _colored(line: str, console: Console) -> str:
    return console.style(line, *_COLORS.get(line.strip().partition(" ")[0], ()))


def plan_object(plan: Plan, doubts: Sequence[Doubt] = ()) -> dict[str, Any]:
    """The object of `plan --format json`; its keys are public surface. `doubts`: for which `up --yes` refuses it."""
    return {**render.to_json(plan), "diagnostics": to_json(plan.diagnostics), "doubts": doubt_objects(doubts)}


def doubt_objects(doubts: Sequence[Doubt]) -> list[dict[str, str]]:
    """Files in doubt, and where a sandbox could have written them from."""
    return [{"path": doubt.file.path, "state": doubt.state, "directory": doubt.directory} for doubt in doubts]
