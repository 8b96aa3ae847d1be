"""The entry point of `sbx`: the table of verbs, the options they share, and the only place that exits.

A verb's module is imported when the verb is chosen, so that `sbx --help` costs little more than the interpreter.
Everything that went wrong arrives here as an exception and leaves as a message on standard error and an exit code.
"""

import argparse
import atexit
import errno
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

from sandboxfile import __version__
from sandboxfile.cli import exits
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import SandboxfileError

# Verb, and what it is for. `commands/VERB.py` has the rest; a verb with verbs of its own (`network log`) is a package,
# with the table of those as COMMANDS.
VERBS: dict[str, str] = {
    "init": "write a commented sandbox.yaml to start from",
    "import": "write a sandbox.yaml made of another program's file",
    "validate": "check the sandbox file",
    "config": "print the sandbox file fully resolved",
    "schema": "print the JSON Schema of the sandbox file",
    "run": "start an agent in a sandbox, or come back to it",
    "create": "make a sandbox for an agent, and start no agent",
    "attach": "come back to the terminal of a sandbox's agent",
    "adopt": "write a sandbox that `run` made into the sandbox file",
    "plan": "show what `up` would change, and why",
    "compare": "compare the file with another one, or with a revision",
    "apply": "do a plan that `plan -o` saved, exactly as it is",
    "up": "make the sandboxes as the file describes them",
    "down": "stop and delete the project's sandboxes",
    "rollback": "make the project as it was before the last `up`",
    "ls": "list sandboxes",
    "status": "show one sandbox in detail",
    "drift": "show what moved away from what was applied",
    "trust": "approve files that an agent could have changed",
    "watch": "follow the sandbox file while it is edited",
    "reconcile": "keep sandboxes as a repository describes them",
    "exec": "run a command in a sandbox",
    "shell": "open a login shell in a sandbox",
    "review": "list what an agent changed that would run on this host",
    "forward": "reach a port of a sandbox on this host",
    "logs": "show the console and the main process",
    "network": "show and change what sandboxes reach",
    "policy": "say what sandboxes may reach, and why",
    "secret": "keep secrets, and say where they may go",
    "template": "list, build, share and remove templates",
    "volume": "list and remove volumes: disks that stay",
    "save": "keep a sandbox as a template",
    "checkpoint": "keep a copy of a sandbox's disk to go back to",
    "restore": "give a sandbox the disk of a checkpoint back",
    "fork": "make another sandbox with a copy of a sandbox's disk",
    "rename": "give a sandbox another name",
    "stop": "stop sandboxes; their disks stay",
    "start": "start stopped sandboxes",
    "restart": "stop and start sandboxes",
    "rm": "delete sandboxes with their disks",
    "prune": "remove from the cache what is not used",
    "reset": "stop and delete every sandbox of this user",
    "doctor": "check this host and say how to fix it",
    "completion": "print a completion script for a shell",
    "version": "print the version",
}
HIDDEN_VERBS = ("complete-words",)
_WORLD = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # not our bugs
_UNKNOWN = "unrecognized arguments: "  # argparse's words
STREAM_VERBS = ("exec", "shell", "run", "attach")  # their exit code is that of the command inside


class VerbParser(argparse.ArgumentParser):
    """The parser of one verb. Imports the verb's module when arguments are first parsed."""

    verb: str | None = None  # `up`; `network.log` for a verb of a verb
    verbs: Mapping[str, str] = VERBS  # those that can follow it
    loaded = False
    repeated: dict[str, list[str]]  # options that may be repeated, of all verbs of one command line together
    refuses_unknown = True  # here, rather than in the parser above
    passes_on = False  # words after `--` are for somebody else: `arguments`; before it options and words may mix

    def load(self) -> None:
        """Import the verb's module and declare its arguments; once."""
        if self.verb is None or self.loaded:
            return
        module = import_module(f"sandboxfile.cli.commands.{self.verb.replace('-', '_')}")
        self.loaded = True
        self.description = self.description or (module.__doc__ or "").strip()
        add_shared_options(self)
        self.verbs = getattr(module, "COMMANDS", {})
        if self.verbs:
            add_verbs(self, self.verbs, f"{self.verb}.")
        else:
            module.register(self)
            self.set_defaults(run=module.run)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.load()
        if not self.passes_on:
            found, rest = super().parse_known_args(args, namespace)
            # argparse would leave it to the topmost parser to refuse them, with a usage that says nothing of this verb.
            if rest and self.refuses_unknown:
                self.error(f"{_UNKNOWN}{' '.join(rest)}")
            return found, rest
        self.passes_on = self.refuses_unknown = False  # while argparse calls this method for each half of its work
        try:
            end = args.index("--") if "--" in args else len(args)
            found, rest = self.parse_known_intermixed_args(args[:end], namespace)
        finally:
            self.passes_on = self.refuses_unknown = True
        if rest:
            self.error(f"{_UNKNOWN}{' '.join(rest)}")
        found.arguments = args[end + 1 :]
        return found, []

    def error(self, message: str) -> NoReturn:
        hint = f"{self.prog} --help"
        _, unknown, rest = message.partition("argument COMMAND: invalid choice: ")
        if unknown:
            word = rest.split("'")[1]
            message, hint = f"there is no command {word!r}", did_you_mean(word, list(self.verbs)) or hint
        if message.startswith(_UNKNOWN + "-"):
            option = message.removeprefix(_UNKNOWN).split()[0].partition("=")[0]
            hint = did_you_mean(option, list(self._option_string_actions)) or hint
        self.print_usage(sys.stderr)
        code = exits.EXEC_FAILED if self.verb in STREAM_VERBS else exits.USAGE
        self.exit(code, f"error: {message}\nhint: {hint}\n")


class Append(argparse.Action):
    """An option that may be repeated, before the verb and after it."""

    def __call__(self, parser: Any, namespace: Any, values: Any, _option: str | None = None) -> None:
        # argparse gives each verb a namespace of its own, and would keep only what comes after the last verb.
        found = parser.repeated.setdefault(self.dest, [])
        found.append(values)
        setattr(namespace, self.dest, found)


class First(Append):
    """The same; what goes by the option's own name is the first."""

    def __call__(self, parser: Any, namespace: Any, values: Any, _option: str | None = None) -> None:
        super().__call__(parser, namespace, values)
        setattr(namespace, self.dest, parser.repeated[self.dest][0])
        namespace.more_files = parser.repeated[self.dest][1:]


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Options of every verb, before it or after it. A verb's own short option (`logs -f`) wins over a shared one."""
    missing = argparse.SUPPRESS
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        action=First,
        default=missing,
        help="the sandbox file; those given after it are merged upon it, in order",
    )
    parser.add_argument(
        "--env-file",
        dest="variables",
        metavar="FILE",
        action=Append,
        default=missing,
        help="variables for ${...} in the sandbox file, beneath .env and the environment; may be repeated",
    )
    parser.add_argument("-C", "--directory", metavar="DIR", default=missing, help="act as if started in DIR")
    parser.add_argument("--no-color", action="store_true", default=missing, help="no colours (also: NO_COLOR)")


def build_parser(words: Sequence[str] = ()) -> VerbParser:
    """The whole command line, or what `words` need of it. Verbs' arguments appear when their parser is used."""
    codes = "\n".join(f"  {code:<4} {meaning}" for code, meaning in exits.MEANINGS)
    parser = VerbParser(
        prog="sbx",
        description="Sandboxes for AI agents, described in a sandbox.yaml, on real microVMs.",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.repeated = {}
    add_shared_options(parser)
    parser.add_argument("-v", "--version", action="version", version=f"sbx {__version__}")
    first = words[0] if words else ""
    if first in VERBS:  # nobody sees the others: a parser for each of them is a fortieth of a `sbx plan`
        add_verbs(parser, {first: VERBS[first]}, "")
        return parser
    verbs = add_verbs(parser, VERBS, "", required=False)
    for verb in HIDDEN_VERBS:
        _add_verb(parser, verbs, verb, verb)
    return parser


def add_verbs(parser: VerbParser, verbs: Mapping[str, str], prefix: str, *, required: bool = True) -> Any:
    """Verbs that can follow `parser`'s; their modules are in the package that `prefix` (`network.`) names."""
    table = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest=f"{prefix}verb", parser_class=VerbParser, required=required
    )
    for verb, purpose in verbs.items():
        _add_verb(parser, table, verb, f"{prefix}{verb}", help=purpose)
    return table


def _add_verb(above: VerbParser, verbs: Any, name: str, verb: str, **options: Any) -> None:
    parser = verbs.add_parser(
        name,
        allow_abbrev=False,
        conflict_handler="resolve",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.verb = verb
    parser.repeated = above.repeated


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit."""
    gc.set_threshold(200_000, 20, 20)  # most of what a command makes is of use to its end: seldom look for garbage
    atexit.register(gc.freeze)  # and at the end the process goes with all of it: looking took a sixth of a `sbx plan`
    # No package that happens to be installed beside us sees what we validate; and to look for them takes 30 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console.of_process(os.environ)
    code = exits.BUG
    try:
        code = run(words, console)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader had enough (`sbx logs box | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)


def run(words: Sequence[str], console: Console) -> int:
    """Run a command line and give its exit code. Exits only for --help, --version and wrong arguments."""
    parser = build_parser(words)
    failed = exits.FAILED
    try:
        args = parser.parse_args(words)
        failed = exits.EXEC_FAILED if args.verb in STREAM_VERBS else exits.FAILED
        if args.verb is None:
            parser.print_help(sys.stderr)
            return exits.USAGE
        return _run_verb(args, console)
    except BrokenPipeError:
        raise
    except BaseException as exc:
        return _explain(exc, console, failed)


def _run_verb(args: argparse.Namespace, console: Console) -> int:
    if getattr(args, "no_color", False):
        console.color = False
    args.file = getattr(args, "file", None)
    args.more_files = getattr(args, "more_files", [])
    args.variables = getattr(args, "variables", [])
    if directory := getattr(args, "directory", None):
        os.chdir(directory)
    code: int = args.run(args, console)
    return code


def _explain(exc: BaseException, console: Console, failed: int) -> int:
    """Say what went wrong and give the exit code for it. Several failures of parallel tasks are said one by one."""
    if isinstance(exc, SystemExit):
        raise exc
    if isinstance(exc, BaseExceptionGroup):
        codes = [_explain(inner, console, failed) for inner in exc.exceptions]
        return max(codes)
    if isinstance(exc, KeyboardInterrupt):
        console.say("interrupted")
        return exits.INTERRUPTED
    if isinstance(exc, SandboxfileError):
        console.failure(exc)
        return failed
    if isinstance(exc, OSError) and (exc.filename is not None or exc.errno in _WORLD):
        console.error(f"{exc.filename}: {exc.strerror}" if exc.filename is not None else str(exc.strerror))
        return failed
    import traceback

    console.say("".join(traceback.format_exception(exc)).rstrip())
    console.error("This is a bug in sandboxfile.")
    console.say(f"hint: please report it with the lines above and `sbx doctor`; this is sbx {__version__}")
    return exits.BUG
