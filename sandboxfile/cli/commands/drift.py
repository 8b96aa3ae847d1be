"""Show what moved away from what was applied: paused, stopped, dead, taken away, changed by a command. Changes nothing.

What the sandbox file asks for now is not looked at: `sbx plan` shows that. Exit codes: 0 no drift, 2 drift, 1 error.
"""

import argparse

import anyio

from sandboxfile.cli import exits
from sandboxfile.cli.project import sandboxes_or_all, show_diagnostics, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import to_json as diagnostics_to_json
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.text import harmless
from sandboxfile.model.observed import ObservedSandbox
from sandboxfile.names import SandboxId
from sandboxfile.observe import observe
from sandboxfile.planning.drift import find_drift, render, to_json


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="sandboxes of this project, or PROJECT/NAME (default: the project's)"
    )
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    found = anyio.run(_look, sandboxes_or_all(args.names, args))
    drifts, problems = find_drift(found)
    if args.format == "json":
        write_json({**to_json(drifts), "diagnostics": diagnostics_to_json(problems)}, console)
    else:
        show_diagnostics(problems, {}, console)
        if drifts or not problems:
            console.print(harmless(render(drifts)))
    if problems:
        return exits.FAILED
    return exits.DRIFT if drifts else exits.OK


async def _look(ids: list[SandboxId]) -> list[ObservedSandbox]:
    found: list[ObservedSandbox] = []
    for project in sorted({id.project for id in ids}):
        state = await observe(this_layout(), project)
        found += [sandbox for sandbox in state.sandboxes if sandbox.id in ids]
    return found
