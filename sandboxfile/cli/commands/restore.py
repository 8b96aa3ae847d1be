"""Give a sandbox the disk back that it had at a checkpoint. The disk as it is now is lost, unless --keep keeps it.

A running sandbox is stopped for it and started again. Its settings stay as they are, and so do workspaces and volumes.
Was it replaced since, its template and agent are those of the disk again, and `sbx plan` shows what the file asks for
instead. Interrupted at any moment, the sandbox has the one disk or the other.
"""

import argparse
from datetime import UTC, datetime
from functools import partial

from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, add_fit_option, confirm
from sandboxfile.cli.commands import checkpoint
from sandboxfile.cli.project import find_with_checkpoints, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.unmanaged import unasked
from sandboxfile.cli.verbs import apply_verb
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.views.text import age
from sandboxfile.cli.working import working
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.checkpoints import default_label, find_checkpoint
from sandboxfile.host.statedir import ensure_directories, hold_lock, is_locked, read_record
from sandboxfile.names import SandboxId


def register(parser: argparse.ArgumentParser) -> None:
    add_apply_options(parser)
    add_fit_option(parser)
    parser.set_defaults(shows_plan=False)
    parser.add_argument("--keep", action="store_true", help="make a checkpoint of the disk as it is now before")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("label", metavar="LABEL", type=checkpoint.label, help="`sbx checkpoint --list` lists them")


def run(args: argparse.Namespace, console: Console) -> int:
    id = find_with_checkpoints(args.name, args)
    paths = this_layout().sandbox(id)
    found = find_checkpoint(paths, args.label)
    if not paths.root.exists():
        raise NotFoundError(
            f"there is no sandbox {id} any more, only its checkpoints",
            hint=f"`sbx up` makes it, once the file has it again; or: sbx fork {id} NEW --checkpoint {args.label}",
        )
    spec = read_record(paths).spec
    if spec.protect and not args.allow_destroy and not args.keep:
        raise SandboxfileError(
            f"the disk of {id} as it is now would be lost, and it has `protect: true`",
            hint="--keep makes a checkpoint of it before; --allow-destroy loses it",
        )
    if found.applied.spec.image.digest != spec.image.digest:
        was = found.applied.spec.template
        console.say(f"that disk was made from {was}, before {id} was replaced: {was} is its template again")
    if not args.yes:
        lost = "is kept as a checkpoint" if args.keep else "is lost"
        console.say(f"the disk of {id} as it is now {lost}; {args.label} is {_ago(found.made_at)} old")
        confirm(console, "Go back to it?")
    if args.keep:
        checkpoint.make(id, default_label(datetime.now(UTC)), args, console)
    ran = is_locked(paths.lock)
    if ran and (code := apply_verb("stop", [id], False, unasked(args), console)):
        return code
    run_async(partial(_restore, id, args, console))
    return apply_verb("start", [id], False, unasked(args), console) if ran else exits.OK


def _ago(moment: datetime) -> str:
    return age(moment.isoformat(), datetime.now(UTC))


async def _restore(id: SandboxId, args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.applying.checkpoints import restore

    layout = this_layout()
    ensure_directories(layout)
    async with (
        show_progress(console) as emit,
        working(f"restore {id}", f"from {args.label}", emit) as report,
        hold_lock(layout.project_lock(id.project), f"restore {id}", args.lock_timeout),
    ):
        report("copying the disk")
        await restore(layout, id, args.label)
    return exits.OK
