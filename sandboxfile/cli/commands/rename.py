"""Give a sandbox another name; its disk stays. One of a sandbox file is renamed there, too, with what refers to it.

The file keeps its comments and its form, and is only changed when it then asks for the same under the new name. A
running sandbox is stopped for it and started again: its host name is another one. What the last `up` has replaced or
removed can no longer be brought back with `sbx rollback`.
"""

import argparse
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli import editing, exits
from sandboxfile.cli.applying import add_fit_option, add_lock_timeout, confirm
from sandboxfile.cli.commands.fork import new_name
from sandboxfile.cli.editing import Proposal, same_meaning
from sandboxfile.cli.project import (
    find_sandboxes,
    given_with,
    known_sandboxes,
    show_diagnostics,
    show_problems,
    this_layout,
)
from sandboxfile.cli.running import run_async
from sandboxfile.cli.unmanaged import unasked
from sandboxfile.cli.verbs import apply_verb
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import NotFoundError, SandboxfileError, StaleError
from sandboxfile.host import history, moving
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, hold_lock, is_locked, read_record
from sandboxfile.language.document import decode
from sandboxfile.language.renaming import rename_sandbox
from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.observed import Applied
from sandboxfile.model.policy import NO_POLICY, Policy
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.planning.renaming import waits_renamed


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.set_defaults(shows_plan=False, allow_destroy=False, parallel=1)
    add_lock_timeout(parser)
    add_fit_option(parser)
    parser.add_argument("name", metavar="OLD", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("new", metavar="NEW", type=new_name, help="what it is to be called")


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


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    renaming = _proposed(args, layout, console)
    here = renaming.new if renaming.moved else renaming.old
    ran = is_locked(layout.sandbox(here).lock)
    if renaming.proposal is not None:
        console.say(harmless(renaming.proposal.diff()))
    if ran:
        console.say(f"{here} runs: it is stopped for this, and started again")
    if not args.yes and (ran or renaming.proposal is not None):
        confirm(console, "Rename it?")
    if ran and (code := apply_verb("stop", [here], False, unasked(args), console)):
        return code
    run_async(partial(rename, renaming, args.lock_timeout))
    console.say(f"{renaming.old} is {renaming.new} now")
    return apply_verb("start", [renaming.new], False, unasked(args), console) if ran else exits.OK


async def rename(renaming: Renaming, timeout: float) -> int:
    """Move the sandbox and write the file; both or neither, unless killed in between.

    Killed then, the sandbox has its new name and the file the old one: the same command finishes it. Killed later, a
    plan has what is left: records that have the old name.
    """
    from sandboxfile.applying.following import follow  # here: not everybody starts an event loop

    layout, old, new = this_layout(), renaming.old, renaming.new
    ensure_directories(layout)
    async with hold_lock(layout.project_lock(old.project), f"rename {old}", timeout):
        if read_record(layout.sandbox(new if renaming.moved else old)) != renaming.applied:
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


# --- what is to be done ------------------------------------------------------------------------------------------


def _proposed(args: argparse.Namespace, layout: Layout, console: Console) -> Renaming:
    try:
        (old,) = find_sandboxes([args.name], args)
    except NotFoundError:
        return _unfinished(args, layout, console)
    new = SandboxId(old.project, args.new)
    if new in known_sandboxes(layout):
        raise SandboxfileError(f"there is a sandbox {new} already", hint="choose another name")
    applied = read_record(layout.sandbox(old))
    if old.project == UNMANAGED:
        return Renaming(old, new, applied, None)
    proposal, policy = _edit(old, args, applied, console)
    return Renaming(old, new, applied, proposal, policy=policy)


def _unfinished(args: argparse.Namespace, layout: Layout, console: Console) -> Renaming:
    """One that was killed after the move: the file still has the old name. Raises NotFoundError."""
    for new in known_sandboxes(layout):
        paths = layout.sandbox(new)
        old = SandboxId(new.project, args.name.rpartition("/")[2])
        if new.name == args.new and new.project != UNMANAGED and paths.moved_record.exists():
            applied = read_record(paths)
            proposal, policy = _edit(old, args, applied, console)
            return Renaming(old, new, applied, proposal, moved=True, policy=policy)
    find_sandboxes([args.name], args)  # says that there is none
    raise AssertionError("unreachable")


def _edit(
    old: SandboxId, args: argparse.Namespace, applied: Applied, console: Console
) -> tuple[Proposal, Policy | None]:
    """The file with the new name, read as `up` would. Raises SandboxfileError, after showing why, when that fails.

    And the policy that the sandbox has with it; None when what was applied is not what the file asks for.
    """
    path = editing.file_of(old, applied.source, args.file)
    before = read_file(path)
    now = _load(path, before, args, console)
    if (service := next((each.service for each in now.sandboxes if each.id == old), "")) != "":
        raise SandboxfileError(
            f"{old} is one of the replicas of {service}",
            hint=f"rename `{service}` in {path} by hand; `sbx up` makes it",
        )
    text, _ = decode(before, str(path))
    assert text is not None, "it was loaded"
    edited, problems = rename_sandbox(text, str(path), old.name, args.new)
    if edited is None:
        show_diagnostics(problems, {str(path): text}, console)
        raise SandboxfileError(f"{path} was not changed")
    after = _load(path, edited.encode(), args, console)
    if not _means_the_same(now, after, old.name, args.new):
        raise SandboxfileError(
            f"{path} was not changed: with {args.new} in place of {old.name} it would ask for something else",
            hint="another file names it, or something counts for a sandbox of that name: rename it by hand",
        )
    return Proposal(path, before, edited.encode(), NO_POLICY), _policy(now, after, old, args.new, applied)


def _policy(now: DesiredState, after: DesiredState, old: SandboxId, new: str, applied: Applied) -> Policy | None:
    """That of the edited file, when it differs from the applied one in names alone."""
    before = next((spec.policy for spec in now.sandboxes if spec.id == old), None)
    wanted = next((spec.policy for spec in after.sandboxes if spec.id.name == new), None)
    if before != applied.spec.policy or wanted is None:
        return None
    same = [[replace(each, placeholder="") for each in policy.credentials] for policy in (before, wanted)]
    return wanted if same[0] == same[1] else None


def _load(path: Path, content: bytes, args: argparse.Namespace, console: Console) -> DesiredState:
    loaded = pipeline.load(path, this_layout(), content=content, frozen=None, given=given_with(args))
    if loaded.desired is None:
        show_problems(loaded, console)
        raise SandboxfileError(f"{os.fspath(path)} was not changed")
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
