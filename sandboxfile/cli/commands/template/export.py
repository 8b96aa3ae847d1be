"""Write a template as an image for other tools: an archive, or an image that `FROM` and `docker run` find here.

Without --to or -o it goes where this host's buildah, podman or docker keeps its images. It is called
localhost/sbx/PROJECT-NAME:latest (without a project: localhost/sbx/NAME:latest) unless a name is given. A template that
is not built is built first.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from sandboxfile.cli import exits
from sandboxfile.cli.commands.template.build import build_one
from sandboxfile.cli.pouring import pour_out
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.template_contents import content_of
from sandboxfile.cli.templates import Known, find
from sandboxfile.cli.trusting import settle_builds
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import Emit, show_progress
from sandboxfile.cli.working import working
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.images.containers import export
from sandboxfile.images.containers.export import Content, Destination

OUTPUT = "-"


def register(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--to",
        metavar="WHERE",
        help="oci-archive:PATH, docker-archive:PATH, containers-storage:NAME, docker-daemon:NAME",
    )
    where.add_argument("-o", "--output", metavar="PATH", help="the same as oci-archive:PATH; - is standard output")
    parser.add_argument("name", metavar="NAME", help="a template, the tag of a saved one, or a digest")


def run(args: argparse.Namespace, console: Console) -> int:
    (known,) = find([args.name], args, console)
    to = destination(args, known)
    if to.place == OUTPUT and sys.stdout.isatty():
        raise SandboxfileError("an archive is nothing to look at on a terminal", hint="-o FILE, or | another program")
    layout = this_layout()
    if known.template is not None and content_of(known, layout) is None:
        settle_builds([known.name], known.files, console)
    ensure_directories(layout)
    return run_async(partial(export_one, known, to, layout, console))


def destination(args: argparse.Namespace, known: Known) -> Destination:
    """Where it is to go. Raises SandboxfileError."""
    reference = export.reference_of(known.name, known.project)
    if args.output is not None:
        return export.parse_destination(f"oci-archive:{args.output}", reference)
    return export.parse_destination(args.to if args.to is not None else f"{export.usual_store()}:", reference)


async def export_one(known: Known, to: Destination, layout: Layout, console: Console) -> int:
    """Build it when it is not built, and write it, with progress."""
    async with show_progress(console) as emit, export.workspace(layout) as work:
        content = await _content(known, layout, emit)
        async with working(f"export {known.name}", f"to {to}", emit) as report:
            if is_stream(to):
                archive = await export.write(content, to, work / "image.tar", report)
                report("writing")
                await _pour(archive, to)
            else:
                await export.export(content, to, work, report)
    if to.place != OUTPUT:
        console.say(f"exported as {to}" + (f", called {to.reference}" if to.place else ""))
    return exits.OK


def is_stream(to: Destination) -> bool:
    """Whether it is written through, not put in place by a rename: `-`, a pipe, /dev/null."""
    path = Path(to.place)
    return to.place == OUTPUT or (bool(to.place) and path.exists() and not (path.is_file() or path.is_dir()))


async def _pour(archive: Path, to: Destination) -> None:
    if to.place == OUTPUT:
        await pour_out(archive, sys.stdout.fileno())
        return
    descriptor = os.open(to.place, os.O_WRONLY)
    try:
        await pour_out(archive, descriptor)
    finally:
        os.close(descriptor)


async def _content(known: Known, layout: Layout, emit: Emit) -> Content:
    """The layers of a template; those that were pruned are built again."""
    content = content_of(known, layout)
    if content is None and known.template is not None:
        image = await build_one(known.template, layout, emit, fresh=known.image is not None)
        content = content_of(Known(known.name, known.source, known.template, image), layout)
    if content is None:
        raise SandboxfileError(
            f"the layers of {known.name} are no longer in the cache", hint="build it where its sandbox file is"
        )
    return content
