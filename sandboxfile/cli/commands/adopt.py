"""Write a sandbox that `run` or `create` made into the sandbox file: the one here or above, else a new one here.

The file keeps its comments and its form. The sandbox is stopped and keeps its disk; `sbx up` starts it again, as one of
the file's. A file that would make it another sandbox, or let it reach something else, is not changed.
"""

import argparse
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import editing, exits
from sandboxfile.cli.adopting import Adoption, check_kept, propose
from sandboxfile.cli.applying import LOCK_TIMEOUT, confirm
from sandboxfile.cli.project import find_upward, known_sandboxes, match_name, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.unmanaged import unasked
from sandboxfile.cli.verbs import apply_verb
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.plan import render_plan
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import NotFoundError, SandboxfileError, StaleError
from sandboxfile.host import history, moving
from sandboxfile.host.layout import SANDBOX_FILES
from sandboxfile.host.statedir import ensure_directories, hold_lock, is_locked, read_record
from sandboxfile.host.trust import approve, find_doubts
from sandboxfile.names import UNMANAGED, SandboxId, is_name
from sandboxfile.observe import observe
from sandboxfile.planning.trusting import ABSENT, digest_of


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="new_name", metavar="NAME", type=_name, help="what it is to be called in the file")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.set_defaults(shows_plan=False, allow_destroy=False, parallel=1)
    parser.add_argument(
        "--lock-timeout",
        metavar="SECONDS",
        type=float,
        default=LOCK_TIMEOUT,
        help=f"how long to wait for another sbx at work (default: {LOCK_TIMEOUT:g})",
    )
    parser.add_argument("name", metavar="NAME", help="a sandbox that `run` or `create` made")


def _name(text: str) -> str:
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name")
    return text


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    path = (Path(args.file) if args.file is not None else find_upward() or Path(SANDBOX_FILES[0])).absolute()
    id = find(args.name, path)
    if is_locked(layout.sandbox(id).lock):
        console.say(f"{id} runs, and is stopped for this; `sbx up` starts it again")
    adoption = proposed(id, path, args, console)
    if not args.yes:
        confirm(console, "Adopt it?")
    if is_locked(layout.sandbox(id).lock) and (code := apply_verb("stop", [id], False, unasked(args), console)):
        return code
    run_async(partial(adopt, id, adoption, args.lock_timeout))
    console.say(harmless(f"{adoption.id} is in {path} now; sbx up starts it"))
    return exits.OK


def find(name: str, path: Path) -> SandboxId:
    """The unmanaged sandbox, or one that a killed `adopt` has given to this file, which lacks it yet."""
    known = known_sandboxes(this_layout())
    id = SandboxId(UNMANAGED, name.removeprefix(f"{UNMANAGED}/"))
    if id in known:
        return id
    loose = [each for each in known if each.project != UNMANAGED and _is_orphan(each, path)]
    if found := next((each for each in loose if name in (each.name, str(each))), None):
        return found
    other = match_name(name, known, None)
    raise NotFoundError(
        f"{other} is no unmanaged sandbox: {read_record(this_layout().sandbox(other)).source} describes it",
        hint="`sbx ls -a` lists all there are",
    )


def _is_orphan(id: SandboxId, path: Path) -> bool:
    paths = this_layout().sandbox(id)
    if not paths.moved_record.exists() or read_record(paths).source != os.fspath(path):
        return False
    file = pipeline.load(path, this_layout(), frozen=None).file if path.exists() else None
    return file is None or id.name not in file.sandboxes


def proposed(id: SandboxId, path: Path, args: argparse.Namespace, console: Console) -> Adoption:
    """The edit, checked and shown, with what `up` does afterwards."""
    layout = this_layout()
    paths = layout.sandbox(id)
    applied = read_record(paths)
    found = propose(path, args.new_name or id.name, applied, paths, console)
    if id.project != UNMANAGED and found.id != id:
        raise SandboxfileError(f"{id} was given this name already", hint=f"sbx adopt {id.name}, without --as")
    if found.id != id and found.id in known_sandboxes(layout):
        raise SandboxfileError(f"there is a sandbox {found.id} already", hint="--as NAME gives this one another name")

    observed = anyio.run(observe, layout, found.id.project)
    after = found.plan(observed, disk_present=paths.disk.exists() and paths.base.exists())
    check_kept(after, found.id, path, console)
    console.say(harmless(found.proposal.diff()))
    console.say("`sbx up` then:")
    console.say(render_plan(after, console))
    return found


async def adopt(id: SandboxId, adoption: Adoption, timeout: float) -> int:
    """Give the sandbox to the file's project and write the file; both or neither, unless killed in between.

    Killed then, the sandbox is an orphan of its new project, which `up` leaves alone and the same command finishes.
    """
    layout = this_layout()
    ensure_directories(layout)
    async with AsyncExitStack() as held:
        for project in sorted({id.project, adoption.id.project}):
            await held.enter_async_context(hold_lock(layout.project_lock(project), f"adopt {id}", timeout))
        if read_record(layout.sandbox(id)) != adoption.applied:
            raise StaleError(f"{id} was changed meanwhile", hint="run the same command again")
        if id != adoption.id:
            moving.move(layout, id, adoption.id, adoption.desired.source)
        file = editing.content_of(adoption.proposal)
        is_trusted = file.digest == ABSENT or not find_doubts(layout, (file,))
        try:
            _write(adoption.proposal)
        except BaseException:
            if id != adoption.id:
                moving.move_back(layout, adoption.id, id)
            raise
        if is_trusted:  # and nothing is added to it but what was shown: exactly this much is approved by that
            approve(layout, [replace(file, digest=digest_of(adoption.proposal.after))])
        moving.settle(layout, adoption.id)
        if id != adoption.id:
            history.forget(layout, adoption.id.project)  # going back would take it for one that the last apply made
    return exits.OK


def _write(proposal: editing.Proposal) -> None:
    if proposal.path.exists():
        editing.write(proposal)
        return
    try:
        with proposal.path.open("xb") as file:
            file.write(proposal.after)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as exc:
        raise StaleError(f"{proposal.path} was made meanwhile", hint="run the same command again") from exc
    editing.keep_trust(proposal)
