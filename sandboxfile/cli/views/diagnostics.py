"""Diagnostics for people (with a snippet of the file) and for machines.

What a file says must not drive the user's terminal: control characters, bidirectional marks and very long lines are
made harmless before anything is shown. Pure.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from sandboxfile.diagnostics import Diagnostic, Severity, Span

_WIDTH = 100  # columns of the file shown
_LEFT = 40  # of those, kept before the caret in a line that is longer
_STYLES = {"error": "1;31", "warning": "1;33", "gutter": "34", "hint": "36", "summary": "1"}


def render_human(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], color: bool = False) -> str:
    """All of them, a blank line between two. `sources` are texts by file name; without one there is no snippet."""
    lines: dict[str, list[str]] = {}
    for name, text in sources.items():
        lines[name] = re.split(r"\r\n|\n|\r", text)
    return "\n".join(_one(item, lines, color) for item in diagnostics)


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """Plain data. Lines and columns count from 1, the end is exclusive; `span` and `hint` may be null."""
    return [
        {
            "severity": item.severity.value,
            "summary": item.summary,
            "detail": item.detail,
            "hint": item.hint,
            "span": None
            if item.span is None
            else {
                "file": item.span.file,
                "start": {"line": item.span.line, "column": item.span.column},
                "end": {"line": item.span.end_line, "column": item.span.end_column},
            },
        }
        for item in diagnostics
    ]


def _one(item: Diagnostic, sources: Mapping[str, list[str]], color: bool) -> str:
    def paint(style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if color else text

    severity = paint("error" if item.severity is Severity.ERROR else "warning", f"{item.severity.value}:")
    lines = [f"{severity} {paint('summary', visible(item.summary))}"]
    if item.span is not None:
        lines.append(f"{paint('gutter', ' -->')} {visible(str(item.span))}")
        lines += _snippet(item.span, sources.get(item.span.file, []), paint)
    lines.append(f"   {visible(item.detail)}")
    if item.hint:
        lines.append(f"   {paint('hint', 'hint:')} {visible(item.hint)}")
    return "\n".join(lines) + "\n"


def _snippet(span: Span, lines: list[str], paint: Any) -> list[str]:
    if not 1 <= span.line <= len(lines):
        return []
    line = lines[span.line - 1]
    start = min(span.column - 1, len(line))
    end = min(span.end_column - 1, len(line)) if span.end_line == span.line else len(line)
    end = max(end, start + 1)
    first = max(start - _LEFT, 0) if len(line) > _WIDTH else 0
    last = first + _WIDTH
    before, marked = visible(line[first:start]), visible(line[start : min(end, last)])
    after = visible(line[min(end, last) : last])
    left, right = "…" if first else "", "…" if len(line) > last else ""
    number = str(span.line)
    gutter, caret = " " * (len(number) + 1), " " * _columns(left + before) + "^" * max(_columns(marked), 1)
    return [
        paint("gutter", f"{gutter}|"),
        f"{paint('gutter', f'{number} |')} {left}{before}{marked}{after}{right}".rstrip(),
        f"{paint('gutter', f'{gutter}|')} {caret}",
    ]


def visible(text: str) -> str:
    """Text from anywhere on one line of a terminal: what does not print is written as an escape."""
    return "".join(c if _prints(c) else "    " if c == "\t" else _escape(c) for c in text)


def _prints(character: str) -> bool:
    return character.isprintable() and not unicodedata.combining(character)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
