"""What is there: reads directories, locks and records, and asks supervisors, who ask QEMU. Changes and chooses nothing.

A held lock is a running sandbox; a supervisor that holds it and does not answer in time is `unresponsive`.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from sandboxfile.control.client import request
from sandboxfile.control.messages import GetStatus, StatusReply
from sandboxfile.errors import SandboxfileError, StateError
from sandboxfile.guest.config import PORTS
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, sandbox_directories
from sandboxfile.host.tasks import together
from sandboxfile.images.boot.platform import find_platform
from sandboxfile.images.store import list_images
from sandboxfile.model.observed import Applied, Machine, ObservedSandbox, ObservedState, Status
from sandboxfile.names import SandboxId
from sandboxfile.secrets.needs import env_values
from sandboxfile.secrets.tags import matches
from sandboxfile.vm.machine import MachineSpec, boot_fingerprint

_PATIENCE = 5.0  # seconds for a supervisor to answer; 0.01 is usual, a second on a host that is overloaded
_GRACE = 0.5  # seconds that a supervisor has between taking its lock and listening, and between its end and the lock's


async def observe(layout: Layout, project: str, environ: Mapping[str, str] | None = None) -> ObservedState:
    """Everything that bears on one project. `environ` is the environment of sbx unless given."""
    found = await _observe_each(layout, [id for id in _identities(layout) if id.project == project])
    sandboxes = tuple(compared(sandbox, os.environ if environ is None else environ) for sandbox in found)
    sources = {sandbox.applied.source for sandbox in sandboxes if sandbox.applied is not None}
    return ObservedState(
        project=project,
        sandboxes=sandboxes,
        images=list_images(layout),
        platform_ready=find_platform(layout) is not None,
        missing_sources=_missing(sources),
    )


async def observe_all(layout: Layout) -> tuple[ObservedSandbox, ...]:
    """Every sandbox of this user, sorted by project and name."""
    return await _observe_each(layout, _identities(layout))


async def observe_one(layout: Layout, id: SandboxId) -> ObservedSandbox:
    """One sandbox, which must have a directory."""
    paths = layout.sandbox(id)
    applied, problem = _record(paths, id)
    disk_present = paths.disk.exists() and paths.base.exists()
    machine = await _machine(layout, id) if is_locked(paths.lock) else None
    if machine is not None:
        return ObservedSandbox(id, machine.health, applied, machine, disk_present, problem, _outdated(machine))
    status: Status = "unresponsive" if is_locked(paths.lock) else "stopped"
    return ObservedSandbox(id, status, applied, None, disk_present, problem)


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
    if machine.health == "starting":  # it says what it is going to be
        return False
    spec = MachineSpec(machine.cpus, machine.memory, "tcg", None, PORTS)
    return boot_fingerprint(spec) != machine.boot


async def _observe_each(layout: Layout, ids: list[SandboxId]) -> tuple[ObservedSandbox, ...]:
    found: dict[SandboxId, ObservedSandbox] = {}

    async def one(id: SandboxId) -> None:
        found[id] = await observe_one(layout, id)

    await together(*(partial(one, id) for id in ids))
    # One that was deleted while we looked is not there.
    return tuple(found[id] for id in ids if found[id].applied is not None or layout.sandbox(id).root.exists())


def compared(sandbox: ObservedSandbox, environ: Mapping[str, str]) -> ObservedSandbox:
    """With the names of the credentials whose value is not the one that the running machine was given."""
    if sandbox.applied is None or sandbox.machine is None:
        return sandbox
    given = dict(sandbox.machine.secrets)
    now = env_values(sandbox.applied.spec.policy.credentials, environ)
    stale = tuple(name for name, value in now if name not in given or not matches(given[name], value))
    return replace(sandbox, stale_secrets=stale)


def _missing(sources: set[str]) -> frozenset[str]:
    return frozenset(source for source in sources if not Path(source).exists())


async def _machine(layout: Layout, id: SandboxId) -> Machine | None:
    """What the supervisor says. None when it does not answer: gone, or not listening, or hanging."""
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


def _identities(layout: Layout) -> list[SandboxId]:
    return [SandboxId(project, name) for project, name in sandbox_directories(layout)]
