"""Approve the sandbox file and all that it is made of, as they are now: what is asked of an agent's edits before `up`.

Whatever of it changes later, and a sandbox could have changed it, is asked about again. Where nobody can be asked,
--yes takes the digest of all files together (--show prints it), so that what is approved is what somebody has seen.
What of this user's own configuration shapes sandboxes is approved at the terminal, and in no digest: that is the same
on every host.
"""

import argparse

from sandboxfile.cli import exits
from sandboxfile.cli.applying import confirm
from sandboxfile.cli.project import find_file, load_file, show_problems, this_layout
from sandboxfile.cli.trusting import trust
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless, table
from sandboxfile.errors import SandboxfileError, StaleError
from sandboxfile.host.trust import find_doubts, read_trust
from sandboxfile.model.desired import FileContent
from sandboxfile.planning.trusting import ABSENT, digest_of_all, lies_in, not_as_approved

HEADER = ("FILE", "CONTENT", "STATE")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--show", action="store_true", help="only show what is approved, and what is not")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask; needs --digest")
    parser.add_argument("--digest", metavar="sha256:...", help="approve only when all files together have this digest")


def run(args: argparse.Namespace, console: Console) -> int:
    if args.yes and args.digest is None:
        raise SandboxfileError(
            "nothing was approved: --yes needs to know what somebody has seen",
            hint="sbx trust --show prints the digest; then: sbx trust --yes --digest sha256:...",
        )
    path = find_file(args.file)
    loaded = load_file(args, frozen=None)
    base = str(path.absolute().parent)
    pinned = tuple(file for file in loaded.everything if file in loaded.files or lies_in(file.path, base))
    files, digest = pinned if args.yes else loaded.everything, digest_of_all(pinned, base)
    already = not not_as_approved(files, read_trust(this_layout()).approved)
    if args.yes and not args.show and args.digest == digest and loaded.desired is not None and not already:
        trust(files)  # what is shown is how they are then
    console.print(shown(loaded.everything))
    console.print(f"digest of all: {digest}")
    if args.show:
        return exits.OK
    if loaded.desired is None:
        show_problems(loaded, console)
        raise SandboxfileError("nothing was approved: the sandbox file has errors")
    if args.digest not in (None, digest):
        raise StaleError("nothing was approved: the files are not those of this digest", hint="sbx trust --show")
    if not args.yes and not already:
        confirm(console, "Approve these files as they are?")
        trust(files)
    console.say("approved already" if already else "approved")
    for doubt in find_doubts(this_layout(), loaded.everything):
        console.warn(harmless(f"in no digest, and to be approved at a terminal: {doubt.words}"))
    return exits.OK


def shown(files: tuple[FileContent, ...]) -> str:
    """A line for each file that is there, or was when it was approved. Raises StateError."""
    layout = this_layout()
    approved = read_trust(layout).approved
    doubts = {doubt.file: doubt for doubt in find_doubts(layout, files)}
    different = not_as_approved(files, approved)
    rows = []
    for file in files:
        if file.digest == ABSENT and file not in different:
            continue
        if file in doubts:
            state = f"{doubts[file].state}; a sandbox could have written it, in {doubts[file].directory}"
        else:
            state = "approved" if file not in different else "not approved; no sandbox could have written it"
        rows.append((file.path, file.digest[:19] or "gone", state))
    return harmless(table(HEADER, rows))
