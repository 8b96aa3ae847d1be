"""A plan as text for people and as JSON for programs. Stable: the same plan gives the same bytes."""

from collections.abc import Iterator
from typing import Any

from sandboxfile.diagnostics import has_errors
from sandboxfile.model.plan import Action, Change, FieldChange, Plan

JSON_VERSION = 1
_REACH_SHOWN = 20  # sentences per sandbox
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
    }


def change_lines(change: Change) -> Iterator[str]:
    """One object: a line for it, one beneath for each field, for what it can reach, and for a lost disk."""
    yield f"{SYMBOLS[change.action]:>3} {change.subject}: {change.action} ({change.cause})"
    yield from (f"      {_field(field)}" for field in change.fields)
    yield from (f"      {sentence}" for sentence in change.reach[:_REACH_SHOWN])
    if len(change.reach) > _REACH_SHOWN:
        yield f"      and {len(change.reach) - _REACH_SHOWN} more about what it can reach (--format json has all)"
    if change.loses_disk:
        yield "      !! THE DISK IS LOST: everything in the sandbox outside its workspaces"


def _field(field: FieldChange) -> str:
    before, after = field.before or "(none)", field.after or "(none)"
    return f"{field.path}: {before} -> {after} ({field.effect}: {field.reason})"


def summary(plan: Plan) -> str:
    """How many objects get which action, in one sentence."""
    counts = {action: sum(change.action == action for change in plan.changes) for action in _COUNTED}
    told = ", ".join(f"{count} to {action}" for action, count in counts.items() if count)
    return f"Plan: {told}."


def _json_change(change: Change) -> dict[str, Any]:
    return {
        "subject": change.subject,
        "action": change.action,
        "cause": change.cause,
        "loses_disk": change.loses_disk,
        "fields": [
            {"path": f.path, "before": f.before, "after": f.after, "effect": f.effect, "reason": f.reason}
            for f in change.fields
        ],
        "reach": list(change.reach),
    }
