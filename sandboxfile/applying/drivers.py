"""The operations of a plan on this host. Each is one function, and done again it does no harm."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from anyio import to_thread

from sandboxfile.applying import machines, storage
from sandboxfile.applying.checkpoints import checkpoint_before
from sandboxfile.applying.waiting import wait_for
from sandboxfile.control.client import request
from sandboxfile.control.messages import (
    Attach,
    AttachVolume,
    CheckAgent,
    Detach,
    DetachVolume,
    GrowDisk,
    Message,
    Provide,
    Resume,
    RunSetup,
    SetPolicy,
    SetPorts,
    StartMain,
    Update,
)
from sandboxfile.errors import StateError
from sandboxfile.host import review
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import is_locked, read_record, write_record
from sandboxfile.model import plan as operations
from sandboxfile.model.credential import Credential
from sandboxfile.model.desired import Workspace
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import Operation
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId
from sandboxfile.planning.sandbox import setup_done
from sandboxfile.secrets.needs import env_values

_ANSWER_TIMEOUT = 120.0  # seconds for a change inside a running sandbox; 1 is usual
_GROW_TIMEOUT = 600.0
Report = Callable[[str], None]


class HostDrivers:
    """The executor's drivers for one user of this host. `observe` looks at one project.

    `environ` has the values of credentials that come from the environment: told to supervisors, and to nobody else.
    """

    def __init__(
        self,
        layout: Layout,
        observe: Callable[[str], Awaitable[ObservedState]],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.layout = layout
        self._observe = observe
        self._environ = os.environ if environ is None else environ

    async def observe(self, project: str) -> ObservedState:
        return await self._observe(project)

    async def run(self, operation: Operation, report: Report) -> None:
        """Do one operation. Raises SandboxfileError."""
        match operation:
            case operations.PreparePlatform():
                await _prepare_platform(self.layout, report)
            case operations.BuildImage(template):
                await _build_image(self.layout, template, report)
            case operations.StartSandbox(id):
                await self._start(id, report)
            case operations.StopSandbox(id):
                await machines.stop(self.layout, id, report)
            case operations.UpdateRecord():
                await self._update_record(operation)
            case operations.GrowDisk(id, size):
                await self._grow_disk(id, size)
            case operations.CreateVolume() | operations.RecordVolume():
                await _change_volume(self.layout, operation)
            case operations.GrowVolume() | operations.DeleteVolume():
                await _change_volume(self.layout, operation)
            case _:
                await self._store(operation, report)

    async def _store(self, operation: Operation, report: Report) -> None:
        """What happens to the directory of a sandbox that does not run; what does run is asked."""
        match operation:
            case operations.CreateSandbox(spec, source):
                await storage.create(self.layout, spec, source)
            case operations.DeleteSandbox(id, keep, checkpoints):
                await storage.delete(self.layout, id, keep=keep, checkpoints=checkpoints)
            case operations.BringBack(id):
                await to_thread.run_sync(storage.bring_back, self.layout, id)
            case operations.CheckpointSandbox(id, label):
                await checkpoint_before(self.layout, id, label, report)
            case _:
                await self._ask(operation, report)

    async def _ask(self, operation: Operation, report: Report) -> None:
        """What the supervisor of a running sandbox does: what it is given, and, in `_have_run`, what runs in it."""
        match operation:
            case operations.AttachWorkspace(id, workspace):
                await self._remember(id, (workspace,), report)
                await self._request(id, Attach(workspace), report)
            case operations.DetachWorkspace(id, target):
                await self._request(id, Detach(target), report)
            case operations.AttachVolume(id, mount):
                await self._request(id, AttachVolume(mount), report)
            case operations.DetachVolume(id, target):
                await self._request(id, DetachVolume(target), report)
            case operations.SetPolicy(id, policy):
                await self._request(id, SetPolicy(policy), report)
                await self._provide(id, policy.credentials)  # a value given before is one for the old source
            case operations.ProvideSecrets(id, credentials):
                await self._provide(id, credentials)
            case operations.SetPorts(id, ports):
                await self._request(id, SetPorts(ports), report)
            case _:
                await self._have_run(operation, report)

    async def _have_run(self, operation: Operation, report: Report) -> None:
        match operation:
            case operations.RunSetup(id):
                first = read_record(self.layout.sandbox(id)).setup_done
                await self._request(id, RunSetup(first), report, timeout=None)  # the user's own commands
            case operations.StartMain(id):
                await self._request(id, StartMain(), report)
            case operations.CheckAgent(id):
                await self._request(id, CheckAgent(), report)
            case operations.WaitFor(id, condition):
                await wait_for(self.layout.sandbox(id), id, condition, machines.showing(report))
            case operations.ResumeSandbox(id):
                await self._request(id, Resume(), report)

    async def _start(self, id: SandboxId, report: Report) -> None:
        spec = read_record(self.layout.sandbox(id)).spec
        await self._remember(id, spec.workspaces, report)
        await machines.start(self.layout, id, report, values=env_values(spec.policy.credentials, self._environ))

    async def _remember(self, id: SandboxId, workspaces: Sequence[Workspace], report: Report) -> None:
        """How things are before anything inside can change them. A sandbox is not kept from running for it."""
        try:
            await to_thread.run_sync(review.remember, self.layout.sandbox(id), workspaces)
        except (StateError, OSError) as exc:
            report(f"`sbx review` will not know how its workspaces were: {exc}")

    async def _provide(self, id: SandboxId, credentials: Sequence[Credential]) -> None:
        if values := env_values(credentials, self._environ):
            await request(self.layout.sandbox(id).control, Provide(values), timeout=_ANSWER_TIMEOUT)

    async def _request(
        self, id: SandboxId, message: Message, report: Report, timeout: float | None = _ANSWER_TIMEOUT
    ) -> None:
        await request(self.layout.sandbox(id).control, message, machines.showing(report), timeout)

    async def _update_record(self, operation: operations.UpdateRecord) -> None:
        """The supervisor first: killed in between, the record is old, and the next plan sees the difference."""
        spec, paths = operation.spec, self.layout.sandbox(operation.spec.id)
        if is_locked(paths.lock):
            await request(paths.control, Update(spec), timeout=_ANSWER_TIMEOUT)
            # An apply may have been killed between a policy and the values for it.
            await self._provide(spec.id, spec.policy.credentials)
        applied = read_record(paths)
        done = setup_done(applied, spec)
        write_record(paths, replace(applied, spec=spec, source=operation.source, setup_done=done))

    async def _grow_disk(self, id: SandboxId, size: int) -> None:
        from sandboxfile.vm.disks import grow_disk

        paths = self.layout.sandbox(id)
        if is_locked(paths.lock):
            await request(paths.control, GrowDisk(size), timeout=_GROW_TIMEOUT)
        else:
            await grow_disk(paths.disk, size)


async def _change_volume(
    layout: Layout,
    operation: operations.CreateVolume | operations.RecordVolume | operations.GrowVolume | operations.DeleteVolume,
) -> None:
    from sandboxfile.applying.volumes import create_volume, delete_volume, grow_volume, record_volume

    match operation:
        case operations.CreateVolume(id, size, source):
            await create_volume(layout, id, size, source)
        case operations.RecordVolume(id, source):
            await to_thread.run_sync(record_volume, layout, id, source)
        case operations.GrowVolume(id, size):
            await grow_volume(layout, id, size)
        case operations.DeleteVolume(id):
            await delete_volume(layout, id)


async def _build_image(layout: Layout, template: DesiredTemplate, report: Report) -> None:
    from sandboxfile.applying.building import build_image
    from sandboxfile.images.held import hold_to_lock

    image = await build_image(layout, template, report)
    if note := hold_to_lock(template, image):
        report(note)


async def _prepare_platform(layout: Layout, report: Report) -> None:
    from sandboxfile.images.boot.platform import build_platform

    await build_platform(layout, report)
