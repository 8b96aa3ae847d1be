"""Trees of several files into one, as Compose does: maps merge, scalars replace, lists append without repeats.

What stands for the same thing is one item: workspaces, volumes, files and ports by their target. A command is replaced.
`!override` replaces whatever is beneath, `!reset` removes it; both stay on their node until `settled`, so that a tree
can be merged upon others later and it comes to the same. Every node keeps the place it was written at.

Called by `language.loading`. Pure; knows of files only what their spans say.
"""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.language.tree import Entry, Node, Scalar, Sequence, Table, find, table_of
from sandboxfile.model.spec import MODES, Path

OVERRIDE, RESET = TAGS = ("!override", "!reset")


def merge(beneath: Node, above: Node, path: Path = ()) -> Node:
    """One tree of two. `path` is where they stand, which decides what a list or a text means."""
    if above.tag:
        return above
    if beneath.tag == RESET:
        return replace(above, tag=OVERRIDE)
    merged = _merged(_in_full(beneath, path), _in_full(above, path), path)
    return replace(merged, tag=beneath.tag) if beneath.tag else merged


def settled(root: Node) -> tuple[Node, Diagnostics]:
    """The tree without marks: what is marked `!reset` is not there."""
    problems: list[Diagnostic] = []
    if root.tag:
        problems.append(_misplaced(root, "the whole file"))
    return _settled(root, problems), tuple(problems)


def check_enforced(beneath: Node, above: Node) -> Iterator[Diagnostic]:
    """An enforced policy is that of one file: whatever another one, beneath or above, says of it is wrong."""
    cleared = next((found for path in ((), ("policies",)) if (found := find(above, path)) and found[0].tag), None)
    for entry in _enforced(beneath):
        found = find(above, ("policies", entry.key)) or cleared
        if found and found[0].span != entry.value.span:
            yield _not_alone(entry, found[1] or found[0].span)
    for entry in _enforced(above):
        found = find(beneath, ("policies", entry.key))
        if found and found[0].span != entry.value.span:
            yield _not_alone(entry, found[1] or found[0].span)


def _enforced(root: Node) -> Iterator[Entry]:
    policies = find(root, ("policies",))
    for entry in policies[0].entries if policies and isinstance(policies[0], Table) else ():
        enforce = find(entry.value, ("enforce",))
        # A variable brings text, which is cast later.
        if enforce and not (isinstance(enforce[0], Scalar) and enforce[0].value in (False, "false")):
            yield entry


def _not_alone(entry: Entry, where: Span) -> Diagnostic:
    place = entry.key_span
    detail = f"`{entry.key}` is enforced by {place.file}:{place.line}, and no other file may have a word in it."
    return error("Enforced policy changed", detail, where, "a policy of another name holds as well: both must allow")


# --- two nodes ---------------------------------------------------------------------------------------------------


def _merged(beneath: Node, above: Node, path: Path) -> Node:
    if isinstance(beneath, Table) and isinstance(above, Table):
        return _tables(beneath, above, path)
    if isinstance(beneath, Sequence) and isinstance(above, Sequence) and path[-1:] != ("command",):
        return _lists(beneath, above, path)
    return above


def _tables(beneath: Table, above: Table, path: Path) -> Table:
    entries = {entry.key: entry for entry in beneath.entries}
    for entry in above.entries:
        under = entries.get(entry.key)
        value = merge(under.value, entry.value, (*path, entry.key)) if under else entry.value
        entries[entry.key] = Entry(entry.key, entry.key_span, value)
    return table_of(tuple(entries.values()), above.span, above.tag)


def _lists(beneath: Sequence, above: Sequence, path: Path) -> Sequence:
    """In place where an item is the same as one beneath, else after them. What one file repeats stays repeated."""
    identity = _IDENTITIES.get(str(path[-1]) if path else "", _itself)
    places: dict[str, int] = {}
    items: list[Node] = []
    for item in beneath.items:
        places.setdefault(identity(item), len(items))
        items.append(item)
    for item in above.items:
        place = places.pop(identity(item), None)
        if place is None:
            items.append(item)
        else:
            items[place] = merge(items[place], item, (*path, 0))
    depth = 1 + max((item.depth for item in items), default=0)
    return Sequence(tuple(items), above.span, 1 + sum(item.size for item in items), depth)


def _in_full(node: Node, path: Path) -> Node:
    """A short form as the long one, so that two of one field can be merged."""
    if isinstance(node, Sequence) and path[-1:] in (("env",), ("depends_on",)):
        return _variables(node) if path[-1] == "env" else _dependencies(node)
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return node
    if path[-1:] == ("env_file",) or (path[-1:] == ("extends",) and (path[0] == "policies" or path[-2] == "policy")):
        return Sequence((node,), node.span, 2, 2)
    return _workspace(node, node.value) if path[-2:] == ("workspaces", 0) else node


def _variables(node: Sequence) -> Node:
    """`[NAME=VALUE]` as a map; as it is when that is no list of variables."""
    entries: dict[str, Entry] = {}
    for item in node.items:
        if not isinstance(item, Scalar) or not isinstance(item.value, str) or item.tag:
            return node
        name, equals, value = item.value.partition("=")
        if name in entries:
            return node
        entries[name] = Entry(name, item.span, replace(item, value=value if equals else None))
    return table_of(tuple(entries.values()), node.span)


def _dependencies(node: Sequence) -> Node:
    """`[NAME]` as a map. As in Compose the short form says `started`, also of what another file waits for longer."""
    entries: dict[str, Entry] = {}
    for item in node.items:
        if not isinstance(item, Scalar) or not isinstance(item.value, str) or item.tag:
            return node
        condition = Entry("condition", item.span, replace(item, value="started"))
        entries[item.value] = Entry(item.value, item.span, table_of((condition,), item.span))
    return table_of(tuple(entries.values()), node.span)


def _workspace(node: Scalar, text: str) -> Node:
    """`PATH[:TARGET][:ro|rw]` as a map; as it is when it has another form."""
    source, *rest = text.split(":")
    mode = [rest.pop()] if rest and rest[-1] in MODES else []
    if len(rest) > 1:
        return node
    fields = {"source": [source], "target": rest, "mode": mode}
    entries = (Entry(key, node.span, replace(node, value=found[0])) for key, found in fields.items() if found)
    return table_of(tuple(entries), node.span)


# --- what is the same item ---------------------------------------------------------------------------------------


def _itself(item: Node) -> str:
    return repr(_plain(item))


def _plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {entry.key: _plain(entry.value) for entry in node.entries}
    return [_plain(item) for item in node.items] if isinstance(node, Sequence) else node.value


def _by_target(item: Node) -> str:
    """Of a workspace without a target, its source: they are the same path."""
    if isinstance(item, Scalar) and isinstance(item.value, str):
        item = _workspace(item, item.value)
    target, source = _text(item, "target"), _text(item, "source")
    if not target and not source:
        return _itself(item)
    return posixpath.normpath(target or source)


def _by_port(item: Node) -> str:
    """The port inside."""
    if isinstance(item, Scalar) and isinstance(item.value, str):
        return item.value.rpartition(":")[2]
    return _text(item, "guest") or _itself(item)


def _by_volume_target(item: Node) -> str:
    if isinstance(item, Scalar) and isinstance(item.value, str):
        target = item.value.partition(":")[2].partition(":")[0]
    else:
        target = _text(item, "target")
    return posixpath.normpath(target) if target else _itself(item)


def _text(item: Node, field: str) -> str:
    found = find(item, (field,))
    return str(found[0].value or "") if found and isinstance(found[0], Scalar) else ""


_IDENTITIES: dict[str, Callable[[Node], str]] = {
    "workspaces": _by_target,
    "files": _by_target,
    "volumes": _by_volume_target,
    "ports": _by_port,
}


# --- marks -------------------------------------------------------------------------------------------------------


def _settled(node: Node, problems: list[Diagnostic]) -> Node:
    if isinstance(node, Scalar):
        return replace(node, tag="") if node.tag else node
    if isinstance(node, Sequence):
        problems += [_misplaced(item, "an item of a list") for item in node.items if item.tag]
        items = tuple(_settled(item, problems) for item in node.items)
        return Sequence(items, node.span, node.size, node.depth)
    kept = (entry for entry in node.entries if entry.value.tag != RESET)
    return table_of(tuple(entry.with_value(_settled(entry.value, problems)) for entry in kept), node.span)


def _misplaced(node: Node, what: str) -> Diagnostic:
    detail = f"`{node.tag}` is for a field; this is {what}."
    return error("Tag not applicable", detail, node.span, "write it before the value of a field: `ports: !reset []`")
