"""Keep a copy of a sandbox's disk as it is now, to go back to (`sbx restore`) or to go on from twice (`sbx fork`).

A running sandbox stands still while its disk is copied, and goes on. What programs have only in memory is not in it,
nor are workspaces and volumes. Checkpoints stay when `up` replaces the sandbox or removes it; `rm` and `down` delete
them with it. Those that --checkpoint makes (of `up`, `apply` and `rollback`) are called before-TIME and are like any
other, but that `sbx prune --checkpoints` removes old ones.
"""

import argparse
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_lock_timeout
from sandboxfile.cli.project import (
    find_sandboxes,
    find_with_checkpoints,
    left_checkpoints,
    project_here,
    sandboxes_or_all,
    this_layout,
)
from sandboxfile.cli.running import run_async
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.views.text import age, roughly, table
from sandboxfile.cli.working import working
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.checkpoints import (
    Checkpoint,
    default_label,
    find_checkpoint,
    is_before,
    list_checkpoints,
    refuse_taken,
    remove_checkpoint,
)
from sandboxfile.host.statedir import ensure_directories, hold_lock
from sandboxfile.names import SandboxId, is_name

Row = tuple[SandboxId, Checkpoint]


def register(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list those of a sandbox, or of all of the project")
    what.add_argument("--rm", action="store_true", help="delete the checkpoint LABEL")
    parser.add_argument("--format", choices=("human", "json"), default="human", help="of --list")
    add_lock_timeout(parser)
    parser.add_argument("name", metavar="NAME", nargs="?", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("label", metavar="LABEL", nargs="?", type=label, help="its name (default: the time)")


def label(text: str) -> str:
    """The name of a checkpoint, for options."""
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no label: letters a-z, digits, `-` and `_`")
    return text


def run(args: argparse.Namespace, console: Console) -> int:
    if args.list:
        return _list(_listed(args), args, console)
    if args.name is None:
        raise NotFoundError("which sandbox?", hint="sbx checkpoint NAME; sbx checkpoint --list")
    if not args.rm:
        (id,) = find_sandboxes([args.name], args)
        if args.label is not None and is_before(args.label):
            raise SandboxfileError(f"{args.label}: such labels are for --checkpoint", hint="choose another one")
        make(id, args.label or default_label(datetime.now(UTC)), args, console)
        return exits.OK
    id = find_with_checkpoints(args.name, args)
    if args.label is None:
        raise NotFoundError("which checkpoint?", hint=f"sbx checkpoint --list {id}")
    return run_async(partial(_remove, id, args))


def make(id: SandboxId, name: str, args: argparse.Namespace, console: Console) -> None:
    """Make one checkpoint, with progress, and say what it takes."""
    run_async(partial(_make, id, name, args, console))
    size = find_checkpoint(this_layout().sandbox(id), name).size
    console.say(f"kept the disk of {id} as {name} ({roughly(size)}); go back with: sbx restore {id} {name}")


async def _make(id: SandboxId, name: str, args: argparse.Namespace, console: Console) -> int:
    from sandboxfile.applying.checkpoints import checkpoint

    layout = this_layout()
    ensure_directories(layout)
    refuse_taken(layout.sandbox(id), name)  # before anything is said to be under way; whoever copies looks again
    async with (
        show_progress(console) as emit,
        working(f"checkpoint {id}", f"as {name}", emit) as report,
        hold_lock(layout.project_lock(id.project), f"make a checkpoint of {id}", args.lock_timeout),
    ):
        report("copying the disk")
        await checkpoint(layout, id, name)
    return exits.OK


async def _remove(id: SandboxId, args: argparse.Namespace) -> int:
    layout = this_layout()
    ensure_directories(layout)
    async with hold_lock(layout.project_lock(id.project), f"remove a checkpoint of {id}", args.lock_timeout):
        remove_checkpoint(layout.sandbox(id), args.label)
    return exits.OK


# --- what there is -----------------------------------------------------------------------------------------------


def _listed(args: argparse.Namespace) -> list[SandboxId]:
    """One; or all of the project here, those that are gone as well."""
    if args.name:
        return [find_with_checkpoints(args.name, args)]
    there, here = sandboxes_or_all([], args), project_here(args)
    return sorted([*there, *(id for id in left_checkpoints(this_layout()) if id.project == here)])


def _list(ids: list[SandboxId], args: argparse.Namespace, console: Console) -> int:
    rows = [(id, found) for id in ids for found in list_checkpoints(this_layout().sandbox(id))]
    if args.format == "json":
        write_json([_object(row) for row in rows], console)
    elif rows:
        now = datetime.now(UTC)
        cells = [(str(id), each.label, age(each.made_at.isoformat(), now), roughly(each.size)) for id, each in rows]
        console.print(table(("SANDBOX", "LABEL", "AGE", "SIZE"), cells))
    else:
        console.say("there are no checkpoints")
    return exits.OK


def _object(row: Row) -> dict[str, Any]:
    """One of `--list --format json`; keys are public surface, sizes in bytes on disk.

    `automatic`: --checkpoint has made it.
    """
    id, found = row
    made = found.made_at.isoformat(timespec="seconds")
    automatic = is_before(found.label)
    return {"sandbox": str(id), "label": found.label, "made_at": made, "size": found.size, "automatic": automatic}
