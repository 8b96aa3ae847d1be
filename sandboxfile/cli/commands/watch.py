"""Follow the sandbox file while it is edited: show what is wrong, or the plan, and ask; at every change of its files.

With --yes plans are applied unasked; with --no-apply, or where nobody can be asked, they are only shown. A file that is
wrong for a moment leaves everything as it is. Ctrl-C ends it.
"""

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import anyio

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.applying import (
    add_apply_options,
    add_fit_option,
    fit_of,
    plan_and_apply,
    show_plan,
)
from sandboxfile.cli.planning_options import add_frozen_option, add_plan_options, plan_options
from sandboxfile.cli.project import find_file, given_with, show_diagnostics, show_problems, this_layout
from sandboxfile.cli.running import run_async
from sandboxfile.cli.trusting import doubts_of, doubts_told
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import harmless
from sandboxfile.cli.watching import Look, changed, look_at
from sandboxfile.cli.widening import add_widening_option
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.layout import MACHINE_POLICY
from sandboxfile.host.lock_file import lock_path
from sandboxfile.host.project_files import located, overrides_of
from sandboxfile.host.variables import DOT_ENV
from sandboxfile.model.plan import Plan
from sandboxfile.pipeline import Loaded

_STAYS = "everything stays as it is until that is right"
_LOADS = 5  # how often in a row a file that names new ones is loaded


def register(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    add_apply_options(parser)
    add_fit_option(parser)
    add_frozen_option(parser)
    add_widening_option(parser)
    parser.add_argument("--no-apply", action="store_true", help="only show plans, and ask nothing")


def run(args: argparse.Namespace, console: Console) -> int:
    path = find_file(args.file)
    files = named(path, args)
    while True:
        files, before = look(path, files, args, console)
        try:
            code = run_async(partial(_wait, files, before, console))
        except KeyboardInterrupt:
            console.say("")
            return exits.INTERRUPTED
        if code != exits.OK:  # a signal
            return code


async def _wait(files: frozenset[Path], before: Look, console: Console) -> int:
    await anyio.lowlevel.checkpoint()  # from here on signals are heard
    console.say(f"watching {len(files)} files; Ctrl-C ends it")
    found = await changed(files, before)
    listed = ", ".join(path.name for path in found[:3]) + (", ..." if len(found) > 3 else "")
    console.say(harmless(f"\n{datetime.now(UTC).astimezone():%H:%M:%S} {listed} changed"))
    return exits.OK


def look(
    path: Path, files: frozenset[Path], args: argparse.Namespace, console: Console
) -> tuple[frozenset[Path], Look]:
    """Load, show, and apply what may be applied; gives the files to follow, and how they were before they were loaded.

    Whatever goes wrong is said, and is no end.
    """
    before, loading = look_at(files), True
    try:
        for _ in range(_LOADS):
            before = look_at(files)
            loaded = pipeline.load(path, this_layout(), frozen=args.frozen, given=given_with(args))
            found = named(path, args) | files_of(loaded)
            known, files = files, found if loaded.desired is not None else files | found
            if files <= known:
                break
        loading = False
        _show_and_apply(loaded, args, console)
    except SandboxfileError as exc:
        console.failure(exc)
        _tell_stays(loading, console)
    except OSError as exc:
        if exc.filename is None:
            raise
        console.error(f"{exc.filename}: {exc.strerror}")
        _tell_stays(loading, console)
    return files, {path: before.get(path) for path in files}


def _tell_stays(loading: bool, console: Console) -> None:
    if loading:
        console.say(_STAYS)


def _show_and_apply(loaded: Loaded, args: argparse.Namespace, console: Console) -> None:
    show_problems(loaded, console)
    failed = pipeline.failed_policy_tests(loaded)
    show_diagnostics(failed, loaded.sources, console)
    desired = loaded.desired
    if desired is None or has_errors(failed):
        console.say(_STAYS)
        return
    options = plan_options(args)

    async def make_plans() -> list[Plan]:
        return [await pipeline.make_plan(desired, this_layout(), options, fit_of(args))]

    if args.no_apply or not (args.yes or console.interactive):
        for plan in anyio.run(make_plans):
            show_plan(plan, args, console)
            doubts_told(doubts_of(plan), console)
    else:
        plan_and_apply(make_plans, args, console)


def named(path: Path, args: argparse.Namespace) -> frozenset[Path]:
    """What is loaded whatever is in it, when it is there."""
    beside = () if args.file is not None else overrides_of(path)
    given = (*map(Path, args.more_files), *map(Path, args.variables))
    policies = (this_layout().user_policy, MACHINE_POLICY)
    found = (path, *beside, *given, path.with_name(DOT_ENV), lock_path(path), *policies)
    return frozenset(each.absolute() for each in found)


def files_of(loaded: Loaded) -> frozenset[Path]:
    """Everything that was read, or would have been, had it been there."""
    return frozenset(located(name).absolute() for name in (*loaded.sources, *(file.path for file in loaded.files)))
