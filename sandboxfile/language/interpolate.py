"""`${VAR}` in the values of a file: Compose's rules, on the tree, before anything of it is understood.

    ${VAR}        the value; nothing, with a warning, when VAR is not set
    ${VAR:-word}  `word` when VAR is not set or empty      ${VAR-word}  when it is not set
    ${VAR:?word}  an error when VAR is not set or empty    ${VAR?word}  when it is not set
    ${VAR:+word}  `word` when VAR is set and not empty     ${VAR+word}  when it is set; else nothing
    $$            a dollar sign

A word may hold all of these. `$VAR` without braces is left alone: it is a shell's, inside the sandbox. A value becomes
text and never YAML, and is not looked at again, so that no variable can bring a field, a list or another variable.
What is outside of the sandbox file's own words (keys, `x-` fields) is not touched.

Called by `language.validate`. Which variables there are is decided by `host.variables`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error, has_errors, warning
from sandboxfile.language.document import FILE_LIMIT, Document, Places
from sandboxfile.language.tree import Node, Scalar, Sequence, Table, cut
from sandboxfile.model.spec import Path

RESULT_LIMIT = 4 * FILE_LIMIT  # characters of all values together: a long variable can be named often
DEPTH_LIMIT = 16  # of words in words
_WARNINGS = 100  # nobody reads more
_NAMED = tuple((field,) for field in ("templates", "policies", "secrets", "sandboxes"))  # keys there are names
_MARK = re.compile(r"\$\$|\$\{|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OPERATOR = re.compile(r":?[-?+]")
_FORMS = "the forms are ${VAR}, ${VAR:-default}, ${VAR:?message} and ${VAR:+text}, each also without the colon"


def interpolate(document: Document, variables: Mapping[str, str]) -> tuple[Document, Diagnostics]:
    """The document with its variables replaced; without the values where that cannot be done."""
    work = _Work(document, variables)
    wrong: list[Path] = []
    root = work.node(document.root, (), wrong)
    problems = tuple(work.problems)
    whole = document.whole and not has_errors(problems)
    return Document(document.filename, document.text, cut(root, wrong), whole), problems


def refuse(document: Document) -> tuple[Document, Diagnostics]:
    """The document without values that have `${`, for files that take nothing from anybody's environment."""
    problems = []
    wrong = []
    for path, scalar in scalars(document.root, ()):
        if isinstance(scalar.value, str) and "${" in scalar.value.replace("$$", ""):
            detail = "`${` begins an interpolation, and policy files have none: nobody's environment changes them."
            problems.append(error("Interpolation not supported", detail, scalar.span, "write `$$` for a dollar sign"))
            wrong.append(path)
    root = _Work(document, {}).node(cut(document.root, wrong), (), [])
    return Document(document.filename, document.text, root, document.whole and not problems), tuple(problems)


def scalars(node: Node, path: Path) -> Iterator[tuple[Path, Scalar]]:
    """The values that the language has a word about, with their places."""
    if isinstance(node, Scalar):
        yield path, node
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from scalars(item, (*path, index))
    else:
        for entry in node.entries:
            if not _foreign(entry.key, path):
                yield from scalars(entry.value, (*path, entry.key))


def _foreign(key: str, path: Path) -> bool:
    return key.startswith("x-") and path not in _NAMED


@dataclass(slots=True)
class _Work:
    """One document. What aliases show many times is done once: `done` has the results by the node's identity."""

    document: Document
    variables: Mapping[str, str]
    problems: list[Diagnostic] = field(default_factory=list)
    done: dict[int, Scalar | None] = field(default_factory=dict)
    places: Places | None = None
    unset: set[str] = field(default_factory=set)
    length: int = 0
    broken: dict[str, bool] = field(default_factory=dict)  # whether a variable's value is not UTF-8, looked at once

    def node(self, node: Node, path: Path, wrong: list[Path]) -> Node:
        if isinstance(node, Scalar):
            found = self.scalar(node)
            if found is None:
                wrong.append(path)
            return found or node
        if isinstance(node, Sequence):
            items = tuple(self.node(item, (*path, index), wrong) for index, item in enumerate(node.items))
            return Sequence(items, node.span, node.size, node.depth, node.tag)
        entries = tuple(
            entry if _foreign(entry.key, path) else entry.with_value(self.node(entry.value, (*path, entry.key), wrong))
            for entry in node.entries
        )
        return Table(entries, node.span, node.size, node.depth, node.tag)

    def scalar(self, node: Scalar) -> Scalar | None:
        """None when it cannot be done."""
        if not isinstance(node.value, str) or "$" not in node.value:
            return node
        if id(node) not in self.done:
            self.done[id(node)] = self._replaced(node, node.value) if self.length <= RESULT_LIMIT else None
        return self.done[id(node)]

    def _replaced(self, node: Scalar, written: str) -> Scalar | None:
        reading = _Reading(written, self.variables, self.broken, RESULT_LIMIT - self.length)
        try:
            text = reading.words(0, True)
            self.length += len(text)
            if self.length > RESULT_LIMIT:
                raise _TooLong
        except _TooLong:  # then of the whole document: what is left of it would be read for nothing
            self.length = RESULT_LIMIT + 1
            detail = f"With its variables the file has more than {RESULT_LIMIT >> 20} MiB."
            self.problems.append(error("Interpolation too long", detail, node.span))
            return None
        except _Wrong as exc:
            self.problems.append(
                error(exc.summary, exc.detail, self._span(node, written, exc.start, exc.end), exc.hint)
            )
            return None
        for name, start, end in reading.unset:
            if name not in self.unset and len(self.unset) < _WARNINGS:
                self.unset.add(name)
                detail = f"`{name}` is not set: it counts as empty."
                hint = f"set it, or write what to take instead: ${{{name}:-default}}"
                self.problems.append(warning("Variable not set", detail, self._span(node, written, start, end), hint))
        return Scalar(text, node.span, node.tag, node.interpolated or reading.replaced)

    def _span(self, node: Scalar, written: str, start: int, end: int) -> Span:
        """Where a part of a value stands in the text. Of one written in another way (escapes, folds): all of it."""
        self.places = places = self.places or self.document.places
        begin, after = places.offsets(node.span)
        text = self.document.text[begin:after]
        marks, found = list(_MARK.finditer(written)), list(_MARK.finditer(text))
        index = next((index for index, mark in enumerate(marks) if mark.start() == start), None)
        if end <= start or index is None or [mark[0] for mark in marks] != [mark[0] for mark in found]:
            return node.span
        at = begin + found[index].start()
        whole = self.document.text.startswith(written[start:end], at)
        return places.span(at, at + (end - start if whole else len("${")))


# --- one value ---------------------------------------------------------------------------------------------------


class _Wrong(Exception):
    def __init__(self, summary: str, detail: str, start: int, end: int, hint: str | None) -> None:
        super().__init__(detail)
        self.summary, self.detail, self.start, self.end, self.hint = summary, detail, start, end, hint


class _TooLong(Exception):
    """There is no room for all the values."""


def _give_up(summary: str, detail: str, start: int, end: int, hint: str | None = None) -> NoReturn:
    raise _Wrong(summary, detail, start, end, hint)


@dataclass(slots=True)
class _Reading:
    """From left to right, once. What is not `wanted` (the word of a default that is not needed) is only read.

    `room`: for so many characters of values.
    """

    text: str
    variables: Mapping[str, str]
    broken: dict[str, bool]
    room: int
    position: int = 0
    replaced: bool = False
    unset: list[tuple[str, int, int]] = field(default_factory=list)

    def words(self, depth: int, wanted: bool) -> str:
        """Up to the end, or inside of braces (`depth`) up to the closing one."""
        parts, opened = [], 0
        while found := _MARK.search(self.text, self.position):
            parts.append(self.text[self.position : found.start()])
            self.position = found.end()
            if found[0] == "${":
                parts.append(self._braced(found.start(), depth + 1, wanted))
            elif found[0] == "}" and depth and not opened:
                self.position = found.start()
                return "".join(parts)
            else:
                opened += {"{": 1, "}": -1}.get(found[0], 0)  # `${VAR:-{"a": 1}}`: braces of a word are in pairs
                parts.append(found[0][-1])
        parts.append(self.text[self.position :])
        self.position = len(self.text)
        return "".join(parts)

    def _braced(self, start: int, depth: int, wanted: bool) -> str:
        if depth > DEPTH_LIMIT:
            _give_up("Nested too deeply", f"`${{` stands in more than {DEPTH_LIMIT} others.", start, self.position)
        name = _NAME.match(self.text, self.position)
        if name is None:
            self._invalid(start, "`${` is not followed by the name of a variable.")
        operator = _OPERATOR.match(self.text, name.end())
        self.position = operator.end() if operator else name.end()
        sign = operator[0] if operator else ""
        value = self._value(name[0], start) if wanted else None
        given = value is not None and (value != "" or ":" not in sign)
        word = self.words(depth, wanted and _word_counts(sign, given)) if sign else ""
        if not self.text.startswith("}", self.position):
            closed = "`}` is missing." if "}" not in self.text[self.position :] else "after the name comes no `}`."
            self._invalid(start, f"`${{{name[0]}`: {closed}")
        self.position += 1
        if not wanted:
            return ""
        self.replaced = True
        return self._chosen(name[0], value, given, sign, word, start)

    def _chosen(self, name: str, value: str | None, given: bool, sign: str, word: str, start: int) -> str:
        if sign.endswith("+"):
            return word if given else ""
        if given and value is not None:
            self.room -= len(value)
            if self.room < 0:
                raise _TooLong
            return value
        if sign.endswith("?"):
            state = "is not set" if value is None else "is empty"
            said = f": {word}" if word else ""
            _give_up("Variable required", f"`{name}` {state}{said}.", start, self.position, f"set {name}")
        if not sign:
            self.unset.append((name, start, self.position))
        return word

    def _value(self, name: str, start: int) -> str | None:
        value = self.variables.get(name)
        if value is not None and name not in self.broken:
            self.broken[name] = any("\ud800" <= character <= "\udfff" for character in value)
        if self.broken.get(name):
            _give_up("Not UTF-8", f"The value of the variable `{name}` is not UTF-8 text.", start, self.position)
        return value

    def _invalid(self, start: int, detail: str) -> NoReturn:
        _give_up("Invalid interpolation", detail, start, start + 2, f"{_FORMS}; `$$` is a dollar sign")


def _word_counts(sign: str, given: bool) -> bool:
    """Whether what follows the sign is going to be used."""
    return given if sign.endswith("+") else not given
