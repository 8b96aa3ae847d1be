"""Check this host: what sandboxes need, whether it is there, and the command that mends it. Changes nothing.

Exit code 0 when sandboxes can run (warnings included), 1 when something is missing.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict

import anyio

from sandboxfile import __version__
from sandboxfile.cli import exits
from sandboxfile.cli.checks import Check, worst
from sandboxfile.cli.checks.building import check_building
from sandboxfile.cli.checks.credentials import check_credentials
from sandboxfile.cli.checks.egress import check_egress
from sandboxfile.cli.checks.programs import check_programs
from sandboxfile.cli.checks.rights import check_rights
from sandboxfile.cli.checks.room import check_room
from sandboxfile.cli.project import find_upward, load_file, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.text import harmless
from sandboxfile.model.desired import DesiredState

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "missing": ("MISSING", "red")}


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    layout, uid = this_layout(), os.getuid()
    desired = _desired(args)
    checks = [
        *anyio.run(check_programs, uid),
        *check_building(desired, os.environ),
        *check_rights(layout, uid),
        *check_egress(layout, uid),
        *check_credentials(layout, os.environ),
        *check_room(layout, desired),
    ]
    verdict = worst(checks)
    if args.format == "json":
        write_json({"version": __version__, "verdict": verdict, "checks": [asdict(found) for found in checks]}, console)
    else:
        console.print(report(checks, console))
    return exits.FAILED if verdict == "missing" else exits.OK


def _desired(args: argparse.Namespace) -> DesiredState | None:
    """What the file here asks for; None without a file, or with a wrong one (`validate` says what is wrong)."""
    if args.file is None and find_upward() is None:
        return None
    return load_file(args).desired


def report(checks: Sequence[Check], console: Console) -> str:
    """A line per check, and below those that are not well, how to mend it."""
    width = max(len(found.name) for found in checks)
    lines = []
    for found in checks:
        word, color = _MARKS[found.verdict]
        lines.append(f"{console.style(f'{word:<7}', color)}  {found.name:<{width}}  {harmless(found.detail)}")
        if found.fix:
            lines.append(f"{'':7}  {'':{width}}  fix: {harmless(found.fix)}")
    return "\n".join(lines)
