r"""Which files of a build context a .dockerignore leaves out: Docker's rules (moby/patternmatcher). Pure.

A pattern a line; `#` begins a comment; `!` takes back what came before; the last pattern that matches counts. What
matches a directory matches everything in it. `*` and `?` stay within a name, `**` does not, `[...]` is a class of
characters, `\` takes the next character as it is.
"""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

LINES = 1000


Matched = tuple[bool, ...]  # by pattern, in their order


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line. `keeps`: it began with `!`."""

    expression: re.Pattern[str]
    keeps: bool


class MalformedPattern(ValueError):
    """A line is no pattern, or there are too many."""


def parse_ignore(text: str) -> tuple[Pattern, ...]:
    """The patterns of a .dockerignore, in order. Raises MalformedPattern."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if number > LINES:
            raise MalformedPattern(f"it has more than {LINES} lines")
        words = line.strip()
        if not words or line.startswith("#"):
            continue
        keeps = words.startswith("!")
        pattern = posixpath.normpath(words[keeps:].strip() or ".").lstrip("/")
        if pattern and pattern != ".":
            try:
                found.append(Pattern(re.compile(_expression(pattern), re.DOTALL), keeps))
            except (re.error, IndexError) as exc:
                raise MalformedPattern(f"line {number}, `{words}`, is not a pattern") from exc
    return tuple(found)


def is_ignored(path: str, patterns: Sequence[Pattern]) -> bool:
    """Whether a path, relative to the context, is left out."""
    matched: Matched = ()
    parts = path.split("/")
    for count in range(len(parts)):
        matched = matches("/".join(parts[: count + 1]), patterns, matched)
    return ignored(patterns, matched)


def matches(path: str, patterns: Sequence[Pattern], above: Matched = ()) -> Matched:
    """Which patterns match a path or a directory above it; `above` is this of the directory that it is in."""
    inherited = above or (False,) * len(patterns)
    return tuple(
        known or pattern.expression.fullmatch(path) is not None
        for pattern, known in zip(patterns, inherited, strict=True)
    )


def ignored(patterns: Sequence[Pattern], matched: Matched) -> bool:
    """Whether what these patterns match is left out: the last one counts."""
    for pattern, found in zip(reversed(patterns), reversed(matched), strict=True):
        if found:
            return not pattern.keeps
    return False


# --- a pattern as a regular expression ---------------------------------------------------------------------------

_STAR = "[^/]*"


def _expression(pattern: str) -> str:
    """Groups of pieces: `**/` stands between groups, `*` between pieces.

    A group that has matched is not looked at again (atomic), as what follows it can be found later just as well: the
    pattern is somebody else's, and must not cost more than the square of a path's length.
    """
    groups = _groups(pattern)
    *before, last = [_group(pieces, index == len(groups) - 1) for index, pieces in enumerate(groups)]
    result = before[0] if before else last
    result += "".join(f"(?>(?:.*?/)??{group})" for group in before[1:])
    return f"{result}(?:.*/)?{last}" if before else result


def _group(pieces: list[str], last: bool) -> str:
    first, *rest = pieces
    if not last:
        return first + "".join(f"(?>{_STAR}?{piece})" for piece in rest)
    inner = "".join(f"(?>{_STAR}?{piece})" for piece in rest[:-1])
    return first + inner + (_STAR + rest[-1] if rest else "")


def _groups(pattern: str) -> list[list[str]]:
    groups = [[""]]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*" and pattern.startswith("*", position):
            position += 1
            if len(groups[-1]) > 1 and not groups[-1][-1].endswith("/") and position < len(pattern):
                raise IndexError  # `a*b**c`: nobody writes it, and it would cost much
            position += pattern.startswith("/", position)
            if position < len(pattern):
                groups.append([""])
            else:
                groups[-1][-1] += ".*"
        elif character == "*":
            groups[-1].append("")
        else:
            text, position = _one(pattern, position - 1)
            groups[-1][-1] += text
    return groups


def _one(pattern: str, position: int) -> tuple[str, int]:
    """What stands for one character, and where what follows begins."""
    character = pattern[position]
    if character == "?":
        return "[^/]", position + 1
    if character == "[":
        return _class(pattern, position + 1)
    if character == "\\":
        return re.escape(pattern[position + 1]), position + 2
    return re.escape(character), position + 1


def _class(pattern: str, position: int) -> tuple[str, int]:
    """A class of characters, from behind its bracket, and where what follows begins. As Go's path/filepath has it."""
    negated = pattern.startswith("^", position)
    position += negated
    items = ""
    while pattern[position] != "]" or not items:
        if pattern[position] == "\\":
            position += 1
            items += re.escape(pattern[position])
        else:
            items += pattern[position] if pattern[position] == "-" else re.escape(pattern[position])
        position += 1
    # Neither kind of class matches a separator.
    return f"(?!/)[{'^' if negated else ''}{items}]", position + 1
