"""List what changed in a sandbox's workspaces that would run on this host: hooks, tasks, scripts, settings.

Compared with how it was when the sandbox got the workspace, or when somebody last said --done. Exit code 2: there is
something to look at.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from sandboxfile.cli import exits
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import table
from sandboxfile.errors import StateError
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.review import Finding, Look, accept, look
from sandboxfile.host.statedir import read_record
from sandboxfile.model.desired import Workspace

_STYLES = {"new": "green", "changed": "yellow", "gone": "red"}


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--done", action="store_true", help="show it, and count it as looked at from now on")
    parser.add_argument("--format", choices=("human", "json"), default="human")
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")


def run(args: argparse.Namespace, console: Console) -> int:
    [id] = find_sandboxes([args.name], args)
    paths = this_layout().sandbox(id)
    looked = _look(paths, read_record(paths).spec.workspaces, args.done, console)
    if args.format == "json":
        # ASCII: names of files can be anything but text.
        console.print(json.dumps([asdict(finding) for finding in looked.findings], indent=2))
    else:
        _show(looked.findings, console)
    if not args.done:
        if looked.findings:
            console.say(f"when you have looked at them: sbx review {args.name} --done")
        return exits.CHANGES if looked.findings else exits.OK
    accept(paths, looked)
    return exits.OK


def _look(paths: SandboxPaths, workspaces: Sequence[Workspace], done: bool, console: Console) -> Look:
    try:
        return look(paths, workspaces)
    except StateError as exc:
        if not done:
            raise
        console.warn(f"{exc.message}; all of it counts as new")
        return look(paths, workspaces, forget=True)


def _show(findings: Sequence[Finding], console: Console) -> None:
    if not findings:
        console.say("nothing has changed that would run on this host")
        return
    rows = [(finding.change, finding.kind, shown(finding), finding.why) for finding in findings]
    for finding, line in zip(
        (None, *findings), table(("CHANGE", "KIND", "WHERE", "WHY"), rows).split("\n"), strict=True
    ):
        console.print(console.style(line, *([_STYLES[finding.change]] if finding else ["bold"])))


def shown(finding: Finding) -> str:
    """Where, on one line without control characters, whatever a guest called its files."""
    text = f"{finding.path}: {finding.part}" if finding.part else finding.path
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
