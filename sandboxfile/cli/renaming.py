"""Another name for a sandbox: what is to be done for it, checked, and then done. Asks and shows nothing.

A file is only changed when it then asks for the same under the new name. Where it has that already (somebody has
renamed the sandbox there), only the sandbox is renamed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli import editing, exits
from sandboxfile.cli.editing import Proposal, same_meaning
from sandboxfile.cli.project import InvalidFile, known_sandboxes, this_layout
from sandboxfile.errors import NotFoundError, SandboxfileError, StaleError
from sandboxfile.host import history, moving
from sandboxfile.host.files import read_file
from sandboxfile.host.statedir import ensure_directories, hold_lock, read_record
from sandboxfile.language.document import decode
from sandboxfile.language.renaming import rename_sandbox
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.observed import Applied
from sandboxfile.model.policy import NO_POLICY, Policy
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.planning.renaming import waits_renamed


@dataclass(frozen=True, slots=True)
class Renaming:
    """What is to be done: `applied` is the record that it rests on; `moved`: a killed one has done that already.

    `policy` is what it has under the new name: layers and placeholders are called after their sandbox.
    """

    old: SandboxId
    new: SandboxId
    applied: Applied
    proposal: Proposal | None
    moved: bool = False
    policy: Policy | None = None

    @property
    def where(self) -> SandboxId:
        """What it is called until it is done."""
        return self.new if self.moved else self.old


def proposed(old: SandboxId, name: str, file: str | None, given: pipeline.Given) -> Renaming:
    """What is to be done; what a killed one has begun is gone on with. The `file` given counts, else the one it is of.

    Raises InvalidFile, NotFoundError, and SandboxfileError when the name is taken or the file cannot be changed.
    """
    layout, new = this_layout(), SandboxId(old.project, name)
    moved, known = unfinished(str(old), name) is not None, known_sandboxes(layout)
    if not moved and old not in known:
        raise NotFoundError(f"there is no sandbox {old}")
    if not moved and new in known:
        raise SandboxfileError(f"there is a sandbox {new} already", hint="choose another name")
    applied = read_record(layout.sandbox(new if moved else old))
    if old.project == UNMANAGED:
        return Renaming(old, new, applied, None)
    proposal, policy = _edit(old, name, editing.file_of(old, applied.source, file), given, applied)
    return Renaming(old, new, applied, proposal, moved, policy)


def unfinished(old: str, name: str) -> SandboxId | None:
    """The former name of a sandbox that was to be called `name` and is, while the file still has the `old` one."""
    layout = this_layout()
    for new in known_sandboxes(layout):
        former = SandboxId(new.project, old.rpartition("/")[2])
        moved = layout.sandbox(new).moved_record.exists() and not layout.sandbox(former).root.exists()
        if moved and new.name == name and new.project != UNMANAGED and old in (former.name, str(former)):
            return former
    return None


async def rename(renaming: Renaming, timeout: float) -> int:
    """Move the sandbox and write the file; both or neither, unless killed in between.

    Killed then, the sandbox has its new name and the file the old one: the same command finishes it. Killed later, a
    plan has what is left: records that have the old name.
    """
    from sandboxfile.applying.following import follow  # here: not everybody starts an event loop

    layout, old, new = this_layout(), renaming.old, renaming.new
    ensure_directories(layout)
    async with hold_lock(layout.project_lock(old.project), f"rename {old}", timeout):
        if read_record(layout.sandbox(renaming.where)) != renaming.applied:
            raise StaleError(f"{old} was changed meanwhile", hint="run the same command again")
        if not renaming.moved:
            moving.move(layout, old, new, renaming.applied.source)
        try:
            if renaming.proposal is not None:
                editing.write(renaming.proposal)
        except BaseException:
            moving.move_back(layout, new, old)
            raise
        moving.settle(layout, new, renaming.policy)
        if new.project != UNMANAGED:
            await follow(layout, old, new)
        history.forget(layout, old.project)  # it knows the sandbox by its old name
    return exits.OK


def _edit(
    old: SandboxId, name: str, path: Path, given: pipeline.Given, applied: Applied
) -> tuple[Proposal | None, Policy | None]:
    """The file with the new name, read as `up` would; none where it has it. Raises InvalidFile, and SandboxfileError.

    And the policy that the sandbox has with it; None when what was applied is not what the file asks for.
    """
    before = read_file(path)
    now = _load(path, before, given)
    there = {each.id.name for each in now.sandboxes}
    if old.name not in there and name in there:
        return None, None
    if (service := next((each.service for each in now.sandboxes if each.id == old), "")) != "":
        raise SandboxfileError(
            f"{old} is one of the replicas of {service}",
            hint=f"rename `{service}` in {path} by hand; `sbx up` makes it",
        )
    text, _ = decode(before, str(path))
    assert text is not None, "it was loaded"
    edited, problems = rename_sandbox(text, str(path), old.name, name)
    if edited is None:
        raise InvalidFile(path, problems, {str(path): text})
    after = _load(path, edited.encode(), given)
    if not _means_the_same(now, after, old.name, name):
        raise SandboxfileError(
            f"{path} was not changed: with {name} in place of {old.name} it would ask for something else",
            hint="another file names it, or something counts for a sandbox of that name: rename it by hand",
        )
    return Proposal(path, before, edited.encode(), NO_POLICY), _policy(now, after, old, name, applied)


def _policy(now: DesiredState, after: DesiredState, old: SandboxId, new: str, applied: Applied) -> Policy | None:
    """That of the edited file, when it differs from the applied one in names alone."""
    before = next((spec.policy for spec in now.sandboxes if spec.id == old), None)
    wanted = next((spec.policy for spec in after.sandboxes if spec.id.name == new), None)
    if before != applied.spec.policy or wanted is None:
        return None
    same = [[replace(each, placeholder="") for each in policy.credentials] for policy in (before, wanted)]
    return wanted if same[0] == same[1] else None


def _load(path: Path, content: bytes, given: pipeline.Given) -> DesiredState:
    loaded = pipeline.load(path, this_layout(), content=content, frozen=None, given=given)
    if loaded.desired is None:
        raise InvalidFile(path, loaded.diagnostics, loaded.sources)
    return loaded.desired


def _means_the_same(before: DesiredState, after: DesiredState, old: str, new: str) -> bool:
    """Whether a file asks for the same but for one name. Layers of policies may be called after sandboxes."""
    wanted = {spec.id: spec for spec in (_renamed(each, old, new) for each in before.sandboxes)}
    found = {spec.id: spec for spec in after.sandboxes}
    return wanted.keys() == found.keys() and all(
        replace(found[id], policy=NO_POLICY) == replace(spec, policy=NO_POLICY)
        and same_meaning(found[id].policy, spec.policy)
        for id, spec in wanted.items()
    )


def _renamed(spec: DesiredSandbox, old: str, new: str) -> DesiredSandbox:
    id = replace(spec.id, name=new) if spec.id.name == old else spec.id
    return replace(waits_renamed(spec, old, new), id=id)
