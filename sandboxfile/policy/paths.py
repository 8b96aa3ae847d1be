"""Paths of requests and the globs of rules, compared in one spelling, so that a rule and the server see the same path.

A path that servers read differently (`..`, `//`, `%2f`, `%2e`, a backslash, ...) has no such spelling: nothing allows
it, and every rule that blocks paths of its host blocks it. Matching takes time in proportion to the path's length,
whatever the glob: the guest chooses the path.
"""

import re
from dataclasses import dataclass

_LIMIT = 8192  # characters; servers take about as many
_PLAIN = re.compile(r"[!$&'()*+,\-./0-9:;=@A-Z_a-z~]*")  # with neither percent signs nor anything doubtful
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# What may hide behind an escape: what means nothing special, and needs no escape to be written by anybody.
_HIDDEN = re.compile(r"[\x00-\x1f\x7f/\\.A-Za-z0-9_~-]")
_DOTS = re.compile(r"/\.\.?(?:;[^/]*)?(?:/|\Z)")  # also `/..;x/`, which some servers read as `/../`


def plain_path(path: str) -> str | None:
    """The path without escapes (bytes as Latin-1), None when it has no one spelling."""
    if len(path) > _LIMIT or not path.startswith("/") or "//" in path:
        return None
    if _PLAIN.fullmatch(path) is None:
        unescaped = _unescaped(path)
        if unescaped is None:
            return None
        path = unescaped
    return None if _DOTS.search(path) else path


def _unescaped(path: str) -> str | None:
    """Without escapes; None when it is malformed, escaped twice, or hides what needs no escape."""
    if _PLAIN.fullmatch(_ESCAPE.sub("", path)) is None:
        return None
    if any(_HIDDEN.fullmatch(chr(int(digits, 16))) for digits in _ESCAPE.findall(path)):
        return None
    text = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), path)
    return None if _ESCAPE.search(text) else text


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled glob: `*` is any text within a segment, `**` any text. Made by `parse_glob`.

    A machine with one state per token, all states in one integer: bit i is set when the first i tokens match so far.
    """

    text: str
    prefix: str  # what every match begins with, before the first star
    _letters: dict[str, int]  # letter -> tokens that it is
    _stars: int
    _deep: int
    _end: int

    def matches(self, path: str) -> bool:
        """Whether a plain path matches as a whole."""
        if not path.startswith(self.prefix):
            return False
        if self._deep & 1 and self._end == 2:  # nothing but `**` follows
            return True
        state = self._skipped(1)
        for letter in path[len(self.prefix) :]:
            stay = self._deep if letter == "/" else self._stars
            state = self._skipped((state & self._letters.get(letter, 0)) << 1 | state & stay)
            if not state:
                return False
        return bool(state & self._end)

    def _skipped(self, state: int) -> int:
        """A star may stand for nothing."""
        return state | (state & self._stars) << 1


def parse_glob(text: str) -> Glob:
    """Compile a glob. Raises ValueError when it can match no path: it must begin with "/", "*" or "**"."""
    if not text.startswith(("/", "*")):
        raise ValueError(f'a path begins with "/": "{text}"')
    tokens = [_token(part) for part in re.findall(r"\*+|[^*]+", text)]
    prefix = "" if tokens[0].startswith("*") else tokens.pop(0)
    letters: dict[str, int] = {}
    stars = deep = position = 0
    for token in tokens:
        if token.startswith("*"):
            stars |= 1 << position
            deep |= (len(token) > 1) << position
            position += 1
            continue
        for letter in token:
            letters[letter] = letters.get(letter, 0) | 1 << position
            position += 1
    return Glob(text, prefix, letters, stars, deep, 1 << position)


def _token(part: str) -> str:
    """A run of stars, or literal text as `plain_path` would give it: bytes as Latin-1, without escapes."""
    if part.startswith("*"):
        return part
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), part.encode("utf-8", "replace").decode("latin-1"))
