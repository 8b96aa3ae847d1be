"""A machine for the steps of a build: an ordinary sandbox that nobody sees, and that dies with whoever builds.

It has no workspaces and its template's policy. Its supervisor holds a pipe of ours and dies when that ends, and its
machine with it: SIGKILL of a builder leaves only a directory that nobody holds, which the next builder or apply sweeps.
"""

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread

from sandboxfile.applying import machines, storage
from sandboxfile.errors import HostError, MachineError
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.spawn import tail
from sandboxfile.host.statedir import ensure_directories, is_locked, try_lock
from sandboxfile.model.desired import DesiredSandbox, Image, Resources
from sandboxfile.model.policy import Policy
from sandboxfile.names import BUILDS, SandboxId

_CPUS, _MEMORY, _DISK = 4, 2 << 30, 40 << 30
_GONE_TIMEOUT = 20.0  # seconds for a supervisor that we let go to be gone; 0.05 is usual
_POLL = 0.02
Report = machines.Report


async def nothing(paths: SandboxPaths) -> None:
    """Leave a machine's files as they are."""


@asynccontextmanager
async def build_sandbox(
    layout: Layout,
    beneath: storage.Foundation,
    title: str,
    policy: Policy,
    report: Report,
    *,
    prepare: Callable[[SandboxPaths], Awaitable[None]] = nothing,
) -> AsyncIterator[SandboxPaths]:
    """A machine that runs, on what is `beneath` it; gone at the end of the block.

    `prepare` may still change its files before it starts. Raises MachineError with the end of the console when it does
    not start.
    """
    ensure_directories(layout)
    await to_thread.run_sync(storage.sweep_builds, layout)
    id = SandboxId(BUILDS, secrets.token_hex(8))
    spec = DesiredSandbox(id, title, Image("", title), user="root", policy=policy, resources=_resources())
    hold = _hold(layout, id.name)
    try:
        await storage.create_on(layout, spec, "", beneath)
        await prepare(layout.sandbox(id))
        async with _running(layout, id, report):
            yield layout.sandbox(id)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(storage.remove_build, layout, id.name)
        os.close(hold)


def _hold(layout: Layout, name: str) -> int:
    path = layout.build_hold(name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    held = try_lock(path)
    if held is None:
        raise HostError(f"cannot lock {path}")
    return held


@asynccontextmanager
async def _running(layout: Layout, id: SandboxId, report: Report) -> AsyncIterator[None]:
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            await machines.start(layout, id, report, tie=theirs)
        finally:
            os.close(theirs)
        yield
    finally:
        os.close(ours)
        with anyio.CancelScope(shield=True):
            await _until_gone(layout.sandbox(id))


async def _until_gone(paths: SandboxPaths) -> None:
    """Its disk is thrown away: nothing has to end in order."""
    with anyio.move_on_after(_GONE_TIMEOUT):
        while is_locked(paths.lock):  # noqa: ASYNC110 - another process's lock sends us no event
            await anyio.sleep(_POLL)
        return
    if not machines.kill_holder(paths.lock):
        raise MachineError("the build machine does not end", output=tail(paths.supervisor_log))


def _resources() -> Resources:
    """As many processors as there are, up to four; not more than half of the memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return Resources(min(_CPUS, os.cpu_count() or 1), min(_MEMORY, memory) & -(1 << 20), _DISK)
