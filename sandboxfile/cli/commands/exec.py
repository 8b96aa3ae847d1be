"""Run a command in a sandbox. Gives the command's own exit code; 125 when sbx itself fails."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import anyio

from sandboxfile.cli import terminal
from sandboxfile.cli.project import find_sandboxes, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.waking import wake
from sandboxfile.control.client import exec_streams
from sandboxfile.control.messages import Exec
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.statedir import is_locked
from sandboxfile.names import SandboxId


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", "--interactive", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running; no streams")
    add_place(parser)
    parser.add_argument("name", metavar="NAME", help="a sandbox of this project, or PROJECT/NAME")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Options that `exec` and `shell` share: as whom, where, with which variables."""
    parser.add_argument(
        "-e",
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="set a variable; without a value: as it is set here",
    )
    parser.add_argument("-u", "--user", metavar="USER", help="default: the template's user")
    parser.add_argument("-w", "--workdir", metavar="DIR", help="default: the first workspace")


def run(args: argparse.Namespace, console: Console) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise SandboxfileError("no command given", hint=f"sbx exec {args.name} COMMAND, or sbx shell {args.name}")
    if args.detach and (args.interactive or args.tty):
        raise SandboxfileError("--detach leaves nobody to talk to: it excludes --interactive and --tty")
    return execute(args, console, tuple(command), tty=args.tty, stdin=args.interactive, detach=args.detach)


def execute(
    args: argparse.Namespace,
    console: Console,
    command: tuple[str, ...],
    *,
    tty: bool,
    stdin: bool,
    detach: bool = False,
) -> int:
    """Run `command` in the sandbox that the arguments name, with this process's streams; gives its exit code.

    It is woken for that when it is asleep.
    """
    [id] = find_sandboxes([args.name], args)
    message = Exec(
        argv=command,
        tty=tty,
        stdin=stdin,
        detach=detach,
        user=args.user,
        cwd=args.workdir,
        env=tuple(variables(args.env, os.environ)),
    )
    wake(id, args, console)
    control = running(id)
    with ExitStack() as restored:
        restored.enter_context(terminal.flags_kept([0, 1, 2]))
        source = 0 if stdin else restored.enter_context(Path(os.devnull).open("rb")).fileno()
        if tty:
            message = with_terminal(message, stdin)
        in_raw_mode = terminal.raw(0) if tty and stdin else nullcontext()
        with in_raw_mode:
            return anyio.run(partial(exec_streams, control, message, (source, 1, 2)))


def variables(given: Sequence[str], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """`NAME=VALUE`, or `NAME` for the value it has here; a name that is not set here is left out, as in Docker."""
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name:
            raise SandboxfileError(f"--env {item}: the name is missing", hint="write --env NAME=VALUE")
        if equals or name in environ:
            found[name] = value if equals else environ[name]
    return list(found.items())


def running(id: SandboxId) -> Path:
    """The control socket of a sandbox that runs. Raises SandboxfileError when it does not."""
    paths = this_layout().sandbox(id)
    if not is_locked(paths.lock):
        raise SandboxfileError(f"sandbox {id} is not running", hint=f"start it: sbx start {id}")
    return paths.control


def with_terminal(message: Exec, stdin: bool) -> Exec:
    """The same, with this terminal's kind and size. Raises SandboxfileError when there is none."""
    if not (sys.stdin if stdin else sys.stdout).isatty():
        stream = "input" if stdin else "output"
        raise SandboxfileError(f"--tty: standard {stream} is not a terminal", hint="leave out --tty (-t)")
    rows, columns = terminal.window(0 if stdin else 1)
    return dataclasses.replace(message, term=os.environ.get("TERM", "xterm"), rows=rows, columns=columns)
