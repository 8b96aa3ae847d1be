"""start, stop, restart, remove, another policy: planned from what is there alone, whatever a file says.

One way to change anything: also what a command asks for is a plan, shown, checked and applied like any other.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from sandboxfile.diagnostics import error
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState
from sandboxfile.model.plan import Plan, ResumeSandbox, SetPolicy, StopSandbox, UpdateRecord
from sandboxfile.model.policy import Policy
from sandboxfile.names import UNMANAGED, SandboxId, VolumeId
from sandboxfile.planning.changes import held_to_another, policy_change, reach_changed
from sandboxfile.planning.project import assemble, removal
from sandboxfile.planning.sandbox import PLATFORM_KEY, Part, bring_up, guard
from sandboxfile.planning.volumes import delete_volumes

Verb = Literal["start", "stop", "restart", "remove"]


def plan_verb(verb: Verb, observed: ObservedState, ids: Collection[SandboxId], allow_destroy: bool = False) -> Plan:
    """What a verb does to some sandboxes of one project. Those that are so already need nothing."""
    there = sorted(observed.sandboxes, key=lambda sandbox: sandbox.id)
    chosen = [sandbox for sandbox in there if sandbox.id in ids]
    return assemble(observed, [_part(verb, sandbox, allow_destroy) for sandbox in chosen])


def plan_policy(observed: ObservedState, id: SandboxId, policy: Policy) -> Plan:
    """What holds one sandbox to another policy, now and at its next starts, until its file is applied again."""
    found = next(sandbox for sandbox in observed.sandboxes if sandbox.id == id)
    part = Part(id)
    if found.applied is None:
        guard(part, found, False, False, "changing")  # says that its record cannot be used
    else:
        _hold_to(part, found, found.applied, policy)
    return assemble(observed, [part])


def plan_volume_deletion(observed: ObservedState, ids: Collection[VolumeId]) -> Plan:
    """What deletes some volumes of one project; refused for those that belong to a sandbox."""
    names = {id.name for id in ids if id.project == observed.project}
    return assemble(observed, [], deletion=delete_volumes(observed, names, "you asked for it"))


def _hold_to(part: Part, found: ObservedSandbox, applied: Applied, policy: Policy) -> None:
    name, spec = part.id.name, replace(applied.spec, policy=policy)
    if found.outdated:
        part.refusals.append(
            error(
                "Outdated machine",
                f"another version of sbx started {found.id}, and its policy cannot be changed while it runs",
                hint=f"restart it first: sbx restart {name}",
            )
        )
        return
    if held_to_another(policy, applied.spec.policy, found.machine):
        part.do(f"set policy {name}", SetPolicy(part.id, policy), "you asked for it")
    if spec != applied.spec:
        part.do(f"record {name}", UpdateRecord(spec, applied.source), "it stays so")
    if part.steps:
        fields = tuple(policy_change(policy, applied.spec.policy, found.machine))
        part.say("update", "you asked for it", fields, reach=reach_changed(policy, applied.spec.policy))


def _part(verb: Verb, found: ObservedSandbox, allow_destroy: bool) -> Part:
    if verb == "remove":
        return removal(found, allow_destroy, "you asked for it")
    part = Part(found.id)
    if verb == "stop":
        if found.status != "stopped":
            part.say("stop", "you asked for it", loses_disk=not found.disk_present)
            part.do(f"stop {found.id.name}", StopSandbox(found.id), "you asked for it")
        return part
    if found.applied is None:
        guard(part, found, False, False, "starting")  # says that its record cannot be used
        return part
    if not found.disk_present:  # what runs still has the deleted disk: once stopped, that is gone
        part.refusals.append(
            error(
                "Missing disk",
                f"the disk of {found.id} has been deleted: it cannot be started again",
                hint=_instead(found.id),
            )
        )
        return part
    if verb == "start" and found.status == "paused":
        part.say("resume", "its machine is paused")
        part.do(f"resume {found.id.name}", ResumeSandbox(found.id), "its machine is paused")
    elif verb == "restart" or found.status != "running":
        _start_again(part, found)
    return part


def _instead(id: SandboxId) -> str:
    if id.project == UNMANAGED:
        return f"sbx rm {id} deletes it; save what you need before, while it runs"
    return "`sbx up` replaces it by a new one; save what you need before, while it runs"


def _start_again(part: Part, found: ObservedSandbox) -> None:
    assert found.applied is not None
    if found.status not in ("stopped", "starting"):
        part.say("restart", "you asked for it")
        part.do(f"stop {found.id.name}", StopSandbox(found.id), "you asked for it", (PLATFORM_KEY,))
    else:
        part.say("start", "you asked for it")
    bring_up(part, found, found.applied, "you asked for it")
