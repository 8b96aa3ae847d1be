"""The tree of a file: what stands where. Made by `language.document`, read by everybody in `language`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sandboxfile.diagnostics import Span
from sandboxfile.model.spec import Path

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, number, boolean or null."""

    value: Value
    span: Span
    size = 1
    depth = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple["Node", ...]
    span: Span
    size: int  # nodes in it, aliases expanded
    depth: int


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    key_span: Span
    value: "Node"


@dataclass(frozen=True, slots=True)
class Table:
    """A map of the file. Keys are unique; what `<<` brought comes after its own entries."""

    entries: tuple[Entry, ...]
    span: Span
    size: int
    depth: int

    def entry(self, key: str) -> Entry | None:
        """The entry of a key."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node = Scalar | Sequence | Table


def find(node: Node, path: Path) -> tuple[Node, Span | None] | None:
    """The node at a path and the span of its key (None for list items and the root)."""
    key_span = None
    for part in path:
        if isinstance(node, Table) and isinstance(part, str) and (entry := node.entry(part)):
            node, key_span = entry.value, entry.key_span
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node, key_span = node.items[part], None
        else:
            return None
    return node, key_span


def keys(root: Table, field: str) -> list[str]:
    """The names that a file defines under a field, those with errors of their own included."""
    entry = root.entry(field)
    return [item.key for item in entry.value.entries] if entry and isinstance(entry.value, Table) else []


def spans(root: Node) -> Mapping[Path, Span]:
    """Where each part is written: a scalar's value; a collection's key, else the collection itself."""
    found: dict[Path, Span] = {}

    def visit(node: Node, path: Path, key: Span | None) -> None:
        empty = isinstance(node, Scalar) and node.value is None
        found[path] = key if key and (empty or not isinstance(node, Scalar)) else node.span
        if isinstance(node, Table):
            for entry in node.entries:
                visit(entry.value, (*path, entry.key), entry.key_span)
        elif isinstance(node, Sequence):
            for index, item in enumerate(node.items):
                visit(item, (*path, index), None)

    visit(root, (), None)
    return found
