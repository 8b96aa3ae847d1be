"""What is there: reads directories, locks and records, and asks supervisors, who ask QEMU. Changes and chooses nothing.

A held lock is a running sandbox; a supervisor that holds it and does not answer in time is `unresponsive`.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandboxfile.errors import MachineError, SandboxfileError, StateError
from sandboxfile.host.directories import checkpoint_labels
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, sandbox_directories
from sandboxfile.host.volumes import volume_holder, volume_ids, volume_source
from sandboxfile.images.boot.platform import find_platform
from sandboxfile.images.store import list_images
from sandboxfile.model.observed import Applied, Machine, ObservedSandbox, ObservedState, ObservedVolume, Status
from sandboxfile.names import SandboxId, VolumeId

Found = dict[SandboxId, ObservedSandbox]
_PATIENCE = 5.0  # seconds for a supervisor to answer; 0.01 is usual, a second on a host that is overloaded
_GRACE = 0.5  # seconds that a supervisor has between taking its lock and listening, and between its end and the lock's


async def observe(layout: Layout, project: str, environ: Mapping[str, str] | None = None) -> ObservedState:
    """Everything that bears on one project. `environ` is the environment of sbx unless given."""
    return await _asked(layout, project, _at_rest_all(layout, project), environ)


def observe_blocking(layout: Layout, project: str) -> ObservedState:
    """The same, outside of an event loop. One is started when there is somebody to ask, and loaded only then."""
    found = _at_rest_all(layout, project)
    if _awake(found) or volume_ids(layout, project):
        import anyio

        return anyio.run(_asked, layout, project, found, None)
    return _state(layout, project, _still_there(layout, found), ())


async def _asked(layout: Layout, project: str, found: Found, environ: Mapping[str, str] | None) -> ObservedState:
    environ = os.environ if environ is None else environ
    sandboxes = tuple(compared(sandbox, environ) for sandbox in await _observe_each(layout, found))
    return _state(layout, project, sandboxes, await observe_volumes(layout, project))


def _state(
    layout: Layout, project: str, sandboxes: tuple[ObservedSandbox, ...], volumes: tuple[ObservedVolume, ...]
) -> ObservedState:
    sources = {sandbox.applied.source for sandbox in sandboxes if sandbox.applied is not None}
    return ObservedState(
        project=project,
        sandboxes=sandboxes,
        images=list_images(layout),
        platform_ready=find_platform(layout) is not None,
        missing_sources=_missing(sources | {volume.source for volume in volumes if volume.source}),
        volumes=volumes,
    )


async def observe_volumes(layout: Layout, project: str | None = None) -> tuple[ObservedVolume, ...]:
    """The volumes of one project, or all of this user, sorted. One whose disk cannot be read has the size 0."""
    return tuple([await _observe_volume(layout, id) for id in volume_ids(layout, project)])


async def _observe_volume(layout: Layout, id: VolumeId) -> ObservedVolume:
    from sandboxfile.vm.disks import disk_size  # here, as below: who has none pays nothing for them

    size = 0
    with suppress(MachineError):
        size = await disk_size(layout.volume(id).disk)
    return ObservedVolume(id, size, volume_holder(layout, id), volume_source(layout, id))


async def observe_all(layout: Layout) -> tuple[ObservedSandbox, ...]:
    """Every sandbox of this user, sorted by project and name."""
    return await _observe_each(layout, _at_rest_all(layout))


async def writable_now(layout: Layout) -> frozenset[str]:
    """The directories that something inside may write to at this moment, by any name; `/` when nobody can tell.

    A record may lag behind what is attached, and a sandbox that does not answer may have anything.
    """
    found: set[str] = set()
    for each in await observe_all(layout):
        if each.status == "stopped":
            continue
        if each.applied is None or each.machine is None:
            return frozenset({"/"})
        workspaces = (*each.applied.spec.workspaces, *each.machine.workspaces)
        found.update(workspace.source for workspace in workspaces if workspace.mode == "rw")
    return frozenset(found)


async def observe_one(layout: Layout, id: SandboxId) -> ObservedSandbox:
    """One sandbox, which must have a directory."""
    found = _at_rest(layout, id)
    return found if found.status == "stopped" else await _with_machine(layout, found)


def _at_rest(layout: Layout, id: SandboxId) -> ObservedSandbox:
    """What files say of it. Without asking who holds its lock, that one counts as unresponsive."""
    paths = layout.sandbox(id)
    applied, problem = _record(paths, id)
    disk_present = paths.disk.exists() and paths.base.exists()
    status: Status = "unresponsive" if is_locked(paths.lock) else "stopped"
    asleep = status == "stopped" and paths.asleep.exists()
    checkpoints = len(checkpoint_labels(paths.checkpoints))
    return ObservedSandbox(id, status, applied, None, disk_present, problem, asleep=asleep, checkpoints=checkpoints)


async def _with_machine(layout: Layout, found: ObservedSandbox) -> ObservedSandbox:
    machine = await _machine(layout, found.id)
    if machine is None:  # it may just have ended
        return _at_rest(layout, found.id)
    return replace(found, status=machine.health, machine=machine, outdated=_outdated(machine))


def _record(paths: SandboxPaths, id: SandboxId) -> tuple[Applied | None, str | None]:
    try:
        applied = read_record(paths)
    except StateError as exc:
        return None, exc.message
    if applied.spec.id != id:
        return None, f"the record {paths.record} is that of {applied.spec.id}"
    return applied, None


def _outdated(machine: Machine) -> bool:
    """Whether this program would start a machine of the same sizes otherwise."""
    from sandboxfile.guest.config import PORTS
    from sandboxfile.vm.machine import MachineSpec, boot_fingerprint

    if machine.health == "starting":  # it says what it is going to be
        return False
    spec = MachineSpec(machine.cpus, machine.memory, "tcg", None, PORTS)
    return boot_fingerprint(spec) != machine.boot


def _at_rest_all(layout: Layout, project: str | None = None) -> Found:
    """Every sandbox of a project, or of this user, sorted."""
    ids = (SandboxId(*each) for each in sandbox_directories(layout) if project is None or each[0] == project)
    return {id: _at_rest(layout, id) for id in ids}


async def _observe_each(layout: Layout, found: Found) -> tuple[ObservedSandbox, ...]:
    async def ask(sandbox: ObservedSandbox) -> None:
        found[sandbox.id] = await _with_machine(layout, sandbox)

    if awake := _awake(found):
        from sandboxfile.host.tasks import together  # here, as below

        await together(*(partial(ask, sandbox) for sandbox in awake))
    return _still_there(layout, found)


def _awake(found: Found) -> list[ObservedSandbox]:
    return [sandbox for sandbox in found.values() if sandbox.status != "stopped"]


def _still_there(layout: Layout, found: Found) -> tuple[ObservedSandbox, ...]:
    """Without those that were deleted while we looked."""
    return tuple(each for each in found.values() if each.applied is not None or layout.sandbox(each.id).root.exists())


def compared(sandbox: ObservedSandbox, environ: Mapping[str, str]) -> ObservedSandbox:
    """With the names of the credentials whose value is not the one that the running machine was given."""
    if sandbox.applied is None or sandbox.machine is None:
        return sandbox
    from sandboxfile.secrets.needs import env_values
    from sandboxfile.secrets.tags import matches

    given = dict(sandbox.machine.secrets)
    now = env_values(sandbox.applied.spec.policy.credentials, environ)
    stale = tuple(name for name, value in now if name not in given or not matches(given[name], value))
    return replace(sandbox, stale_secrets=stale)


def _missing(sources: set[str]) -> frozenset[str]:
    return frozenset(source for source in sources if not Path(source).exists())


async def _machine(layout: Layout, id: SandboxId) -> Machine | None:
    """What the supervisor says. None when it does not answer: gone, or not listening, or hanging."""
    import anyio

    from sandboxfile.control.client import request
    from sandboxfile.control.messages import GetStatus, StatusReply

    paths = layout.sandbox(id)
    deadline = anyio.current_time() + _GRACE
    while True:
        try:
            reply = await request(paths.control, GetStatus(), timeout=_PATIENCE)
            return reply.machine if isinstance(reply, StatusReply) else None
        except SandboxfileError:
            if anyio.current_time() > deadline or not is_locked(paths.lock):
                return None
        await anyio.sleep(0.05)
