"""The way back to how a project was before an apply. Pure: what was, what is, and what was put aside in; a plan out.

A sandbox with the disk that it had gets its settings back; one that was replaced or deleted gets its disk back as
well; those that were made since are deleted, but for protected ones, which are told. What was there already, and could
not be read, is left alone. A disk that was made larger stays so, and volumes keep what is on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sandboxfile.diagnostics import Diagnostic, in_order, warning
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.history import Before, Was
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState
from sandboxfile.model.plan import Action, BringBack, Plan, StopSandbox, UpdateRecord
from sandboxfile.model.policy import Layer, Policy
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import field_changes, given_to, reach_changed, reach_of
from sandboxfile.planning.project import assemble, removal
from sandboxfile.planning.sandbox import Part, bring_up, converge, guard, take_down

_CAUSE = "it was so before the last apply"
_OUTER = ("user policy ", "machine policy ")  # how layers of those are called; a project's begin with `policy `


def held_today(before: Before, enforced: Iterable[Layer]) -> Before:
    """As it was, but held to what the user and the machine enforce today: that always applies, and has no way back."""
    layers = tuple(enforced)
    return replace(before, sandboxes=tuple(_held_today(was, layers) for was in before.sandboxes))


def _held_today(was: Was, enforced: tuple[Layer, ...]) -> Was:
    spec = was.applied.spec
    policy = _under(spec.policy, enforced)
    return replace(was, applied=replace(was.applied, spec=replace(spec, policy=policy)))


def _under(policy: Policy, enforced: tuple[Layer, ...]) -> Policy:
    rest = (layer for layer in policy.layers if not (layer.enforced and layer.name.startswith(_OUTER)))
    return replace(policy, layers=(*enforced, *rest))


def plan_rollback(
    before: Before, observed: ObservedState, kept: Mapping[SandboxId, Applied], allow_destroy: bool = False
) -> Plan:
    """What makes the project as it was. `kept`: the records of sandboxes that were put aside."""
    found = {sandbox.id: sandbox for sandbox in sorted(observed.sandboxes, key=lambda sandbox: sandbox.id)}
    made = [each for each in found.values() if _was_made_since(each, before)]
    stay = [each for each in made if each.applied is not None and each.applied.spec.protect and not allow_destroy]
    since = [each for each in made if each not in stay]
    parts = [removal(each, allow_destroy, "the last apply made it", checkpoints=False) for each in since]
    parts += [_back(was, found.get(was.id), kept.get(was.id), allow_destroy) for was in before.sandboxes]
    waits = {was.id: was.applied.spec.depends_on for was in before.sandboxes}
    plan = assemble(observed, parts, waits=waits)
    return replace(plan, diagnostics=in_order((*plan.diagnostics, *map(_stays, stay))), history="ends")


def _was_made_since(found: ObservedSandbox, before: Before) -> bool:
    """By who was there, not by the time: clocks are set back."""
    return found.applied is not None and before.was(found.id) is None and found.id not in before.unreadable


def _stays(found: ObservedSandbox) -> Diagnostic:
    return warning(
        "Protected sandbox",
        f"the last apply made the sandbox {found.id}, and it stays: it has `protect: true`",
        hint="--allow-destroy deletes it as well",
    )


def _back(was: Was, found: ObservedSandbox | None, kept: Applied | None, allow_destroy: bool) -> Part:
    spec, source = was.applied.spec, was.applied.source
    if found is not None and found.applied is not None and was.is_same(found.applied):
        spec = _as_large(spec, found.applied.spec)
        if was.running:
            return converge(spec, source, found, allow_destroy, found.applied.content)
        return _stopped(spec, source, found, found.applied)
    if was.is_same(kept):
        return _brought_back(was, found, allow_destroy)
    return converge(spec, source, found, allow_destroy)  # its disk was deleted for good


def _as_large(spec: DesiredSandbox, now: DesiredSandbox) -> DesiredSandbox:
    disk = max(spec.resources.disk, now.resources.disk)
    return replace(spec, resources=replace(spec.resources, disk=disk))


def _stopped(spec: DesiredSandbox, source: str, found: ObservedSandbox, applied: Applied) -> Part:
    """It was stopped: so it is again, with its settings."""
    part = Part(spec.id)
    if found.status != "stopped":
        part.do(f"stop {spec.id.name}", StopSandbox(spec.id), "it was stopped")
    if (applied.spec, applied.source) != (spec, source):
        part.do(f"record {spec.id.name}", UpdateRecord(spec, source), _CAUSE)
    if part.steps:
        fields = field_changes(spec, applied, None, applied.content, ())
        action: Action = "update" if found.status == "stopped" else "stop"
        part.say(action, _CAUSE, fields, reach=reach_changed(spec.policy, applied.spec.policy))
    return part


def _brought_back(was: Was, found: ObservedSandbox | None, allow_destroy: bool) -> Part:
    """The one that was put aside takes the place of what is there now."""
    spec, part, cause = was.applied.spec, Part(was.id), "it comes back with the disk that it had"
    if found is None:
        part.say("create", cause, reach=given_to(spec) + reach_of(spec.policy))
    else:
        now = found.applied
        fields = field_changes(spec, now, None, was.applied.content, ()) if now is not None else ()
        reach = reach_changed(spec.policy, now.spec.policy) if now is not None else reach_of(spec.policy)
        part.say("replace", cause, fields, loses_disk=True, reach=reach)
        if not guard(part, found, False, allow_destroy, "replacing"):
            return part
        take_down(part, found, cause)
    part.do(f"bring back {spec.id.name}", BringBack(spec.id), cause)
    # Mostly it says so already; it may have been put aside by an apply that had changed its settings before.
    part.do(f"record {spec.id.name}", UpdateRecord(spec, was.applied.source), _CAUSE)
    if was.running:
        bring_up(part, ObservedSandbox(spec.id, "stopped", was.applied), was.applied, "it ran before the last apply")
    return part
