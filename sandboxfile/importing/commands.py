"""Lines of `docker sandbox run|create|network proxy` to sandboxes, as they stand in a shell's file or were typed.

Flags are those of Docker's reference, of both generations: `-w`, `-e`, `-v`, `--credentials` were the first one's.
Of what a shell would put in, `$PWD` and `$HOME` are understood; a word with anything else in it is left behind.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from posixpath import basename

from sandboxfile.agents import AGENTS
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.importing.draft import Draft, Source
from sandboxfile.importing.proxy_config import BLOCKED
from sandboxfile.importing.reading import workspace
from sandboxfile.importing.shell_words import Word, commands
from sandboxfile.model.spec import Path

_AGENTS = {"cagent": "docker-agent"}  # as they were called
_VALUES = {  # options with a value, and their one name
    "--name": "name", "-t": "template", "--template": "template", "-w": "workspace", "--workspace": "workspace",
    "-e": "env", "--env": "env", "-v": "volume", "--volume": "volume", "--credentials": "credentials",
    "--pull-template": "pull",
}  # fmt: skip
_FLAGS = {
    "--load-local-template": "local", "-q": "quiet", "--quiet": "quiet", "-D": "quiet", "--debug": "quiet",
    "-d": "detached", "--detached": "detached", "--mount-docker-socket": "socket",
}  # fmt: skip
_PROXY = {
    "--allow-host": "allow", "--allow-cidr": "open", "--block-host": "block", "--block-cidr": "block",
    "--bypass-host": "bypass", "--bypass-cidr": "bypass", "--policy": "mode",
}  # fmt: skip
_LEFT = {
    "credentials": "agents and `secrets` bring credentials; their values never enter a sandbox",
    "pull": "an image is fetched when it is not in the cache; `sbx template lock` pins it",
    "detached": "`sbx run --detach` starts an agent and leaves it to itself",
    "socket": "a host's Docker socket is the host; `docker: true` in a template gives a daemon of its own",
}
_OTHER = "only `docker sandbox run`, `create` and `network proxy` describe sandboxes"
_HERE = re.compile(r"(?:\$PWD|\$\{PWD\}|\$\(pwd\)|`pwd`)(?=/|:|\Z)")
_HOME = re.compile(r"(?:\$HOME|\$\{HOME\})(?=/|:|\Z)")


@dataclass(slots=True)
class _Call:
    """A command line, taken apart. `rest` are the words for the agent."""

    options: list[tuple[str, Word]] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    rest: list[Word] = field(default_factory=list)

    def last(self, name: str) -> Word | None:
        """The value of an option; the last one counts."""
        return next((word for option, word in reversed(self.options) if option == name), None)


def draft(source: Source, draft: Draft) -> None:
    """Fill a draft with the sandboxes of all commands of a text."""
    found, problems = commands(source.text, source.filename)
    draft.problems.extend(problems)
    known: dict[str, str] = {}  # sandboxes: their name there, and here
    made = False
    for words in found:
        start = _start(words)
        plain = [word.text for word in words[start:]]
        if start and plain[:1] in (["run"], ["create"]):
            made = _sandbox(words[start + 1 :], source, draft, known) or made
        elif start and plain[:2] == ["network", "proxy"]:
            made = _proxy(words[start + 2 :], draft, known) or made
        elif start:
            draft.leave(" ".join(word.text for word in words), _OTHER, words[0].span)
    if not made and not draft.problems:
        hint = "e.g. docker sandbox run --name web claude ."
        draft.wrong("Nothing to import", "There is no `docker sandbox run` or `create` in it.", None, hint)


def _start(words: Sequence[Word]) -> int:
    """Where it goes on after `docker sandbox`, whatever stands before that (`sudo`, `if`, variables); 0: nowhere."""
    pairs = enumerate(pairwise(word.text for word in words))
    found = (at + 2 for at, (first, second) in pairs if basename(first) == "docker" and second == "sandbox")
    return next(found, 0)


# --- run and create ----------------------------------------------------------------------------------------------


def _sandbox(words: Sequence[Word], source: Source, draft: Draft, known: dict[str, str]) -> bool:
    call = _call(words, _VALUES, _FLAGS, draft)
    given = call.last("name")
    if not call.words and given is not None and given.text in known:
        _agent_words(call, draft)
        return True
    if not call.words:
        draft.leave("docker sandbox", "it names no agent", words[0].span if words else None)
        return False
    first, *paths = call.words
    agent = _AGENTS.get(first.text, first.text)
    if first.text in known and not paths:
        _agent_words(call, draft)
        return True  # comes back to one that is there
    if agent not in AGENTS:
        listed = ", ".join(AGENTS)
        draft.leave(first.text, f"it is no agent here, and no sandbox made above; the agents are {listed}", first.span)
        return False
    chosen = call.last("workspace")
    places = ([chosen] if chosen else []) + paths or [Word(".", first.span)]
    name = _name(call, agent, places, source, draft)
    known[given.text if given else name] = name
    path: Path = ("sandboxes", name)
    draft.put((*path, "agent"), agent, f"agent {agent}", first.span)
    _template(call, name, path, draft)
    for place in places:
        _workspace(place, path, source, draft)
    for option, word in call.options:
        _option(option, word, path, source, draft)
    _agent_words(call, draft)
    return True


def _call(words: Sequence[Word], values: dict[str, str], flags: dict[str, str], draft: Draft) -> _Call:
    """Options may stand anywhere before `--`, with their value after `=`, after a blank, or (`-tX`) at once."""
    call = _Call()
    queue = list(words)
    while queue:
        word = queue.pop(0)
        option, equals, value = word.text.partition("=")
        if word.text == "--":
            call.rest = queue
            break
        if not word.text.startswith("-") or word.text == "-":
            call.words.append(word)
        elif option in values and equals:
            call.options.append((values[option], Word(value, word.span, word.live)))
        elif word.text in values and queue:
            call.options.append((values[word.text], queue.pop(0)))
        elif word.text[:2] in values and len(word.text) > 2 and word.text[1] != "-":
            call.options.append((values[word.text[:2]], Word(word.text[2:], word.span, word.live)))
        elif option in flags:
            call.options.append((flags[option], word))
        else:
            draft.leave(word.text, "this version knows no such option", word.span)
    return call


def _name(call: _Call, agent: str, places: Sequence[Word], source: Source, draft: Draft) -> str:
    given = call.last("name")
    if given is not None:
        return draft.name("sandboxes", given.text, f"--name {given.text}", given.span)
    place = _path(places[0].text, places[0].live)
    directory = source.directory if place in (None, ".") else (place or "").removesuffix(":ro").rstrip("/")
    return draft.name("sandboxes", f"{agent}-{basename(directory)}", "", None)


def _template(call: _Call, name: str, path: Path, draft: Draft) -> None:
    word = call.last("template")
    if word is None:
        return None
    if word.live:
        return _unknown(word, draft)
    kind = "docker" if call.last("local") else "oci"
    template = draft.name("templates", name, "", None, tuple(BUILTIN_TEMPLATES))
    draft.put(("templates", template), {"base": f"{kind}:{word.text}"}, f"--template {word.text}", word.span)
    draft.put((*path, "template"), template, f"--template {word.text}", word.span)
    return None


def _option(option: str, word: Word, path: Path, source: Source, draft: Draft) -> None:
    if option in _LEFT:
        draft.leave(f"--{option}" if option == "credentials" else word.text, _LEFT[option], word.span)
    elif option == "env":
        name, equals, value = word.text.partition("=")
        if equals and word.live:
            draft.leave(f"--env {name}", "only a shell knows what it stands for", word.span)
        else:
            draft.put((*path, "env", name), value if equals else None, f"--env {name}", word.span)
    elif option == "volume":
        _volume(word, path, source, draft)


def _volume(word: Word, path: Path, source: Source, draft: Draft) -> None:
    text = _path(word.text, word.live)
    if text is None:
        return _unknown(word, draft)
    host, *rest = text.split(":")
    mode = rest.pop() if rest and rest[-1] in ("ro", "rw") else "rw"
    if not host.startswith((".", "/", "~")) or len(rest) > 1:
        return draft.leave(f"--volume {text}", "only directories of the host can be carried over", word.span)
    item = workspace(source.path(host), rest[0] if rest else "", read_only=mode == "ro")
    return draft.add((*path, "workspaces"), item, f"--volume {text}", word.span)


def _workspace(word: Word, path: Path, source: Source, draft: Draft) -> None:
    text = _path(word.text, word.live)
    if text is None:
        return _unknown(word, draft)
    item = workspace(source.path(text.removesuffix(":ro")), read_only=text.endswith(":ro"))
    return draft.add((*path, "workspaces"), item, f"workspace {text}", word.span)


def _path(text: str, live: bool) -> str | None:
    """A path as it is meant; None when only the shell knows."""
    if not live:
        return text
    text = _HOME.sub("~", _HERE.sub(".", text, count=1), count=1)
    return None if any(character in text for character in "$`*?[") else text


def _unknown(word: Word, draft: Draft) -> None:
    draft.leave(word.text, "only a shell knows what it stands for", word.span)


def _agent_words(call: _Call, draft: Draft) -> None:
    if call.rest:
        words = " ".join(word.text for word in call.rest)
        draft.leave(f"-- {words}", "given each time an agent is started: sbx run NAME -- ARGUMENTS", call.rest[0].span)


# --- network proxy -----------------------------------------------------------------------------------------------


def _proxy(words: Sequence[Word], draft: Draft, known: dict[str, str]) -> bool:
    call = _call(words, _PROXY, {}, draft)
    if len(call.words) != 1:
        draft.leave("docker sandbox network proxy", "it names no sandbox", words[0].span if words else None)
        return False
    there = call.words[0]
    name = known.get(there.text)
    if name is None:
        draft.leave(there.text, "no command above makes a sandbox of this name", there.span)
        return False
    path: Path = ("policies", name)
    draft.put(("sandboxes", name, "policy"), name, f"policy of {there.text}", there.span, needed=True)
    mode = call.last("mode")
    before = [part.value for part in draft.parts if part.path == (*path, "mode")]
    if mode is not None or not before:
        draft.put((*path, "mode"), mode.text if mode else "deny", "--policy", (mode or there).span, needed=True)
    if mode is None and not before:
        why = "without --policy, `mode: deny` is written; Docker's default is its own"
        draft.leave("docker sandbox network proxy", why, there.span)
    closed = (mode.text if mode else (before or ["deny"])[-1]) != "allow"
    for option, word in call.options:
        _rule(option, word, path, closed, draft)
    return True


def _rule(option: str, word: Word, path: Path, closed: bool, draft: Draft) -> None:
    if option == "open" and closed:  # there it takes a range from the blocked ones, and allows nothing
        draft.leave(f"--allow-cidr {word.text}", "no host is allowed by it where `mode` is deny", word.span)
    elif option != "mode" and not (option == "block" and word.text in BLOCKED):
        field = {"open": "allow"}.get(option, option)
        draft.add((*path, field), word.text, f"--{field} {word.text}", word.span, needed=field == "block")
