"""Make another sandbox with a copy of a sandbox's disk, and start it beside the first.

It has the settings that the first one has, its workspaces too, which both see then; not its published ports, its
volumes, and what it depends on. It is nobody's file's (`sbx adopt` writes it into one), has certificates and a machine
id of its own, and is held to the policies that this user's and this machine's files enforce now.
"""

import argparse
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_apply_options, add_fit_option
from sandboxfile.cli.commands.checkpoint import label
from sandboxfile.cli.project import WrongFile, find_sandboxes, find_with_checkpoints, show_problems, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.unmanaged import refreshed, unasked
from sandboxfile.cli.verbs import apply_verb
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.working import working
from sandboxfile.errors import HostError
from sandboxfile.host.checkpoints import Checkpoint, find_checkpoint
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, hold_lock, read_record
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.policy import Policy
from sandboxfile.names import UNMANAGED, SandboxId, is_name
from sandboxfile.resolve.unmanaged import unmanaged_text


def register(parser: argparse.ArgumentParser) -> None:
    add_apply_options(parser, asks=False)
    add_fit_option(parser)
    parser.add_argument("--checkpoint", metavar="LABEL", type=label, help="the disk as it was then")
    parser.add_argument("--no-start", action="store_true", help="leave it stopped")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("new", metavar="NEW", type=new_name, help="what the other one is called")


def new_name(text: str) -> str:
    """The name of a sandbox that is to be, for options."""
    if not is_name(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name: letters a-z, digits, `-` and `_`")
    return text


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    id = find_with_checkpoints(args.name, args) if args.checkpoint else find_sandboxes([args.name], args)[0]
    new = SandboxId(UNMANAGED, args.new)
    if layout.sandbox(new).root.exists():
        raise HostError(f"there is a sandbox {new} already", hint="choose another name")
    own = SandboxId(id.project, args.new)
    if layout.sandbox(own).root.exists():  # in its directory NEW would mean that one, also to `rm`
        raise HostError(f"{args.new} would be mistaken for {own}", hint="choose another name")
    found = find_checkpoint(layout.sandbox(id), args.checkpoint) if args.checkpoint is not None else None
    old = restored_spec(layout, id, found)
    loaded = as_run(old)
    if loaded.desired is None:
        show_problems(loaded, console)
        raise WrongFile("nothing was made")
    spec = forked(old, new, refreshed(old.policy, loaded.desired.sandboxes[0].policy))
    for sentence in left_out(old):
        console.say(f"{new} has {sentence}")
    run_async(partial(_fork, id, spec, args, console))
    if args.no_start:
        return exits.OK
    return apply_verb("start", [new], False, unasked(args), console)


def restored_spec(layout: Layout, id: SandboxId, found: Checkpoint | None) -> DesiredSandbox:
    """What a sandbox is, with the disk of a checkpoint where one is `found`; it may be gone then."""
    from sandboxfile.applying.checkpoints import restored

    if found is None:
        return read_record(layout.sandbox(id)).spec
    was = found.applied.spec
    return restored(read_record(layout.sandbox(id)).spec, was) if layout.sandbox(id).root.exists() else was


def forked(spec: DesiredSandbox, new: SandboxId, policy: Policy) -> DesiredSandbox:
    """What the other one is, by what the first one was applied with. Pure."""
    return replace(
        spec, id=new, policy=policy, ports=(), mounts=(), depends_on=(), profiles=(), service="", protect=False
    )


def left_out(spec: DesiredSandbox) -> Iterator[str]:
    """What the other one lacks, in words."""
    if spec.ports:
        yield f"no published ports ({', '.join(port.text for port in spec.ports)}); `sbx forward` reaches it"
    if spec.mounts:
        yield f"no volumes ({', '.join(mount.volume for mount in spec.mounts)})"
    if spec.depends_on:
        yield f"no `depends_on` ({', '.join(each.name for each in spec.depends_on)})"
    if spec.protect:
        yield "no `protect`"


def as_run(spec: DesiredSandbox) -> pipeline.Loaded:
    """As `run` would make it: what is enforced now, and what its agent's services bring along now."""
    return pipeline.load_command(unmanaged_text(spec.id.name, spec.agent, ()), this_layout())


async def _fork(id: SandboxId, spec: DesiredSandbox, args: argparse.Namespace, console: Console) -> int:
    async with show_progress(console) as emit, working(f"fork {id}", f"as {spec.id}", emit) as report:
        report("copying the disk")
        await make(id, spec, args.checkpoint, args.lock_timeout)
    return exits.OK


async def make(id: SandboxId, spec: DesiredSandbox, label: str | None, timeout: float) -> None:
    """Make the other one, stopped, under the locks of both projects."""
    from sandboxfile.applying.checkpoints import fork

    layout = this_layout()
    ensure_directories(layout)
    async with AsyncExitStack() as held:
        for project in sorted({id.project, spec.id.project}):
            await held.enter_async_context(hold_lock(layout.project_lock(project), f"fork {id}", timeout))
        await fork(layout, id, spec, label)
