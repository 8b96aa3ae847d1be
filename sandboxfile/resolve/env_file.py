r"""The text of an env_file to variables: Compose's syntax (docs.docker.com/reference/compose-file, "env_file format").

`NAME=value`, `NAME: value` or `NAME` (taken from the environment) a line, `export ` allowed before it; `#` comments;
'single' quotes are literal, "double" ones know \n \r \t \\ \" \$, both may span lines. No interpolation: `${` is
refused outside single quotes. No message shows a value: these files hold secrets.
"""

import re
from collections.abc import Callable

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*")
_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$"}
_SUMMARY = "Malformed env_file"


class _Malformed(Exception):
    def __init__(self, detail: str, at: int, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail, self.at, self.hint = detail, at, hint


def parse_env_file(text: str, filename: str) -> tuple[dict[str, str | None], Diagnostics]:
    """The variables of a file (None: taken from the environment; the last of a name counts) and what is wrong."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    variables: dict[str, str | None] = {}
    problems: list[Diagnostic] = []
    position = 0
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        try:
            name, value, position = _assignment(text, position)
            variables[name] = value
        except _Malformed as wrong:
            problems.append(error(_SUMMARY, wrong.detail, _span(text, wrong.at, filename), wrong.hint))
            position = _line_end(text, max(position, wrong.at))
    return variables, tuple(problems)


def _assignment(text: str, position: int) -> tuple[str, str | None, int]:
    """One variable and where the next line begins."""
    found = _NAME.match(text, position)
    if found is None:
        raise _Malformed(
            "This line does not begin with the name of a variable.", position, "write NAME=value, or `#` before it"
        )
    name, position = found[1], found.end()
    if blank := _BLANK.match(text, position):
        return name, None, blank.end()
    if text[position] not in "=:":
        raise _Malformed(f"`{name}` is not followed by `=`.", position, "write NAME=value")
    position += 1
    while text[position : position + 1] in (" ", "\t"):
        position += 1
    value, position = _value(text, position, name)
    if "\0" in value:
        raise _Malformed(f"The value of `{name}` contains a NUL character.", position - 1)
    return name, value, position


def _value(text: str, position: int, name: str) -> tuple[str, int]:
    quote = text[position : position + 1]
    if quote == "'":
        return _quoted(text, position, name, _SINGLE, lambda raw: raw)
    if quote == '"':
        return _quoted(text, position, name, _DOUBLE, _unescaped)
    found = _PLAIN.match(text, position)
    assert found is not None, "it matches the empty string"
    value = _COMMENT.sub("", found[0]).strip(" \t\r")
    _refuse_interpolation(value, position, name)
    return value, min(found.end() + 1, len(text))


def _quoted(
    text: str, position: int, name: str, pattern: re.Pattern[str], unescape: Callable[[str], str]
) -> tuple[str, int]:
    found = pattern.match(text, position)
    if found is None:
        raise _Malformed(f"The quote of the value of `{name}` is not closed.", position)
    rest = _BLANK.match(text, found.end())
    if rest is None:
        raise _Malformed(f"Something follows the closing quote of `{name}`.", found.end(), "quote the whole value")
    if pattern is _DOUBLE:
        _refuse_interpolation(found[1].replace("\\$", ""), position, name)
    return unescape(found[1]), rest.end()


def _unescaped(raw: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), raw, flags=re.DOTALL)


def _refuse_interpolation(value: str, position: int, name: str) -> None:
    if "${" in value:
        detail = f"The value of `{name}` contains `${{`: this version has no interpolation."
        raise _Malformed(detail, position, "put the value in single quotes to take it literally")


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def _span(text: str, position: int, filename: str) -> Span:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return Span(filename, line, column, line, column + 1)
