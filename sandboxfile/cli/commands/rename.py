"""Give a sandbox another name; its disk stays. One of a sandbox file is renamed there, too, with what refers to it.

The file keeps its comments and its form, and is only changed when it then asks for the same under the new name. A
running sandbox is stopped for it and started again: its host name is another one. What the last `up` has replaced or
removed can no longer be brought back with `sbx rollback`.

Where the file has the new name already (somebody has renamed it there, and it was pulled), only the sandbox is renamed.
"""

import argparse
from functools import partial

from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_fit_option, add_lock_timeout, confirm
from sandboxfile.cli.commands.fork import new_name
from sandboxfile.cli.project import InvalidFile, find_sandboxes, given_with, show_diagnostics, this_layout
from sandboxfile.cli.renaming import Renaming, proposed, rename, unfinished
from sandboxfile.cli.running import run_async
from sandboxfile.cli.unmanaged import unasked
from sandboxfile.cli.verbs import apply_verb
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.statedir import is_locked
from sandboxfile.names import UNMANAGED


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.set_defaults(shows_plan=False, allow_destroy=False, parallel=1)
    add_lock_timeout(parser)
    add_fit_option(parser)
    parser.add_argument("name", metavar="OLD", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("new", metavar="NEW", type=new_name, help="what it is to be called")


def run(args: argparse.Namespace, console: Console) -> int:
    renaming = _proposed(args, console)
    ran = is_locked(this_layout().sandbox(renaming.where).lock)
    if renaming.proposal is not None:
        console.say(harmless(renaming.proposal.diff()))
    elif renaming.old.project != UNMANAGED:
        console.say(f"the sandbox file has {renaming.new.name} in its place already")
    if ran:
        console.say(f"{renaming.where} runs: it is stopped for this, and started again")
    if not args.yes and (ran or renaming.proposal is not None):
        confirm(console, "Rename it?")
    if ran and (code := apply_verb("stop", [renaming.where], False, unasked(args), console)):
        return code
    run_async(partial(rename, renaming, args.lock_timeout))
    console.say(f"{renaming.old} is {renaming.new} now")
    return apply_verb("start", [renaming.new], False, unasked(args), console) if ran else exits.OK


def _proposed(args: argparse.Namespace, console: Console) -> Renaming:
    try:
        (old,) = find_sandboxes([args.name], args)
    except NotFoundError:
        killed = unfinished(args.name, args.new)
        if killed is None:
            raise
        old = killed
    try:
        return proposed(old, args.new, args.file, given_with(args))
    except InvalidFile as wrong:
        show_diagnostics(wrong.diagnostics, wrong.sources, console)
        raise SandboxfileError(f"{wrong.path} was not changed") from wrong
