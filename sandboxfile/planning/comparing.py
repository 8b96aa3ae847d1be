"""How what one file asks for differs from what another one asks for, whatever runs: what `sbx compare` shows. Pure.

Each difference is a Change, as in a plan, with fields and shifts; its action is `create`, `update` or `delete`, shown
as added, changed and removed. Sandboxes are the same when their names are; values of variables are not shown.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandboxfile.model.desired import DesiredSandbox, DesiredState, Volume
from sandboxfile.model.fingerprint import fingerprint, short
from sandboxfile.model.observed import Applied
from sandboxfile.model.plan import Action, Change, FieldChange, Shift
from sandboxfile.model.sizes import size
from sandboxfile.model.template import DesiredTemplate, Recipe
from sandboxfile.planning.changes import field_changes, given_to, policy_change, reach_changed, reach_of
from sandboxfile.planning.markdown import code, folded, widens_blocks
from sandboxfile.planning.render import SYMBOLS, change_lines, fields_json, shifts_json
from sandboxfile.planning.widening import image_shifts, shifts, taken_away, template_shifts

JSON_VERSION = 1
_WORDS: dict[Action, str] = {"create": "added", "update": "changed", "delete": "removed"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`base` is what it was compared with, as it was called."""

    project: str
    base: str
    changes: tuple[Change, ...] = ()

    @property
    def widening(self) -> tuple[Shift, ...]:
        """All by which something may do more."""
        return tuple(shift for change in self.changes for shift in change.shifts if shift.direction == "widens")


def compare(before: DesiredState, after: DesiredState, base: str) -> Comparison:
    """Everything that differs: the project's name, templates, volumes, sandboxes; each by name."""
    moved = _project(before, after)
    there = replace(before, sandboxes=(), volumes=()) if moved else before
    found = (*moved, *_templates(before, after), *_volumes(there, after), *_sandboxes(there, after))
    return Comparison(after.project, base, found)


def _project(before: DesiredState, after: DesiredState) -> tuple[Change, ...]:
    """Sandboxes and volumes are a project's own: under another name there is nothing that they could be more than."""
    if before.project == after.project or not (before.sandboxes or before.volumes):
        return ()
    why = f"it is another project: everything of it is new, and what there is of {before.project} stays"
    field = FieldChange("name", before.project, after.project, "replace", why)
    return (Change(f"project {after.project}", "update", "name changed", (field,)),)


# --- sandboxes ---------------------------------------------------------------------------------------------------


def _sandboxes(before: DesiredState, after: DesiredState) -> Iterator[Change]:
    was, now = ({spec.id.name: spec for spec in state.sandboxes} for state in (before, after))
    images = [{template.recipe.digest: template for template in state.templates} for state in (before, after)]
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name), now.get(name)
        if new is None and old is not None:
            yield Change(f"sandbox {name}", "delete", "it is in the base alone", shifts=taken_away(old))
        elif new is not None:
            yield from _sandbox(old, new, images[0], images[1])


def _sandbox(
    old: DesiredSandbox | None,
    new: DesiredSandbox,
    was: Mapping[str, DesiredTemplate],
    now: Mapping[str, DesiredTemplate],
) -> Iterator[Change]:
    template = now.get(new.image.digest)
    moved = shifts(old, new)
    if template is not None:
        moved += image_shifts(new, template, was.get(old.image.digest) if old else None)
    if old is None:
        reach = _about(new, given_to(new) + reach_of(new.policy))
        yield Change(f"sandbox {new.id.name}", "create", "it is not in the base", reach=reach, shifts=moved)
        return
    fields = _fields(old, new)
    reach = _about(new, reach_changed(new.policy, old.policy))
    if fields or moved or reach:
        yield Change(f"sandbox {new.id.name}", "update", _count(fields), fields, reach=reach, shifts=moved)


def _fields(old: DesiredSandbox, new: DesiredSandbox) -> tuple[FieldChange, ...]:
    """As if the base had been applied, wholly, and nothing ran."""
    found = field_changes(new, Applied(old, "", "", len(old.setup)), None)
    was, now = (", ".join(spec.profiles) or None for spec in (old, new))
    if was != now:
        found += (FieldChange("profiles", was, now, "live", "says when it is meant"),)
    return found


def _about(spec: DesiredSandbox, sentences: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{spec.id.name} {sentence}" for sentence in sentences)


def _count(fields: tuple[FieldChange, ...]) -> str:
    return f"{fields[0].path} changed" if len(fields) == 1 else f"{len(fields)} fields changed"


# --- templates and volumes ---------------------------------------------------------------------------------------


def _templates(before: DesiredState, after: DesiredState) -> Iterator[Change]:
    was, now = ({template.name: template for template in state.templates} for state in (before, after))
    for name in sorted(was.keys() | now.keys()):
        old, new = was.get(name), now.get(name)
        if new is None:
            yield Change(f"template {name}", "delete", "it is in the base alone")
        elif old is None:
            yield Change(f"template {name}", "create", "it is not in the base", shifts=template_shifts(None, new))
        else:
            fields, moved = tuple(_template_fields(old, new)), template_shifts(old, new)
            if fields or moved:
                yield Change(f"template {name}", "update", _count(fields), fields, shifts=moved)


def _template_fields(old: DesiredTemplate, new: DesiredTemplate) -> Iterator[FieldChange]:
    was, now = _parts(old.recipe), _parts(new.recipe)
    reason = "a sandbox is made anew when its image is another one"
    paths = [path for path in (*was, *(path for path in now if path not in was)) if was.get(path) != now.get(path)]
    yield from (FieldChange(path, was.get(path), now.get(path), "replace", reason) for path in paths)
    if not paths and old.recipe.digest != new.recipe.digest:
        digests = short(old.recipe.digest), short(new.recipe.digest)
        yield FieldChange("recipe", *digests, "replace", "what is pinned or how it is built is another")
    yield from policy_change(new.policy, old.policy, None)
    if (old.locked, old.content) != (new.locked, new.content):
        was_pinned, pinned = (_short(each.content) if each.locked else None for each in (old, new))
        yield FieldChange("lock", was_pinned, pinned, "live", "sandbox.lock pins another result")


def _short(digest: str) -> str:
    return short(digest.removeprefix("sha256:"))


def _parts(recipe: Recipe) -> dict[str, str]:
    """What a recipe says, by field as in the file; of commands and arguments a digest, as they may hold anything."""
    origin = recipe.origin
    found = {"base": f"{origin.kind} {origin.reference or origin.path} {_short(origin.digest)}".rstrip()}
    if origin.kind == "dockerfile":
        found["build"] = f"{origin.dockerfile} {origin.target} ({short(fingerprint(origin.args))})"
    if origin.packages:
        found["packages.base"] = ", ".join(origin.packages)
    for number, step in enumerate(recipe.steps, 1):
        if step.kind == "files":
            found |= {f"files.{f.target}": f"{f.mode:04o} {_short(f.digest)}" for f in step.files}
        elif step.packages:
            found[f"packages.{step.kind}"] = ", ".join(step.packages)
        else:
            found[f"steps.{number}"] = f"{step.kind} as {step.user} ({short(fingerprint((step.command, step.env)))})"
    return found


def _volumes(before: DesiredState, after: DesiredState) -> Iterator[Change]:
    was, now = ({volume.id.name: volume for volume in state.volumes} for state in (before, after))
    for name in sorted(was.keys() | now.keys()):
        yield from _volume(name, was.get(name), now.get(name))


def _volume(name: str, old: Volume | None, new: Volume | None) -> Iterator[Change]:
    if new is None:
        yield Change(f"volume {name}", "delete", "it is in the base alone; the volume itself stays")
    elif old is None:
        yield Change(f"volume {name}", "create", "it is not in the base")
    elif old.size != new.size:
        field = FieldChange("size", size(old.size), size(new.size), "live", "a volume grows, and never shrinks")
        yield Change(f"volume {name}", "update", "size changed", (field,))


# --- shown -------------------------------------------------------------------------------------------------------


def render(found: Comparison) -> str:
    """In lines, as a plan is."""
    if not found.changes:
        return f"No differences: everything is as {found.base} has it."
    lines = [line for change in found.changes for line in _lines(change)]
    return "\n".join([*lines, "", _summary(found)])


def to_json(found: Comparison) -> dict[str, Any]:
    """As data. Part of the stable surface: fields are added, never renamed."""
    return {
        "version": JSON_VERSION,
        "project": found.project,
        "base": found.base,
        "changes": [
            {
                "subject": change.subject,
                "action": _WORDS[change.action],
                "cause": change.cause,
                "fields": fields_json(change),
                "reach": list(change.reach),
                "widens": shifts_json(change.shifts, "widens"),
                "tightens": shifts_json(change.shifts, "tightens"),
            }
            for change in found.changes
        ],
        "widens": bool(found.widening),
    }


def to_markdown(found: Comparison) -> str:
    """As a comment on a pull request: what widens first. Nothing of a file becomes markup."""
    blocks = [f"### sbx compare: {code(found.project)} with {code(found.base)}\n", *widens_blocks(found.widening)]
    blocks.append(f"**{_summary(found)}**\n" if found.changes else "**No differences.**\n")
    return folded(blocks, [(_head(change), tuple(_lines(change))) for change in found.changes])


def _lines(change: Change) -> Iterator[str]:
    _, *rest = change_lines(change)
    yield f"{SYMBOLS[change.action]:>3} {_head(change)} ({change.cause})"
    yield from rest


def _head(change: Change) -> str:
    return f"{change.subject}: {_WORDS[change.action]}"


def _summary(found: Comparison) -> str:
    counts = {word: sum(change.action == action for change in found.changes) for action, word in _WORDS.items()}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    wider = len(found.widening)
    return f"{told}; {'nothing widens' if not wider else f'{wider} widening'}."
