"""What of an observation the steps of a plan rest on, and what of that has moved since.

Of each sandbox that a step concerns everything but what moves by itself while nothing of ours changes; of images and
platform only that they are there, where the plan counts on it. A sandbox that no step concerns makes no plan stale.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from sandboxfile.model.fingerprint import fingerprint, short
from sandboxfile.model.observed import (
    Applied,
    Machine,
    MainProcess,
    ObservedSandbox,
    ObservedState,
    ObservedVolume,
)
from sandboxfile.model.plan import (
    AttachVolume,
    BuildImage,
    CreateSandbox,
    CreateVolume,
    DeleteSandbox,
    DeleteVolume,
    GrowVolume,
    Operation,
    PreparePlatform,
    RecordVolume,
    StartMain,
    StartSandbox,
    Step,
    UpdateRecord,
)
from sandboxfile.names import SandboxId, VolumeId


@dataclass(frozen=True, slots=True)
class Seen:
    """One sandbox as it was found; None: there was none of this name."""

    id: SandboxId
    sandbox: ObservedSandbox | None


@dataclass(frozen=True, slots=True)
class SeenVolume:
    """One volume as it was found; None: there was none of this name."""

    id: VolumeId
    volume: ObservedVolume | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What some steps rest on, sorted. `images`: the content's digest by the recipe's of those that are taken from the
    cache. `platform`: the kernel and the guest tools are taken from there, and were there.
    """

    sandboxes: tuple[Seen, ...] = ()
    images: tuple[tuple[str, str], ...] = ()
    platform: bool = False
    volumes: tuple[SeenVolume, ...] = ()


def snapshot(observed: ObservedState, steps: Iterable[Step]) -> Snapshot:
    """What these steps rest on. Empty where there are none.

    Left out of a sandbox: a main process that ends or is started again, unless it is run for having ended, who sits at
    the agent's terminal, its health, and times; its checkpoints, unless they are deleted with it.
    """
    operations = [step.operation for step in steps]
    ids = {id for id in map(concerned, operations) if id is not None}
    lost = {operation.id for operation in operations if isinstance(operation, DeleteSandbox) and operation.checkpoints}
    started = {operation.id for operation in operations if isinstance(operation, StartSandbox)}
    again = {operation.id for operation in operations if isinstance(operation, StartMain)} - started
    there = {each.id: _steady(each, each.id in lost, each.id in again) for each in observed.sandboxes}
    built = {operation.template.recipe.digest for operation in operations if isinstance(operation, BuildImage)}
    needed = {operation.spec.image.digest for operation in operations if isinstance(operation, CreateSandbox)}
    prepares = any(isinstance(operation, PreparePlatform) for operation in operations)
    return Snapshot(
        tuple(Seen(id, there.get(id)) for id in sorted(ids)),
        tuple((digest, observed.images.get(digest, "")) for digest in sorted(needed - built)),
        bool(started) and not prepares and observed.platform_ready,
        _volumes(observed, operations),
    )


def _volumes(observed: ObservedState, operations: Iterable[Operation]) -> tuple[SeenVolume, ...]:
    there = {volume.id: volume for volume in observed.volumes}
    ids = {id for operation in operations for id in concerned_volumes(operation)}
    return tuple(SeenVolume(id, there.get(id)) for id in sorted(ids))


def concerned_volumes(operation: Operation) -> Iterator[VolumeId]:
    """The volumes that an operation is about, those of a sandbox that is made or changed among them."""
    match operation:
        case CreateVolume(id) | RecordVolume(id) | GrowVolume(id) | DeleteVolume(id):
            yield id
        case AttachVolume(sandbox, mount):
            yield VolumeId(sandbox.project, mount.volume)
        case CreateSandbox(spec) | UpdateRecord(spec):
            yield from (VolumeId(spec.id.project, mount.volume) for mount in spec.mounts)


def observation_fingerprint(observed: ObservedState, steps: Iterable[Step]) -> str:
    """Equal for two observations between which nothing moved that these steps rest on."""
    return fingerprint(snapshot(observed, steps))


def concerned(operation: Any) -> SandboxId | None:
    """The sandbox that an operation is about; None for what sandboxes share."""
    spec = getattr(operation, "spec", None)
    found = spec.id if spec is not None else getattr(operation, "id", None)
    return found if isinstance(found, SandboxId) else None


def _steady(sandbox: ObservedSandbox, is_lost: bool, is_run: bool) -> ObservedSandbox:
    if not is_lost:
        sandbox = replace(sandbox, checkpoints=0)
    if sandbox.machine is None:
        return sandbox
    main = replace(sandbox.machine.main, restarts=0)
    if main.status != "none" and not (main.status == "exited" and is_run):
        main = MainProcess("running")
    workspaces = tuple(sorted(sandbox.machine.workspaces, key=lambda workspace: workspace.target))
    machine = replace(
        sandbox.machine,
        workspaces=workspaces,
        main=main,
        started_at="",
        accelerator="",
        secrets=(),
        session="none",
        check="none",
        check_output="",
    )
    return replace(sandbox, machine=machine)


# --- what moved --------------------------------------------------------------------------------------------------


def moved(before: Snapshot, now: Snapshot) -> tuple[str, ...]:
    """What differs, a sentence each: which sandbox, and which of its fields; no values, which may be private."""
    found = {seen.id: seen.sandbox for seen in now.sandboxes}
    sentences = [
        f"sandbox {seen.id.name}: {what}"
        for seen in before.sandboxes
        for what in _moved_of(seen.sandbox, found.get(seen.id))
    ]
    contents = dict(now.images)
    for digest, content in before.images:
        if contents.get(digest, "") != content:
            what = "has another content" if contents.get(digest) else "is no longer in the cache"
            sentences.append(f"image {short(digest)}: it {what}")
    if before.platform and not now.platform:
        sentences.append("platform: the kernel and the guest tools are no longer in the cache")
    return (*sentences, *_moved_volumes(before, now))


def _moved_volumes(before: Snapshot, now: Snapshot) -> Iterator[str]:
    found = {seen.id: seen.volume for seen in now.volumes}
    for seen in before.volumes:
        was, is_now = seen.volume, found.get(seen.id)
        if was is None or is_now is None:
            if was is not is_now:
                what = "it did not exist, and is there now" if was is None else "it no longer exists"
                yield f"volume {seen.id.name}: {what}"
            continue
        if was.size != is_now.size:
            yield f"volume {seen.id.name}: it has another size"
        if was.holder != is_now.holder:
            yield f"volume {seen.id.name}: another sandbox has it, or none"
        if was.source != is_now.source:
            yield f"volume {seen.id.name}: it is of another file"


def _moved_of(before: ObservedSandbox | None, now: ObservedSandbox | None) -> Iterator[str]:
    if before is None or now is None:
        if before is not now:
            yield "it did not exist, and is there now" if before is None else "it no longer exists"
        return
    told = list(_moved_within(before, now))
    yield from told or (["it is not as it was"] if before != now else [])


def _moved_within(before: ObservedSandbox, now: ObservedSandbox) -> Iterator[str]:
    if before.asleep != now.asleep:
        yield "it went to sleep" if now.asleep else "it was asleep, and is not"
    elif before.status != now.status:
        yield f"it was {before.status}, and is {now.status}"
    if before.disk_present != now.disk_present:
        yield "its disk is there again" if now.disk_present else "its disk has been deleted"
    if before.checkpoints != now.checkpoints:
        yield f"it had {before.checkpoints} checkpoints, and has {now.checkpoints}"
    yield from _moved_record(before.applied, now.applied)
    yield from _moved_machine(before.machine, now.machine)
    if before.outdated != now.outdated:
        yield "another version of sbx started its machine" if now.outdated else "its machine is of this sbx now"
    if before.stale_secrets != now.stale_secrets:
        yield "the environment has other values of its secrets"


def _moved_record(before: Applied | None, now: Applied | None) -> Iterator[str]:
    if before is None or now is None:
        if before is not now:
            yield "its record can be read again" if before is None else "its record cannot be used"
        return
    if before.created_at != now.created_at:
        yield "it was deleted and made anew"
    for name in _different(before.spec, now.spec):
        yield f"`{name}` of what was applied has changed"
    if before.source != now.source:
        yield "another file was applied to it"
    if before.setup_done != now.setup_done:
        yield "its setup has gone on"
    if before.content != now.content:
        yield "its disk is made from another content"


_MACHINE_WORDS = {  # of fingerprints, whose names are ours alone
    "spec": "its supervisor goes by other settings",
    "boot": "its machine was started with other settings",
}


def _moved_machine(before: Machine | None, now: Machine | None) -> Iterator[str]:
    if before is not None and now is not None:
        for name in _different(before, now):
            if name != "health":  # the status has said it
                yield _MACHINE_WORDS.get(name, f"`{name}` of its machine has changed")


def _different(before: Any, now: Any) -> list[str]:
    return [each.name for each in fields(before) if getattr(before, each.name) != getattr(now, each.name)]
