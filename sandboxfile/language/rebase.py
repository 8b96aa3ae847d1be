"""Paths of a file in another directory, as paths that count from the first file's. Called by `language.loading`."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sandboxfile.language.tree import Node, Scalar, Sequence, table_of

_TAR = "tar:"
# Where paths stand: below a key, below any key (`*`), in a list (`[]`), in its first item (`[0]`), as text (the empty
# key, whose value is the kind of path).
_PATH = {"": "path"}
_SANDBOX = {
    "workspaces": {"[]": {"": "path", "source": _PATH}},
    "env_file": {"": "path", "[]": _PATH},
    "extends": {"file": _PATH},
}
_TEMPLATE = {
    "base": {"": "base"},
    "build": {"": "path", "context": _PATH},
    "files": {"[]": {"source": _PATH}},
}
_SECRET = {"file": _PATH, "command": {"[0]": {"": "program"}}}
_FILE = {
    "defaults": _SANDBOX,
    "sandboxes": {"*": _SANDBOX},
    "templates": {"*": _TEMPLATE},
    "secrets": {"*": _SECRET},
}


def rebased(root: Node, prefix: str) -> Node:
    """The tree of a file in the directory `prefix`: each relative path in it with that before."""
    return _rebased(root, _FILE, prefix) if prefix else root


def _rebased(node: Node, places: Mapping[str, Any], prefix: str) -> Node:
    if isinstance(node, Scalar):
        moved = isinstance(node.value, str) and node.value and places.get("")
        return replace(node, value=_moved(str(node.value), prefix, str(moved))) if moved else node
    if isinstance(node, Sequence):
        below = [places.get("[0]" if index == 0 and "[0]" in places else "[]", {}) for index in range(len(node.items))]
        items = (_rebased(item, each, prefix) for item, each in zip(node.items, below, strict=True))
        return replace(node, items=tuple(items))
    entries = (
        entry.with_value(_rebased(entry.value, places.get(entry.key or "*", places.get("*", {})), prefix))
        for entry in node.entries
    )
    return table_of(tuple(entries), node.span, node.tag)


def _moved(written: str, prefix: str, kind: str) -> str:
    if kind == "base":
        return _TAR + _joined(prefix, written.removeprefix(_TAR)) if written.startswith(_TAR) else written
    if kind == "program" and "/" not in written:
        return written  # looked up, not a path
    return _joined(prefix, written)


def _joined(prefix: str, written: str) -> str:
    return written if written.startswith(("/", "~")) else posixpath.join(prefix, written)
