"""Checkpoints that a plan makes before anything else: of every disk that something in it puts at risk. Pure.

At risk is the disk of a sandbox that is replaced or deleted, in which setup commands will run, or whose main process
becomes another one. Whatever changes live, and a restart with other sizes, leaves the disk as it is.

They are made when all that has to be built is there, which may take long and may fail, and before every other step: one
that cannot be made stops the plan while all sandboxes are as they were. One after the other: each machine stands still
for its own copy alone, and after one that fails no other is made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sandboxfile.diagnostics import Diagnostic, error, in_order
from sandboxfile.model.observed import ObservedSandbox, ObservedState
from sandboxfile.model.plan import (
    BuildImage,
    Change,
    CheckpointSandbox,
    DeleteSandbox,
    Plan,
    PreparePlatform,
    RunSetup,
    StartMain,
    StartSandbox,
    Step,
)
from sandboxfile.names import SandboxId

SHARED = (PreparePlatform, BuildImage)  # fill the cache alone


def with_checkpoints(plan: Plan, observed: ObservedState, label: str) -> Plan:
    """The plan with a checkpoint `label` of each disk at risk, where it has none yet; without a label as it is.

    Refused, and without steps, when one of them cannot be made.
    """
    if not label or not plan.steps:
        return plan
    made = {step.operation.id for step in plan.steps if isinstance(step.operation, CheckpointSandbox)}
    there = {each.id: each for each in observed.sandboxes if each.id not in made}
    risks = {id: reason for id, reason in _risks(plan) if id in there and there[id].disk_present}
    refusals = [found for id in risks for found in _refusal(there[id])]
    changes = tuple(_told(change, observed.project, risks, label) for change in plan.changes)
    steps = () if refusals else _inserted(plan.steps, risks, label)
    return replace(plan, changes=changes, steps=steps, diagnostics=in_order((*plan.diagnostics, *refusals)))


def _risks(plan: Plan) -> Iterator[tuple[SandboxId, str]]:
    """By what a disk is at risk, the worst last; disks that are still to be made among them."""
    operations = [step.operation for step in plan.steps]
    commands = {change.subject for change in plan.changes if any(field.path == "command" for field in change.fields)}
    started = dict.fromkeys(each.id for each in operations if isinstance(each, StartSandbox | StartMain))
    yield from ((id, "another main process runs with its disk") for id in started if f"sandbox {id.name}" in commands)
    yield from ((each.id, "setup runs on its disk") for each in operations if isinstance(each, RunSetup))
    yield from ((each.id, "its disk is lost") for each in operations if isinstance(each, DeleteSandbox))


def _refusal(found: ObservedSandbox) -> Iterator[Diagnostic]:
    if found.applied is None:
        detail, hint = f"the record of {found.id} cannot be used: {found.problem}", "without --checkpoint it is lost"
        yield error("No checkpoint", detail, hint=hint)
    elif found.status == "unresponsive":
        detail = f"the supervisor of {found.id} does not answer, and only it can copy the disk of a running machine"
        yield error("No checkpoint", detail, hint=f"stop it first: sbx stop {found.id}")


def _told(change: Change, project: str, risks: Mapping[SandboxId, str], label: str) -> Change:
    kind, _, name = change.subject.partition(" ")
    return replace(change, checkpoint=label) if kind == "sandbox" and SandboxId(project, name) in risks else change


def _inserted(steps: tuple[Step, ...], risks: Mapping[SandboxId, str], label: str) -> tuple[Step, ...]:
    shared = tuple(step for step in steps if isinstance(step.operation, SHARED))
    built = tuple(step.key for step in shared)
    copies: list[Step] = []
    for id in sorted(risks):
        needs = (copies[-1].key,) if copies else built
        copies.append(Step(f"checkpoint {id.name}", CheckpointSandbox(id, label), risks[id], needs))
    last = tuple(step.key for step in copies[-1:])
    rest = (step for step in steps if step not in shared)
    # Steps that need another one of these wait with it.
    waiting = (step if set(step.needs) - set(built) else replace(step, needs=(*step.needs, *last)) for step in rest)
    return (*shared, *copies, *waiting)
