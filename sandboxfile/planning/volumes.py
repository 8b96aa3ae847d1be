"""The volumes of a project: made, made larger and deleted, and passed on from one sandbox to another. Pure.

A volume is made, and grows, in the steps of the sandbox that is to have it. It is taken when it is plugged in or its
sandbox is started, and free when it is unplugged or its sandbox is stopped: who takes one waits for who had it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.model.desired import DesiredSandbox, Mount, Volume
from sandboxfile.model.observed import ObservedSandbox, ObservedState, ObservedVolume
from sandboxfile.model.plan import (
    AttachVolume,
    Change,
    CreateSandbox,
    CreateVolume,
    DeleteVolume,
    DetachVolume,
    FieldChange,
    GrowVolume,
    Operation,
    RecordVolume,
    StartSandbox,
    Step,
    StopSandbox,
    UpdateRecord,
)
from sandboxfile.model.sizes import size
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning.mounts import mounted
from sandboxfile.planning.sandbox import Part

_TAKES = (StartSandbox, AttachVolume)


def furnish(
    part: Part, spec: DesiredSandbox, volumes: Iterable[Volume], observed: ObservedState, source: str = ""
) -> Part:
    """Put before a sandbox's steps that take a volume those that make it, or make it larger; gives the part.

    `source` is the file that they are of from now on; that another one has them, and exists, has been refused.
    """
    if not spec.mounts:
        return part
    found = {volume.id: volume for volume in observed.volumes}
    wanted = {volume.id.name: volume for volume in volumes}
    for mount in spec.mounts:
        volume = wanted[mount.volume]
        _furnish(part, volume, found.get(volume.id), source)
        _take_over(part, found.get(volume.id), source)
    return part


def _furnish(part: Part, volume: Volume, found: ObservedVolume | None, source: str) -> None:
    name, subject = volume.id.name, f"volume {volume.id.name}"
    if found is None:
        if any(isinstance(step.operation, _TAKES) for step in part.steps):
            part.changes.insert(0, Change(subject, "create", "it is in the file and does not exist"))
            _insert(part, f"create volume {name}", CreateVolume(volume.id, volume.size, source), "it does not exist")
    elif found.size > volume.size:
        part.refusals.append(
            error(
                "Volume cannot shrink",
                f"the volume {volume.id} has {size(found.size)}; the file asks for {size(volume.size)}",
                hint=f"give it at least what it has, or delete it with what is on it: sbx volume rm {volume.id}",
            )
        )
    elif found.size < volume.size:
        reason = "a volume grows while it is in use"
        field = FieldChange("size", size(found.size), size(volume.size), "live", reason)
        part.changes.insert(0, Change(subject, "update", "size changed", (field,)))
        operation = GrowVolume(volume.id, volume.size, found.holder)
        _insert(part, f"grow volume {name}", operation, f"it is to have {size(volume.size)}")


def _take_over(part: Part, found: ObservedVolume | None, source: str) -> None:
    """One whose file is gone is this file's: said, for what is on it comes with it."""
    if found is None or found.source in ("", source):
        return
    name, cause = found.id.name, f"its file was {found.source} before"
    part.changes.insert(0, Change(f"volume {name}", "update", cause))
    _insert(part, f"record volume {name}", RecordVolume(found.id, source), cause)


def _insert(part: Part, key: str, operation: Operation, reason: str) -> None:
    """Before the first step that takes a volume; else before its settings are remembered, or last."""
    kinds = [_TAKES, (UpdateRecord,)]
    places = [
        next((i for i, step in enumerate(part.steps) if isinstance(step.operation, kind)), None) for kind in kinds
    ]
    place = next((place for place in places if place is not None), len(part.steps))
    before = tuple(step.key for step in part.steps[place - 1 : place]) if place else ()
    if place < len(part.steps):
        after = part.steps[place]
        needs = (key, *(need for need in after.needs if need not in before))
        part.steps[place] = replace(after, needs=needs)
    part.steps.insert(place, Step(key, operation, reason, before))


# --- passed on ---------------------------------------------------------------------------------------------------


def pass_on(parts: Sequence[Part], observed: ObservedState) -> list[Diagnostic]:
    """Let who takes a volume wait for who has it now. Errors where that one keeps it, or where there is none."""
    steps = [step for part in parts for step in part.steps]
    taken = {step.key: names for step, names in _takers(steps, observed)}
    if not any(taken.values()):
        return []
    holders = _holders(observed)
    freed = _freed(steps, observed)
    made = {step.operation.id.name for step in steps if isinstance(step.operation, CreateVolume)}
    there = {volume.id.name for volume in observed.volumes} | made
    problems: list[Diagnostic] = []
    for part in parts:
        for index, step in enumerate(part.steps):
            names = taken.get(step.key, ())
            others = [name for name in names if holders.get(name, part.id) != part.id]
            needs = [key for name in others for key in freed.get((holders[name], name), ())]
            part.steps[index] = replace(step, needs=tuple(dict.fromkeys((*step.needs, *needs)))) if needs else step
            problems += (_kept(name, holders[name], part.id) for name in others if (holders[name], name) not in freed)
            problems += (_gone(name, part.id) for name in names if name not in there)
    return list(dict.fromkeys(problems))


def _takers(steps: Iterable[Step], observed: ObservedState) -> Iterator[tuple[Step, tuple[str, ...]]]:
    """Steps that take volumes, with their names."""
    records = {found.id: found.applied.spec for found in observed.sandboxes if found.applied is not None}
    already = {found.id for found in observed.sandboxes if found.status == "starting"}
    for step in steps:
        match step.operation:
            case CreateSandbox(spec) | UpdateRecord(spec):
                records[spec.id] = spec
            case StopSandbox(id):
                already.discard(id)
            case StartSandbox(id) if id in records and id not in already:  # that one has taken what it wants
                yield step, tuple(mount.volume for mount in records[id].mounts)
            case AttachVolume(_, mount):
                yield step, (mount.volume,)
            case GrowVolume(id):  # not while it is being unplugged
                yield step, (id.name,)


def _holders(observed: ObservedState) -> dict[str, SandboxId]:
    """Who has each volume. The machine of one that was just stopped may have it for a moment, and does not count."""
    runs = {found.id for found in observed.sandboxes if found.status != "stopped"}
    return {volume.id.name: volume.holder for volume in observed.volumes if volume.holder in runs and volume.holder}


def _freed(steps: Iterable[Step], observed: ObservedState) -> Mapping[tuple[SandboxId, str], list[str]]:
    """Steps after which a sandbox does not have a volume any more."""
    mounts = {found.id: _mounts(found) for found in observed.sandboxes}
    held: dict[SandboxId, list[str]] = {}
    for name, holder in _holders(observed).items():
        held.setdefault(holder, []).append(name)
    freed: dict[tuple[SandboxId, str], list[str]] = {}
    for step in steps:
        match step.operation:
            case DetachVolume(id, target):
                names = [mount.volume for mount in mounts.get(id, ()) if mount.target == target]
            case StopSandbox(id):
                names = held.get(id, [])
            case _:
                continue
        for name in names:
            freed.setdefault((id, name), []).append(step.key)
    return freed


def _mounts(found: ObservedSandbox) -> tuple[Mount, ...]:
    return mounted(found.applied, found.machine) if found.applied is not None else ()


def _kept(name: str, holder: SandboxId, taker: SandboxId) -> Diagnostic:
    return error(
        "Volume in use",
        f"the volume {name} is to be in the sandbox {taker.name}, and {holder.name} has it now",
        hint=f"one sandbox at a time has a volume: name both, or stop the other first: sbx stop {holder.name}",
    )


def _gone(name: str, taker: SandboxId) -> Diagnostic:
    detail = f"the sandbox {taker.name} was made with the volume {name}, which does not exist any more"
    return error("Missing volume", detail, hint="`sbx up` makes it anew, and empty")


# --- deleted -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting volumes is: after all else."""

    changes: tuple[Change, ...] = ()
    steps: tuple[Step, ...] = ()
    refusals: tuple[Diagnostic, ...] = ()


NOTHING = Deletion()


def delete_volumes(
    observed: ObservedState, names: Collection[str], cause: str, without: Collection[SandboxId] = ()
) -> Deletion:
    """Delete volumes with what is on them, after their sandboxes. `without`: sandboxes that are deleted as well."""
    changes: list[Change] = []
    steps: list[Step] = []
    refusals: list[Diagnostic] = []
    users = _users(observed, without)
    for volume in sorted(observed.volumes, key=lambda volume: volume.id):
        name = volume.id.name
        if name not in names:
            continue
        changes.append(Change(f"volume {name}", "delete", cause, loses_disk=True))
        if found := users.get(name):
            refusals.append(_in_use(volume.id, found))
        needs = tuple(f"{verb} {volume.holder.name}" for verb in ("stop", "delete")) if volume.holder else ()
        steps.append(Step(f"delete volume {name}", DeleteVolume(volume.id), cause, needs))
    return Deletion(tuple(changes), tuple(steps), tuple(refusals))


def _users(observed: ObservedState, without: Collection[SandboxId]) -> dict[str, SandboxId]:
    """Who has a volume, or would have it when started."""
    users = {
        mount.volume: found.id
        for found in observed.sandboxes
        if found.id not in without and found.applied is not None
        for mount in found.applied.spec.mounts
    }
    return users | {name: holder for name, holder in _holders(observed).items() if holder not in without}


def _in_use(id: VolumeId, user: SandboxId) -> Diagnostic:
    return error(
        "Volume in use",
        f"the volume {id} belongs to the sandbox {user.name}",
        hint=f"take it out of the file and run `sbx up`, or delete the sandbox first: sbx rm {user.name}",
    )
