"""What can stand where the cursor is, a word a line. For the scripts of `sbx completion`."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from sandboxfile.cli import exits
from sandboxfile.cli.main import VERBS, VerbParser, build_parser
from sandboxfile.cli.project import find_upward, known_sandboxes, project_here, this_layout
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.volumes import volume_ids
from sandboxfile.names import UNMANAGED, SandboxId

# Verbs whose free words are sandboxes that exist; those of _OF_FILE take names of the file.
_EXISTING = (
    *("status", "exec", "shell", "logs", "stop", "start", "restart", "rm"),
    *("network log", "network summary", "network proxy", "policy suggest", "save", "attach", "review", "forward"),
    *("drift", "checkpoint", "restore", "fork", "rename"),
)
_FOR_AGENTS = ("run", "create")  # `run` takes sandboxes as well, those of the file that do not exist too
_OF_RUN = ("--name", "-t", "--template", "--policy", "--cpus", "--memory", "--disk", "--detach-keys", "--lock-timeout")
_TEMPLATES = ("template build", "template lock")  # those of the file, and built-in ones
_ALL_TEMPLATES = ("template inspect", "template rm", "template export")  # saved ones too
_OF_FILE = ("plan", "up", "policy show", "policy explain")


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*")


def run(args: argparse.Namespace, console: Console) -> int:
    for word in complete(args.words or [""], lambda verb: names(verb, args)):
        console.print(word)
    return exits.OK


def complete(words: Sequence[str], names_of: Callable[[str], Sequence[str]]) -> list[str]:
    """Candidates for the last of `words` (those after `sbx`); empty: a file's name, as the shell sees fit."""
    *before, start = words
    verb, rest = _verb(before)
    if not verb:
        candidates = list(VERBS)
    elif verb == "exec" and _has_name(rest):
        return []  # the command inside: not ours to know
    elif verb in _FOR_AGENTS and ("--" in rest or (not start.startswith("-") and _has_name(rest, _OF_RUN))):
        return []  # workspaces, and arguments of the agent
    elif start.startswith("-"):
        candidates = options(verb)
    else:
        candidates = choices(verb) + list(names_of(verb))
    return [word for word in candidates if word.startswith(start)]


def _verb(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The verb among the words, with the verb of its own (`network log`), and what follows."""
    verb = ""
    verbs: Mapping[str, str] = VERBS
    while verbs and (found := next((word for word in words if word in verbs), None)):
        words = words[words.index(found) + 1 :]
        verb = f"{verb} {found}".lstrip()
        verbs = _parser(verb).verbs
    return verb, words


def names(verb: str, args: argparse.Namespace) -> list[str]:
    """Sandboxes that can follow a verb: by name in this project, else by identity.

    For `policy test`: policies; for those of `template`: templates.
    """
    if verb in (*_TEMPLATES, *_ALL_TEMPLATES):
        return _templates(args, saved=verb in _ALL_TEMPLATES)
    if verb == "policy test" and (args.file or find_upward()):
        return _tested_policies(args)
    if verb in _FOR_AGENTS:
        return _of_agents(verb, args)
    if verb == "volume rm":
        return [str(id) for id in volume_ids(this_layout())]
    if verb == "adopt":
        return [id.name for id in known_sandboxes(this_layout()) if id.project == UNMANAGED]
    if verb in _OF_FILE and (args.file or find_upward()):
        return _names_in_file(args)
    if verb not in _EXISTING:
        return []
    here = _project(args)
    return [_shown(id, here) for id in known_sandboxes(this_layout())]


def _of_agents(verb: str, args: argparse.Namespace) -> list[str]:
    from sandboxfile.agents import AGENTS

    if verb == "create":
        return list(AGENTS)
    here = _project(args)
    there = [_shown(id, here) for id in known_sandboxes(this_layout()) if id.project in (here, UNMANAGED)]
    return list(dict.fromkeys([*AGENTS, *there, *(_names_in_file(args) if args.file or find_upward() else ())]))


def _project(args: argparse.Namespace) -> str | None:
    with suppress(SandboxfileError):
        return project_here(args)
    return None


def _shown(id: SandboxId, here: str | None) -> str:
    return id.name if id.project == here else str(id)


def _names_in_file(args: argparse.Namespace) -> list[str]:
    from sandboxfile.cli.project import load_file

    loaded = load_file(args)
    return [sandbox.id.name for sandbox in loaded.desired.sandboxes] if loaded.desired else []


def _templates(args: argparse.Namespace, *, saved: bool) -> list[str]:
    from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
    from sandboxfile.cli.project import load_file
    from sandboxfile.images.saved import list_saved

    found = set(BUILTIN_TEMPLATES)
    if args.file or find_upward():
        loaded = load_file(args)
        found.update(template.name for template in (loaded.desired.templates if loaded.desired else ()))
    if saved:
        found.update(info.tag for info in list_saved(this_layout()))
    return sorted(found)


def _tested_policies(args: argparse.Namespace) -> list[str]:
    from sandboxfile.cli.project import load_file

    loaded = load_file(args)
    return [test.name.removeprefix("policy ") for test in loaded.policy_tests]


def options(verb: str) -> list[str]:
    """Every long and short option of a verb."""
    return [option for action in _parser(verb)._actions for option in action.option_strings]


def choices(verb: str) -> list[str]:
    """Fixed words that a verb takes (`completion bash`)."""
    free = [action for action in _parser(verb)._actions if not action.option_strings and action.choices]
    return [str(choice) for action in free for choice in action.choices or ()]


def _parser(verb: str) -> VerbParser:
    parser = build_parser()
    for word in verb.split():
        verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = verbs.choices[word]
        parser.load()
    return parser


def _has_name(words: Sequence[str], more: Sequence[str] = ()) -> bool:
    """Whether the sandbox (or the agent) is there already. Options with a value of their own count two."""
    taking = ("-e", "--env", "-u", "--user", "-w", "--workdir", "-f", "--file", "-C", "--directory", *more)
    previous = ""
    for word in words:
        if not word.startswith("-") and previous not in taking:
            return True
        previous = word
    return False
