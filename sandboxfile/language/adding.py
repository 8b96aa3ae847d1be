"""New entries in a sandbox file: whole sandboxes, templates, policies; everything else stays byte for byte as it is.

As `edit`: text in, text out; the edit is checked rather than trusted, and what cannot be done so is refused.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NoReturn

from sandboxfile.diagnostics import Diagnostics, Span
from sandboxfile.language.document import parse
from sandboxfile.language.edit import plain
from sandboxfile.language.editor import STEP, Editor, Part, Raw, Refused, block, flow, parts, refuse
from sandboxfile.language.merge import TAGS
from sandboxfile.language.tree import Node

__all__ = ["Entries", "add_entries", "plain"]

# By section of the file (`sandboxes`) and name: plain data as in the file.
Entries = Mapping[tuple[str, str], Any]


def add_entries(text: str, filename: str, entries: Entries) -> tuple[str | None, Diagnostics]:
    """The file, which must be valid, with these entries; none of them may be there. None with errors: nothing to write.

    A section that is missing is added at the end.
    """
    document, problems = parse(text, filename, tags=TAGS)
    if document is None or not document.whole:
        return None, problems
    try:
        for (section, name), value in entries.items():
            text = _with(text, filename, section, name, value)
    except Refused as refused:
        return None, (refused.problem,)
    return text, ()


def _with(text: str, filename: str, section: str, name: str, value: Any) -> str:
    document, _ = parse(text, filename, tags=TAGS)
    assert document is not None, "it was parsed, and each edit is checked"
    meant = deepcopy(plain(document.root))
    there = meant.get(section) or {}
    if not isinstance(there, dict):
        _cannot(document.root.span, section, name)
    meant[section] = {**there, name: value}
    edited = _Adder(text, document.root).with_entry(section, name, _literal(value))
    after, _ = parse(edited, filename, tags=TAGS)
    if after is None or not after.whole or plain(after.root) != meant:
        _cannot(document.root.span, section, name)
    return edited


def _cannot(span: Span | None, section: str, name: str) -> NoReturn:
    refuse(f"`{section}` is written in a way that this program cannot edit.", span, f"add `{name}` to it by hand")


class _Adder(Editor):
    """One new entry."""

    def __init__(self, text: str, root: Node) -> None:
        super().__init__(text, root, "")

    def with_entry(self, section: str, name: str, value: Any) -> str:
        root = parts(self.text)
        if root.kind != "map":
            _cannot(self.root.span, section, name)
        pair = root.get(section)
        if pair is None:
            self._add_section(root, section, {name: value})
        elif pair[1].kind == "map":
            self._add_under(*pair, name, value)
        elif pair[1].kind == "scalar":
            self._fill(root, *pair, {name: value})
        else:
            _cannot(self.root.span, section, name)
        result = self.text
        for start, end, replacement in sorted(reversed(self.changes), key=lambda change: change[0], reverse=True):
            result = result[:start] + replacement + result[end:]
        return result

    def _add_section(self, root: Part, section: str, value: Any) -> None:
        if root.flow:
            self._add_entry(root, root, section, value)
        else:
            self._put_lines(root.end, ["", *block({section: value}, self._column(root.items[0].start), STEP)])

    def _add_under(self, key: Part, body: Part, name: str, value: Any) -> None:
        if body.flow or not body.items:
            last = body.pairs[-1] if body.items else None
            self._extend_flow(body, (last[0].start, last[1].end) if last else None, [f"{name}: {flow(value)}"])
            return
        column = self._column(body.items[0].start)
        step = max(column - self._column(key.start), 1)
        self._put_lines(body.end, block({name: value}, column, step))


def _literal(value: Any) -> Any:
    """Booleans and null as YAML writes them."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if value is None or isinstance(value, bool):
        return Raw("null" if value is None else str(value).lower())
    return value
