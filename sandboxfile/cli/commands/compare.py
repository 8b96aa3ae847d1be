"""Show how the sandbox file differs from another one, or from itself at a revision of git; look at nothing that runs.

BASE is a file, read as if it and what lies beside it lay where the sandbox file does, or git:REV: all files of the
project as that revision has them (what git ignores is not in it). Where REV has no sandbox file, everything is new.
Objects are checked against their ids: the full id of a commit stands for its files. The name of a branch or tag proves
nothing when an agent can write to the repository, for it can have moved it: give the full id there.
The policies of this user and this machine count on both sides. With --detailed-exitcode: 0 no difference, 2 some; with
--deny-widening: 3 when something may do more than in the base.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli import exits
from sandboxfile.cli.project import WrongFile, find_file, given_with, load_project, show_diagnostics, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.json import write_json
from sandboxfile.cli.views.plan import colored
from sandboxfile.cli.widening import add_widening_option, tell_denied
from sandboxfile.diagnostics import Diagnostic
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.git_tree import git_tree
from sandboxfile.host.plan_files import is_plan
from sandboxfile.host.reading import Moved, Reader
from sandboxfile.model.desired import DesiredState
from sandboxfile.planning.comparing import compare, render, to_json, to_markdown

_GIT = "git:"


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "base",
        metavar="BASE",
        help="a sandbox file, or git:REV (a full id, where an agent can write to the repository)",
    )
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit with 2 when there are differences")
    add_widening_option(parser)
    parser.add_argument("--format", choices=("human", "json", "markdown"), default="human")


def run(args: argparse.Namespace, console: Console) -> int:
    after = load_project(args, console)
    found = compare(base_of(args, after, console), after, args.base)
    if args.format == "json":
        write_json(to_json(found), console)
    elif args.format == "markdown":
        console.print(to_markdown(found).rstrip())
    else:
        console.print(colored(render(found), console))
    if args.deny_widening and tell_denied(list(found.widening), console):
        return exits.WIDENS
    return exits.CHANGES if args.detailed_exitcode and found.changes else exits.OK


def base_of(args: argparse.Namespace, after: DesiredState, console: Console) -> DesiredState:
    """What the base asks for; nothing when there is no such file in it. Raises WrongFile, with what is wrong shown."""
    path, given = find_file(args.file), given_with(args)
    with reader_of(args.base, path) as reader:
        if not reader.exists(path):
            console.say(f"{args.base} has no {path}: everything is new")
            return DesiredState(after.project, after.source)
        more, variables = (tuple(filter(reader.exists, files)) for files in (given.more, given.env_files))
        there = replace(given, more=more, env_files=variables, override=given.override and not given.more)
        loaded = pipeline.load(path, this_layout(), frozen=None, given=there, reader=reader)
    if loaded.desired is None:
        told = [_of_base(item, args.base) for item in loaded.diagnostics]
        sources = {_named(args.base, name): text for name, text in loaded.sources.items()}
        show_diagnostics(tuple(told), sources, console)
        raise WrongFile(f"the base {args.base} has errors, and there is nothing to compare with")
    return loaded.desired


@contextmanager
def reader_of(base: str, path: Path) -> Iterator[Reader]:
    """Where the files of the base are. Raises SandboxfileError."""
    if base.startswith(_GIT):
        with git_tree(path, base.removeprefix(_GIT)) as tree:
            yield tree
        return
    if not Path(base).is_file():
        raise NotFoundError(f"there is no file {base}", hint=f"BASE is a file, or git:REV: is git:{base} meant?")
    if is_plan(Path(base)):
        raise SandboxfileError(
            f"{base} is a saved plan, and no sandbox file", hint=f"sbx apply {base} shows what it does, and asks"
        )
    yield Moved(path, Path(base))


def _of_base(item: Diagnostic, base: str) -> Diagnostic:
    if item.span is None:
        return replace(item, detail=f"{base}: {item.detail}")
    return replace(item, span=replace(item.span, file=_named(base, item.span.file)))


def _named(base: str, file: str) -> str:
    return f"{base}:{file}" if base.startswith(_GIT) else f"{file} of {base}"
