"""Values of a source as Python's, with what is wrong told; and JSON as people write it, with comments.

JSON is read through the same door as YAML, of which it is a part: comments, tabs and commas before a closing bracket
become blanks first, so that every place stays where it is. What no JSON is may pass; nothing depends on that.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sandboxfile.importing.draft import Draft, Source
from sandboxfile.language.document import FILE_LIMIT, parse
from sandboxfile.language.tree import Entry, Node, Scalar, Sequence, Table
from sandboxfile.model.values import written

# A string, even one that does not end, so that each character is looked at once; or what is to be blank.
_JSON_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*+"?|//[^\n\r]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
_JSON_BLANK = re.compile(r'"(?:[^"\\]|\\.)*+"?|\t|,(?=[ \t\r\n]*+[}\]])', re.DOTALL)
_NOT_BLANK = re.compile(r"[^\n\r]")
FILE = "it is a file, and a workspace is a directory: share the one it is in; `files` of a template are in its image"
_KINDS = {Table: "a map", Sequence: "a list", Scalar: "a single value"}


def read(source: Source, draft: Draft) -> Node | None:
    """What stands at the top of a YAML or JSON text; None with errors."""
    text = source.text
    if text.lstrip("\ufeff \t\r\n").startswith(("{", "/")):
        text = without_comments(text)
    document, problems = parse(text, source.filename, "it must be a map with at least one key")
    draft.problems.extend(problems)
    return None if document is None else document.root


def read_table(source: Source, draft: Draft) -> Table | None:
    """The same for a text that must be a map."""
    root = read(source, draft)
    if root is not None and not isinstance(root, Table):
        draft.wrong("Wrong type", f"The whole file is {_KINDS[type(root)]}; it must be a map.", root.span)
        return None
    return root


def without_comments(text: str) -> str:
    """JSON with comments as JSON, every character in its place."""
    if len(text) > FILE_LIMIT:
        return text  # refused by whoever parses it
    return _JSON_BLANK.sub(_blank, _JSON_COMMENT.sub(_blank, text))


def _blank(found: re.Match[str]) -> str:
    return found[0] if found[0][0] == '"' else _NOT_BLANK.sub(" ", found[0])


# --- values ------------------------------------------------------------------------------------------------------


class Fields:
    """The entries of a map, which are taken one by one; what nobody took is told at the end."""

    def __init__(self, table: Table, draft: Draft, within: str = "") -> None:
        self.table, self.draft, self.within = table, draft, within
        self._left = {entry.key: entry for entry in table.entries}

    def what(self, key: str) -> str:
        """`services.web.image`: as messages call a field."""
        return f"{self.within}.{key}" if self.within else key

    def take(self, key: str) -> Entry | None:
        """The entry of a key, None also where it says nothing (null)."""
        entry = self._left.pop(key, None)
        empty = entry is not None and isinstance(entry.value, Scalar) and entry.value.value is None
        return None if empty else entry

    def text(self, key: str) -> tuple[str, Scalar] | None:
        """A text, or a number as it is written."""
        entry = self.take(key)
        if entry is None:
            return None
        text = text_of(entry.value)
        if text is None or not isinstance(entry.value, Scalar):
            self.wrong(key, entry.value, "a text")
            return None
        return text, entry.value

    def flag(self, key: str) -> bool:
        """A truth value; anything else is wrong, and nothing is taken for true."""
        entry = self.take(key)
        if entry is None:
            return False
        if isinstance(entry.value, Scalar) and isinstance(entry.value.value, bool):
            return entry.value.value
        self.wrong(key, entry.value, "true or false")
        return False

    def fields(self, key: str) -> "Fields | None":
        """A map below."""
        entry = self.take(key)
        if entry is None:
            return None
        if not isinstance(entry.value, Table):
            self.wrong(key, entry.value, "a map")
            return None
        return Fields(entry.value, self.draft, self.what(key))

    def items(self, key: str) -> tuple[Node, ...]:
        """The items of a list."""
        entry = self.take(key)
        if entry is None:
            return ()
        if not isinstance(entry.value, Sequence):
            self.wrong(key, entry.value, "a list")
            return ()
        return entry.value.items

    def texts(self, key: str) -> list[tuple[str, Scalar]]:
        """A list of texts."""
        return list(self.only_texts(key, self.items(key)))

    def only_texts(self, key: str, items: Collection[Node]) -> Iterator[tuple[str, Scalar]]:
        """Those items that are texts; the others are wrong."""
        for item in items:
            text = text_of(item)
            if text is not None and isinstance(item, Scalar):
                yield text, item
            else:
                self.wrong(key, item, "a list of texts")

    def wrong(self, key: str, node: Node, wanted: str) -> None:
        """Tell that a value is of the wrong type."""
        mistyped(self.draft, self.what(key), node, wanted)

    def rest(self, reasons: Mapping[str, str], unknown: str, silent: Collection[str] = ()) -> None:
        """Tell of every entry that was not taken, why it is not carried over."""
        for key, entry in self._left.items():
            if key not in silent and not key.startswith("x-"):
                self.draft.leave(self.what(key), reasons.get(key, unknown), entry.key_span)
        self._left.clear()


def mistyped(draft: Draft, what: str, node: Node, wanted: str) -> None:
    """Tell that a value is of the wrong type."""
    draft.wrong("Wrong type", f"`{what}`: {wanted} is expected, this is {kind_of(node)}.", node.span)


def kind_of(node: Node) -> str:
    """What a node is, for people."""
    if isinstance(node, Scalar) and node.value is None:
        return "nothing"
    return _KINDS[type(node)]


def text_of(node: Node) -> str | None:
    """A text, or a number or truth value as it is written; None for anything else."""
    if not isinstance(node, Scalar) or node.value is None:
        return None
    return str(written(node.value))


def workspace(
    path: str, target: str = "", *, read_only: bool = False, protect: Collection[str] = ()
) -> dict[str, Any] | str:
    """A workspace in its shortest form that can be mistaken for nothing else."""
    mode = "ro" if read_only else ""
    if not protect and not set(path + target) & set(": \t") and (not target or target.startswith("/")):
        return ":".join(part for part in (path, target, mode) if part)
    fields = {"source": path, "target": target, "mode": mode, "protect": list(protect)}
    return {name: value for name, value in fields.items() if value}
