"""A shell's text to its commands' words, each with its place. Nothing is expanded and nothing is run.

Quotes, backslashes, comments and lines that go on are understood. What a shell would put in place of something (`$X`,
`$(...)`, a pattern) is not: such a word is `live`, and whoever reads it decides whether it can be known. What is no
plain command (pipes, redirections, here-documents) comes out as words and separators, and is not made sense of.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sandboxfile.diagnostics import Diagnostic, Span, error

_SEPARATORS = frozenset(";&|\n()")
_BLANKS = frozenset(" \t\r")


@dataclass(frozen=True, slots=True)
class Word:
    """A word without its quotes. `live`: the shell would have replaced a part of it."""

    text: str
    span: Span
    live: bool = False


@dataclass(slots=True)
class _Reader:
    text: str
    filename: str
    position: int = 0
    line: int = 1
    column: int = 1
    words: list[Word] = field(default_factory=list)

    def peek(self, ahead: int = 0) -> str:
        return self.text[self.position + ahead : self.position + ahead + 1]

    def next(self) -> str:
        character = self.peek()
        self.position += 1
        self.column += 1
        if character == "\n":
            self.line, self.column = self.line + 1, 1
        return character

    def span(self, line: int, column: int) -> Span:
        return Span(self.filename, line, column, self.line, self.column)


class _Unclosed(Exception):
    pass


def commands(text: str, filename: str) -> tuple[list[list[Word]], list[Diagnostic]]:
    """Every command of a text, as words. An unclosed quote is an error, and what is before it is given."""
    reader = _Reader(text, filename)
    found: list[list[Word]] = []
    while reader.peek():
        character = reader.peek()
        line, column = reader.line, reader.column
        if character in _SEPARATORS:
            reader.next()
            found.append(reader.words)
            reader.words = []
        elif character in _BLANKS:
            reader.next()
        elif character == "\\" and reader.peek(1) == "\n":
            reader.next()
            reader.next()
        elif character == "#":
            while reader.peek() not in ("", "\n"):
                reader.next()
        else:
            try:
                word, live = _word(reader)
            except _Unclosed:
                span = Span(filename, line, column, line, column + 1)
                detail = "A quote that begins in this word does not end."
                return found, [error("Unclosed quote", detail, span, "close it, or write a backslash before it")]
            reader.words.append(Word(word, reader.span(line, column), live))
    found.append(reader.words)
    return [words for words in found if words], []


def _word(reader: _Reader) -> tuple[str, bool]:
    parts: list[str] = []
    live = False
    while (character := reader.peek()) and character not in _BLANKS and character not in _SEPARATORS:
        reader.next()
        if character == "'":
            parts.extend(_until(reader, "'"))
        elif character == '"':
            for part in _double(reader):
                live = live or part in ("$", "`")
                parts.append(part.removeprefix("\\") if len(part) > 1 else part)
        elif character == "\\":
            parts.append(reader.next() if reader.peek() != "\n" else reader.next() and "")
        else:
            live = live or character in "$`*?["
            parts.append(character)
            if character == "$" and reader.peek() == "(":
                parts.extend(_substitution(reader))
    return "".join(parts), live


def _until(reader: _Reader, end: str) -> Iterator[str]:
    while (character := reader.next()) != end:
        if not character:
            raise _Unclosed
        yield character


def _double(reader: _Reader) -> Iterator[str]:
    """What is between double quotes; an escaped character comes with its backslash."""
    while (character := reader.next()) != '"':
        if not character:
            raise _Unclosed
        if character == "\\" and reader.peek() in tuple('"\\$`\n'):
            escaped = reader.next()
            if escaped != "\n":
                yield f"\\{escaped}"
        else:
            yield character


def _substitution(reader: _Reader) -> Iterator[str]:
    """The rest of `$(...)`, up to its first closing bracket: good enough for `$(pwd)`, and it stays live."""
    while (character := reader.next()) != ")":
        if not character:
            raise _Unclosed
        yield character
    yield ")"
