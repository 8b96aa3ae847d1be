"""What moved away from what was applied: the record of a sandbox against what is there, whatever a file asks for now.

Found by planning what was applied: where the planner would do something to come back to it, something has moved. Not
drift, though `up` does it as well: setup that has not finished, other values of secrets in the environment, a machine
that is still on its way up. Nor that it is asleep, or unhealthy. A sandbox that was deleted with its record has moved
away from nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from sandboxfile.diagnostics import Diagnostic, Diagnostics, in_order
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, Status
from sandboxfile.model.plan import Action
from sandboxfile.model.policy import COMMAND, Policy, Rule
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.planning.sandbox import Part, converge, guard, main_is_due
from sandboxfile.planning.sleeping import sleeps_on
from sandboxfile.policy.command import command_edit

JSON_VERSION = 1
_MENDING: dict[Action, str] = {
    "resume": "resumes it",
    "start": "starts it",
    "restart": "restarts it",
    "replace": "replaces it",
}
_UNMANAGED_MENDING: dict[Action, str] = {"resume": "start", "start": "start", "replace": "rm"}


@dataclass(frozen=True, slots=True)
class Moved:
    """One thing. `path` as in the file, or `status`, `machine`, `supervisor`; `applied` and `found` are printable."""

    path: str
    applied: str
    found: str


@dataclass(frozen=True, slots=True)
class Drift:
    """One sandbox that is not as it was applied. `mending` says what brings it back; `loses_disk`: and that what is
    left on its disk is lost with it.
    """

    id: SandboxId
    status: Status
    moved: tuple[Moved, ...]
    mending: str
    loses_disk: bool = False


def find_drift(sandboxes: Iterable[ObservedSandbox]) -> tuple[tuple[Drift, ...], Diagnostics]:
    """Those that moved, by id; and errors for those that cannot be compared, because their record cannot be used."""
    found = sorted(sandboxes, key=lambda sandbox: sandbox.id)
    problems = [problem for sandbox in found if sandbox.applied is None for problem in _unusable(sandbox)]
    drifts = [_drift(sandbox, sandbox.applied) for sandbox in found if sandbox.applied is not None]
    return tuple(drift for drift in drifts if drift is not None), in_order(problems)


def to_json(drifts: Iterable[Drift]) -> dict[str, Any]:
    """As data. Part of the stable surface: fields are added, never renamed."""
    return {
        "version": JSON_VERSION,
        "sandboxes": [
            {
                "id": str(drift.id),
                "status": drift.status,
                "moved": [asdict(moved) for moved in drift.moved],
                "mending": drift.mending,
                "loses_disk": drift.loses_disk,
            }
            for drift in drifts
        ],
    }


def render(drifts: Iterable[Drift]) -> str:
    """In lines: a line per sandbox, beneath it a line for each thing that moved, and what brings it back."""
    lines = [line for drift in drifts for line in _lines(drift)]
    return "\n".join(lines or ["No drift: everything is as it was applied."])


def _lines(drift: Drift) -> Iterator[str]:
    yield f"  ~ sandbox {drift.id}"
    yield from (f"      {moved.path}: {moved.found} (applied: {moved.applied})" for moved in drift.moved)
    yield f"      {drift.mending}"
    if drift.loses_disk:
        yield "      !! THE DISK IS LOST: everything in the sandbox outside its workspaces"


# --- one sandbox -------------------------------------------------------------------------------------------------


def _unusable(found: ObservedSandbox) -> list[Diagnostic]:
    part = Part(found.id)
    guard(part, found, False, False, "comparing")  # says that its record cannot be used
    return part.refusals


def _drift(found: ObservedSandbox, applied: Applied) -> Drift | None:
    spec = replace(applied.spec, policy=_as_given(applied.spec.policy))
    # What is not drift counts as it ought to be.
    settled = replace(applied, setup_done=max(applied.setup_done, len(applied.spec.setup)))
    part = converge(spec, applied.source, replace(found, applied=settled, stale_secrets=()), False, applied.content)
    fields = [field for change in part.changes for field in change.fields]
    moved = [*_of_state(found, sleeps_on(spec, found, settled))]
    for field in fields:
        there = field.before or "(none)"
        edit = _edit_text(applied.spec.policy) if field.path == "policy" else ""
        moved.append(Moved(field.path, field.after or "(none)", f"{there}: {edit}" if edit else there))
    moved += _of_machine(found.machine, applied)
    if not moved:
        return None
    change = part.changes[0] if part.changes else None
    mending = _mending(found.id, change.action if change else "update", part.refusals)
    return Drift(found.id, found.status, tuple(moved), mending, change is not None and change.loses_disk)


def _of_state(found: ObservedSandbox, asleep: bool) -> Iterator[Moved]:
    if found.status not in ("running", "starting") and not asleep:
        yield Moved("status", "running", found.status)
    if not found.disk_present:
        yield Moved("disk", "present", "deleted")
    if found.outdated:
        yield Moved("machine", "as this sbx starts machines", "as another version of sbx started it")


def _of_machine(machine: Machine | None, applied: Applied) -> Iterator[Moved]:
    if machine is None or machine.health == "starting":
        return
    if machine.spec not in ("", fingerprint(applied.spec)):
        yield Moved("supervisor", "goes by the record", "goes by something else")
    if applied.spec.command is not None and main_is_due(applied.spec, machine):
        yield Moved("command", "running", _main_text(machine.main))


def _as_given(policy: Policy) -> Policy:
    """Without the rules of `sbx network proxy`: as the file gave it."""

    def kept(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(rule for rule in rules if rule.origin != COMMAND)

    own = policy.own
    layer = replace(own, allow=kept(own.allow), block=kept(own.block), bypass=kept(own.bypass))
    return replace(policy, layers=(*policy.layers[:-1], layer))


# --- words -------------------------------------------------------------------------------------------------------


def _mending(id: SandboxId, action: Action, refusals: list[Diagnostic]) -> str:
    if id.project == UNMANAGED:
        verb = _UNMANAGED_MENDING.get(action, "restart")
        return f"`sbx {verb} {id}` {'deletes what is left of it' if verb == 'rm' else 'brings it back'}"
    if refusals:
        hint = f" ({refusals[0].hint})" if refusals[0].hint else ""
        return f"`sbx up` refuses to mend it: {refusals[0].detail}{hint}"
    return f"`sbx up` {_MENDING.get(action, 'brings it back while it runs')}"


def _edit_text(policy: Policy) -> str:
    """What `sbx network proxy` added: `allow a.example.com; block b.example.com`; empty when nothing."""
    edit = command_edit(policy)
    if edit is None:
        return ""
    kinds = (("allow", edit.allow), ("block", edit.block), ("bypass", edit.bypass))
    return "; ".join(f"{kind} {', '.join(patterns)}" for kind, patterns in kinds if patterns)


def _main_text(main: MainProcess) -> str:
    return "not started" if main.status == "none" else f"exited with {main.exit_code}"
