"""The tree of a file: what stands where. Made by `language.document`, read by everybody in `language`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sandboxfile.diagnostics import Span
from sandboxfile.model.spec import Path

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text, number, boolean or null. `interpolated`: text with the values of variables in it."""

    value: Value
    span: Span
    tag: str = ""
    interpolated: bool = False
    size = 1
    depth = 1


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple["Node", ...]
    span: Span
    size: int  # nodes in it, aliases expanded
    depth: int
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    key_span: Span
    value: "Node"

    def with_value(self, value: "Node") -> "Entry":
        """The same key with another value."""
        return Entry(self.key, self.key_span, value)


@dataclass(frozen=True, slots=True)
class Table:
    """A map of the file. Keys are unique; what `<<` brought comes after its own entries."""

    entries: tuple[Entry, ...]
    span: Span
    size: int
    depth: int
    tag: str = ""

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


def cut(node: Node, paths: Iterable[Path]) -> Node:
    """The tree without these parts. An item of a list goes as a whole: half a workspace is another workspace."""
    branches: dict[str | int, list[Path]] = {}
    for path in paths:
        if path:
            branches.setdefault(path[0], []).append(() if isinstance(path[0], int) else path[1:])
    if not branches or isinstance(node, Scalar):
        return node
    if isinstance(node, Sequence):
        items = (_cut_part(item, branches.get(index)) for index, item in enumerate(node.items))
        return Sequence(tuple(item for item in items if item is not None), node.span, node.size, node.depth, node.tag)
    pairs = ((entry, _cut_part(entry.value, branches.get(entry.key))) for entry in node.entries)
    entries = tuple(entry.with_value(value) for entry, value in pairs if value is not None)
    return Table(entries, node.span, node.size, node.depth, node.tag)


def _cut_part(node: Node, below: list[Path] | None) -> Node | None:
    if below is None:
        return node
    return None if () in below else cut(node, below)


def with_values(node: Node, values: Mapping[Path, Node]) -> Node:
    """The tree with other nodes at these places."""
    if () in values:
        return values[()]
    below: dict[str | int, dict[Path, Node]] = {}
    for path, value in values.items():
        below.setdefault(path[0], {})[path[1:]] = value
    if isinstance(node, Sequence):
        items = tuple(with_values(item, below[i]) if i in below else item for i, item in enumerate(node.items))
        return Sequence(items, node.span, node.size, node.depth, node.tag)
    if isinstance(node, Scalar) or not below:
        return node
    entries = tuple(
        entry.with_value(with_values(entry.value, below[entry.key])) if entry.key in below else entry
        for entry in node.entries
    )
    return Table(entries, node.span, node.size, node.depth, node.tag)


def table_of(entries: tuple[Entry, ...], span: Span, tag: str = "") -> Table:
    """A map of these entries, counted."""
    size = 1 + sum(entry.value.size for entry in entries)
    return Table(entries, span, size, 1 + max((entry.value.depth for entry in entries), default=0), tag)
