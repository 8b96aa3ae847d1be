"""What can stand where the cursor is, a word a line. For the scripts of `sbx completion`."""

import argparse
from collections.abc import Callable, Sequence

from sandboxfile.cli import exits
from sandboxfile.cli.main import VERBS, VerbParser, build_parser
from sandboxfile.cli.project import find_upward, known_sandboxes, project_here, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.names import SandboxId

# Verbs whose free words are sandboxes that exist; `plan` and `up` take names of the file.
_EXISTING = ("status", "exec", "shell", "logs", "stop", "start", "restart", "rm")
_OF_FILE = ("plan", "up")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*")


def run(args: argparse.Namespace, console: Console) -> int:
    for word in complete(args.words or [""], lambda verb: names(verb, args)):
        console.print(word)
    return exits.OK


def complete(words: Sequence[str], names_of: Callable[[str], Sequence[str]]) -> list[str]:
    """Candidates for the last of `words` (those after `sbx`); empty: a file's name, as the shell sees fit."""
    *before, start = words
    verb = next((word for word in before if word in VERBS), None)
    if verb is None:
        candidates = list(VERBS)
    elif verb in ("exec",) and _has_name(before[before.index(verb) + 1 :]):
        return []  # the command inside: not ours to know
    elif start.startswith("-"):
        candidates = options(verb)
    else:
        candidates = choices(verb) + list(names_of(verb))
    return [word for word in candidates if word.startswith(start)]


def names(verb: str, args: argparse.Namespace) -> list[str]:
    """Sandboxes that can follow a verb: by name in this project, else by identity."""
    if verb in _OF_FILE and (args.file or find_upward()):
        return _names_in_file(args)
    if verb not in _EXISTING:
        return []
    here = project_here(args)
    return [_shown(id, here) for id in known_sandboxes(this_layout())]


def _shown(id: SandboxId, here: str | None) -> str:
    return id.name if id.project == here else str(id)


def _names_in_file(args: argparse.Namespace) -> list[str]:
    from sandboxfile import pipeline
    from sandboxfile.cli.project import find_file

    loaded = pipeline.load(find_file(args.file), this_layout())
    return [sandbox.id.name for sandbox in loaded.desired.sandboxes] if loaded.desired else []


def options(verb: str) -> list[str]:
    """Every long and short option of a verb."""
    return [option for action in _parser(verb)._actions for option in action.option_strings]


def choices(verb: str) -> list[str]:
    """Fixed words that a verb takes (`completion bash`)."""
    free = [action for action in _parser(verb)._actions if not action.option_strings and action.choices]
    return [str(choice) for action in free for choice in action.choices or ()]


def _parser(verb: str) -> VerbParser:
    verbs = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    parser: VerbParser = verbs.choices[verb]
    parser.load()
    return parser


def _has_name(words: Sequence[str]) -> bool:
    """Whether `exec`'s sandbox is there already. Options with a value of their own count two."""
    taking = ("-e", "--env", "-u", "--user", "-w", "--workdir", "-f", "--file", "-C", "--directory")
    previous = ""
    for word in words:
        if not word.startswith("-") and previous not in taking:
            return True
        previous = word
    return False
