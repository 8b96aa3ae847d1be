"""Show one sandbox in detail: what was applied, what runs, and where its files are."""

import argparse
from datetime import UTC, datetime

import anyio

from sandboxfile.cli import exits
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.reconciling.views import keeper
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.sandboxes import detail, page
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.reconcilers import kept_by
from sandboxfile.observe import observe_one


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    [id] = find_sandboxes([args.name], args)
    sandbox = anyio.run(observe_one, layout, id)
    files = _files(layout.sandbox(id))
    kept = kept_by(layout, sandbox.applied.source if sandbox.applied else "")
    if args.format == "json":
        write_json({**detail(sandbox, files), "reconcile": kept}, console)
    else:
        console.print(page(sandbox, files, datetime.now(UTC), keeper(kept)))
    return exits.OK


def _files(paths: SandboxPaths) -> dict[str, str]:
    names = ("disk", "console_log", "main_log", "supervisor_log", "network_log")
    return {name: str(getattr(paths, name)) for name in names}
