"""Build images now, as `up` would: those of the templates named, else of every template of the sandbox file.

What is in the cache already is not built again, unless --fresh asks for it; of the rest only the steps that changed.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

import anyio

from sandboxfile.cli import exits
from sandboxfile.cli.applying import add_fit_option, positive
from sandboxfile.cli.planning_options import add_frozen_option
from sandboxfile.cli.project import find_file, show_diagnostics, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.templates import Known, names_in_file, not_found, templates_here
from sandboxfile.cli.trusting import settle_builds
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import Emit, show_progress
from sandboxfile.cli.views.templates import difference_lines
from sandboxfile.cli.working import working
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import BuildError, SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.host.tasks import together
from sandboxfile.images.store import ImageInfo
from sandboxfile.model.template import DesiredTemplate

SHOWN = 15  # differences from what the lock expects


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", action="store_true", help="build every layer anew, whatever the cache has")
    add_build_options(parser)
    parser.add_argument("names", metavar="NAME", nargs="*", help="templates of the file, or built-in ones")


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that builds images and nothing else."""
    add_frozen_option(parser)
    add_fit_option(parser)
    parser.add_argument("--parallel", metavar="N", type=positive, default=2, help="images at a time (default: 2)")


def run(args: argparse.Namespace, console: Console) -> int:
    if not args.names:
        find_file(args.file)
    frozen = args.names or (names_in_file(args) if args.frozen else [])
    known = chosen(args.names, templates_here(args, console, frozen))
    if args.frozen:
        check_locked(known)
    new = [each for each in known if each.template and (args.fresh or not each.image)]
    for each in known:
        if each not in new:
            console.say(f"template {each.name}: built already")
    if not new:
        console.say("nothing to do")
        return exits.OK
    settle_builds([each.name for each in new], {file for each in new for file in each.files}, console)
    to_do, layout = [each.template for each in new if each.template], this_layout()
    check_room(to_do, layout, console, overcommit=args.overcommit)
    ensure_directories(layout)
    return run_async(partial(build_all, to_do, layout, console, fresh=args.fresh, parallel=args.parallel))


def chosen(names: Sequence[str], here: Sequence[Known]) -> list[Known]:
    """Those of these names; without names those of the file. Raises NotFoundError with all that are unknown."""
    by_name = {each.name: each for each in here}
    if missing := [name for name in names if name not in by_name]:
        raise not_found(missing, list(by_name))
    return [by_name[name] for name in dict.fromkeys(names)] or [each for each in here if each.source == "file"]


def check_locked(known: Sequence[Known]) -> None:
    """Raise SandboxfileError when the lock does not say what each is made from, or the cache has something else."""
    if loose := [each.name for each in known if each.template and not each.template.locked]:
        raise SandboxfileError(f"sandbox.lock does not hold {', '.join(loose)}", hint="sbx template lock")
    other = [
        each.name
        for each in known
        if each.template and each.template.frozen and each.image and each.image.content != each.template.content
    ]
    if other:
        raise SandboxfileError(
            f"what the cache has of {', '.join(other)} is not what was locked",
            hint=f"sbx template build --fresh {' '.join(other)}",
        )


def check_room(
    templates: Sequence[DesiredTemplate], layout: Layout, console: Console, *, overcommit: bool = False
) -> None:
    """Say all that this host lacks for these builds. Raises SandboxfileError when they cannot go well."""
    from sandboxfile.host.capacity import measure
    from sandboxfile.planning.fit import check_builds

    found = check_builds(templates, measure(layout, os.environ), overcommit=overcommit)
    show_diagnostics(found, {}, console)
    if has_errors(found):
        raise SandboxfileError("nothing was built")


async def build_all(
    templates: Sequence[DesiredTemplate], layout: Layout, console: Console, *, fresh: bool = False, parallel: int = 1
) -> int:
    """Build images, with progress; one that fails hinders no other. Says what failed, and gives the exit code."""
    failed: list[tuple[str, SandboxfileError]] = []
    built: list[tuple[DesiredTemplate, ImageInfo]] = []
    turns = anyio.Semaphore(parallel)
    async with show_progress(console) as emit:

        async def build(template: DesiredTemplate) -> None:
            async with turns:
                try:
                    built.append((template, await build_one(template, layout, emit, fresh=fresh)))
                except SandboxfileError as exc:
                    failed.append((f"template {template.name}", exc))

        await together(*(partial(build, template) for template in templates))
    for template, image in built:
        tell_difference(template, image, console)
    for about, error in failed:
        console.failure(error, about=about)
    return exits.FAILED if failed else exits.OK


async def build_one(template: DesiredTemplate, layout: Layout, emit: Emit, *, fresh: bool = False) -> ImageInfo:
    """Build one image, and tell how it goes. Raises what the build raises; BuildError too when it must be another."""
    from sandboxfile.applying.building import build_image

    reason = "asked for anew" if fresh else "its image is not in the cache"
    async with working(f"template {template.name}", reason, emit) as report:
        image = await build_image(layout, template, report, fresh=fresh)
        if template.frozen and image.different is not None:
            raise BuildError("its content is not what was locked", output=_differences(image))
        return image


def tell_difference(template: DesiredTemplate, image: ImageInfo, console: Console) -> None:
    """Say that the lock expects another content, and in what it differs, as far as that is known."""
    if image.different is not None:
        console.warn(f"the content of template {template.name} is not what was locked: {image.content}")
        console.say(_differences(image))


def _differences(image: ImageInfo) -> str:
    assert image.different is not None
    lines = [f"locked {image.different.expected}", f"built  {image.content}"]
    if paths := image.different.paths:
        lines += difference_lines(paths[:SHOWN]).splitlines()
    if len(paths) > SHOWN:
        lines.append(f"… and {len(paths) - SHOWN} more")
    return "\n".join(lines)
