"""A sandbox has another name: the records of those that wait for it say so, too. Under the project's lock.

Done again it does no harm. Killed before its end it leaves records with the old name, and the next plan updates them.
"""

from dataclasses import replace

from sandboxfile.control.client import request
from sandboxfile.control.messages import GetStatus, StatusReply, Update
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.statedir import is_locked, read_record, write_record
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.names import SandboxId
from sandboxfile.planning.changes import held_to_another
from sandboxfile.planning.renaming import waits_renamed

_PATIENCE = 10.0  # seconds for a supervisor to answer; 0.01 is usual


async def follow(layout: Layout, old: SandboxId, new: SandboxId) -> None:
    """Put `new` where records of its project wait for `old`. Those that cannot be changed are left to the next plan."""
    for project, name in sandbox_directories(layout):
        if project == new.project:
            try:
                await _follow(layout, SandboxId(project, name), old.name, new.name)
            except (SandboxfileError, OSError):
                continue


async def _follow(layout: Layout, id: SandboxId, old: str, new: str) -> None:
    """The supervisor first, as when any record changes: it says what it goes by, and that is compared."""
    paths = layout.sandbox(id)
    before = read_record(paths).spec
    spec = waits_renamed(before, old, new)
    if spec == before:
        return
    if is_locked(paths.lock):
        if not await _goes_by(paths, before):  # a killed apply has changed it: its policy must not become the old one
            return
        await request(paths.control, Update(spec), timeout=_PATIENCE)
    write_record(paths, replace(read_record(paths), spec=spec))


async def _goes_by(paths: SandboxPaths, spec: DesiredSandbox) -> bool:
    reply = await request(paths.control, GetStatus(), timeout=_PATIENCE)
    if not isinstance(reply, StatusReply):
        return False
    return reply.machine.spec == fingerprint(spec) and not held_to_another(spec.policy, spec.policy, reply.machine)
