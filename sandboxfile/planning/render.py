"""A plan as text for people and as JSON for programs. Stable: the same plan gives the same bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

from sandboxfile.diagnostics import has_errors
from sandboxfile.model.plan import Action, Change, FieldChange, Plan, Shift

JSON_VERSION = 1
_REACH_SHOWN = 20  # sentences per sandbox, and as many by which it may do more
SYMBOLS: dict[Action, str] = {
    "build": "+",
    "create": "+",
    "update": "~",
    "restart": "~",
    "start": ">",
    "resume": ">",
    "replace": "-/+",
    "stop": "-",
    "delete": "-",
}
_COUNTED = ("build", "create", "update", "restart", "start", "resume", "replace", "stop", "delete")


def render(plan: Plan) -> str:
    """The plan in lines: a line per object, beneath it a line per field, a loud one for a lost disk, a summary."""
    lines = [line for change in plan.changes for line in change_lines(change)]
    lines += [
        f"  ? sandbox {id.name}: orphan: it is not in the file (--remove-orphans deletes it)" for id in plan.orphans
    ]
    if has_errors(plan.diagnostics):
        return "\n".join([*lines, "", "Refused: nothing of this will be done."])
    if plan.changes:
        return "\n".join([*lines, "", summary(plan)])
    return "\n".join([*lines, "No changes: everything is as it should be."])


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as data. Part of the stable surface: fields are added, never renamed."""
    return {
        "version": JSON_VERSION,
        "project": plan.project,
        "changes": [_json_change(change) for change in plan.changes],
        "steps": [{"key": step.key, "reason": step.reason, "needs": list(step.needs)} for step in plan.steps],
        "orphans": [str(id) for id in plan.orphans],
        "widens": any(shift.direction == "widens" for change in plan.changes for shift in change.shifts),
    }


def change_lines(change: Change) -> Iterator[str]:
    """One object: a line for it, one beneath for each field, for what it can reach, and for a lost disk.

    A loud line for each way in which it may do more than before, and what says the same is not said again.
    """
    yield f"{SYMBOLS[change.action]:>3} {change.subject}: {change.action} ({change.cause})"
    yield from (f"      {_field(field)}" for field in change.fields)
    widens = [shift for shift in change.shifts if shift.direction == "widens"]
    yield from (f"      ! widens: {shift.text}" for shift in widens[:_REACH_SHOWN])
    if len(widens) > _REACH_SHOWN:
        yield f"      ! widens: {len(widens) - _REACH_SHOWN} more (--format json has all)"
    said = {text for shift in widens for text in _without_place(shift, change)}
    reach = [sentence for sentence in change.reach if sentence not in said]
    yield from (f"      {sentence}" for sentence in reach[:_REACH_SHOWN])
    if len(reach) > _REACH_SHOWN:
        yield f"      and {len(reach) - _REACH_SHOWN} more about what it can reach (--format json has all)"
    if change.loses_disk and change.subject.startswith("volume "):
        yield "      !! ITS CONTENT IS LOST: everything on the volume"
    elif change.loses_disk:
        yield "      !! THE DISK IS LOST: everything in the sandbox outside its workspaces"
    if change.checkpoints:
        yield f"      !! and {checkpoints(change.checkpoints)}"
    if change.checkpoint:
        yield f"      before that its disk is kept as the checkpoint {change.checkpoint}"


def checkpoints(count: int) -> str:
    """`its 3 checkpoints`."""
    return "its checkpoint" if count == 1 else f"its {count} checkpoints"


def _without_place(shift: Shift, change: Change) -> tuple[str, str]:
    """What a shift says, without where its rule is from; and without its subject."""
    text = shift.text.rpartition(" [")[0] if shift.text.endswith("]") else shift.text
    return text, text.removeprefix(f"{change.subject}: ")


def _field(field: FieldChange) -> str:
    before, after = field.before or "(none)", field.after or "(none)"
    return f"{field.path}: {before} -> {after} ({field.effect}: {field.reason})"


def summary(plan: Plan) -> str:
    """How many objects get which action, in one sentence."""
    counts = {action: sum(change.action == action for change in plan.changes) for action in _COUNTED}
    told = ", ".join(f"{count} to {action}" for action, count in counts.items() if count)
    copies = sum(bool(change.checkpoint) for change in plan.changes)
    before = f"; {copies} checkpoint{'' if copies == 1 else 's'} before" if copies else ""
    return f"Plan: {told}{before}."


def _json_change(change: Change) -> dict[str, Any]:
    return {
        "subject": change.subject,
        "action": change.action,
        "cause": change.cause,
        "loses_disk": change.loses_disk,
        "loses_checkpoints": change.checkpoints,
        "checkpoint": change.checkpoint or None,
        "fields": fields_json(change),
        "reach": list(change.reach),
        "widens": shifts_json(change.shifts, "widens"),
        "tightens": shifts_json(change.shifts, "tightens"),
    }


def fields_json(change: Change) -> list[dict[str, str | None]]:
    """Its fields, in their order."""
    return [
        {"path": f.path, "before": f.before, "after": f.after, "effect": f.effect, "reason": f.reason}
        for f in change.fields
    ]


def shifts_json(shifts: Iterable[Shift], direction: str) -> list[dict[str, str]]:
    """Those of one direction."""
    return [{"kind": shift.kind, "text": shift.text} for shift in shifts if shift.direction == direction]
