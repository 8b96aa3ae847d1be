"""Show one sandbox in detail: what was applied, what runs, and where its files are.

And what keeps it from being started or applied anew as things are: secrets that are not there or not approved for their
hosts, and files that a sandbox could have written since somebody approved them.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.approving import unready
from sandboxfile.cli.project import find_sandboxes, show_diagnostics, this_layout
from sandboxfile.cli.reconciling.views import keeper
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.diagnostics import to_json
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.plan import doubt_objects
from sandboxfile.cli.views.sandboxes import detail, page
from sandboxfile.diagnostics import Diagnostics
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.host.reconcilers import kept_by
from sandboxfile.host.trust import find_doubts
from sandboxfile.model.observed import ObservedSandbox
from sandboxfile.observe import observe_one
from sandboxfile.planning.trusting import Doubt


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("--format", choices=("human", "json"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    [id] = find_sandboxes([args.name], args)
    sandbox = anyio.run(observe_one, layout, id)
    files = _files(layout.sandbox(id))
    kept = kept_by(layout, sandbox.applied.source if sandbox.applied else "")
    problems, doubts = _unready(sandbox, args), _doubts(sandbox, layout)
    if args.format == "json":
        more = {"reconcile": kept, "diagnostics": to_json(problems), "doubts": doubt_objects(doubts)}
        write_json({**detail(sandbox, files), **more}, console)
    else:
        show_diagnostics(problems, {}, console)
        in_doubt = [("in doubt", doubt.words) for doubt in doubts]
        console.print(page(sandbox, files, datetime.now(UTC), keeper(kept), in_doubt))
    return exits.OK


def _unready(sandbox: ObservedSandbox, args: argparse.Namespace) -> Diagnostics:
    if sandbox.applied is None or not sandbox.applied.spec.policy.credentials:
        return ()
    given = [name for name, _ in sandbox.machine.secrets] if sandbox.machine is not None else []
    return unready([sandbox.applied.spec], args, given)


def _doubts(sandbox: ObservedSandbox, layout: Layout) -> tuple[Doubt, ...]:
    """Of the files that it would be applied from, as far as they can be read."""
    source = Path(sandbox.applied.source) if sandbox.applied is not None and sandbox.applied.source else None
    if source is None or not source.is_file():
        return ()
    return find_doubts(layout, pipeline.load(source, layout, frozen=None).files)


def _files(paths: SandboxPaths) -> dict[str, str]:
    names = ("disk", "console_log", "main_log", "supervisor_log", "network_log")
    return {name: str(getattr(paths, name)) for name in names}
