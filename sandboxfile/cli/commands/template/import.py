"""Keep an image or a root file system as a saved template: `base: saved:TAG` then builds upon it.

FILE is an archive as `docker save`, `podman save` or `sbx template export` write it, or a tar of a root file system,
compressed or not; - reads standard input.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from anyio import to_thread

from sandboxfile.cli import exits
from sandboxfile.cli.pouring import pour_in
from sandboxfile.cli.project import this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.templates import saved_tag
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import show_progress
from sandboxfile.cli.views.text import roughly
from sandboxfile.cli.working import working
from sandboxfile.errors import BusyError, NotFoundError, SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.images import saved
from sandboxfile.images.containers import export
from sandboxfile.model.template import Origin

INPUT = "-"
_KINDS = ("oci-archive:", "docker-archive:")  # as skopeo says it; which one it is shows in the file


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--replace", action="store_true", help="when there is a saved template of that tag already")
    parser.add_argument("file", metavar="FILE", help="the archive; - is standard input")
    parser.add_argument("tag", metavar="TAG", type=saved_tag, help="what it is to be called: NAME or NAME:TAG")


def run(args: argparse.Namespace, console: Console) -> int:
    layout = this_layout()
    name = args.file
    for kind in _KINDS:
        name = name.removeprefix(kind)
    if name != INPUT and not Path(name).is_file():
        raise NotFoundError(f"there is no file {name}")
    if not args.replace and saved.find_saved(layout, args.tag):
        raise BusyError(f"there is a saved template {args.tag} already", hint="--replace replaces it")
    if name == INPUT and sys.stdin.isatty():
        raise SandboxfileError("nothing is given to standard input", hint=f"… | sbx template import - {args.tag}")
    ensure_directories(layout)
    return run_async(partial(import_one, name, args.tag, layout, console, replace=args.replace))


async def import_one(name: str, tag: str, layout: Layout, console: Console, *, replace: bool) -> int:
    """Read the archive, and keep what is in it."""
    from sandboxfile.images.containers import archive

    source = "standard input" if name == INPUT else name
    async with (
        show_progress(console) as emit,
        export.workspace(layout) as work,
        working(f"import {tag}", f"from {source}", emit) as report,
    ):
        path = await _received(work / "input", report) if name == INPUT else Path(name).absolute()
        place = work / "image"
        place.mkdir()
        fetched = await archive.fetch(Origin("tar", path=str(path)), place, epoch=0, report=report)
        report("keeping it")
        keep = partial(saved.save_layers, title=f"imported from {source}", replace=replace)
        info = await to_thread.run_sync(keep, layout, tag, fetched.layers, fetched.config, {})
    console.say(
        f"kept as saved:{info.tag} ({roughly(info.size)}); a template builds upon it with `base: saved:{info.tag}`"
    )
    return exits.OK


async def _received(target: Path, report: Callable[[str], None]) -> Path:
    await pour_in(sys.stdin.fileno(), target, lambda count: report(f"read {roughly(count)}"))
    return target
