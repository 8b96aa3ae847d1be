"""What is said of a file quotes it as it is written, `${TOKEN}`, and not what its variables brought.

Logs of CI and the status of a reconciler have more readers than a `.env` has, and whoever proposes a file could ask for
any value so. Of a message about such a value nothing is kept that may be a part of it. Called by `pipeline`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span
from sandboxfile.language.tree import Scalar

_LONG = 8  # characters: a value that long is looked for in what is said of other places too
_PART = re.compile(r"\w{4,}")

_Taken = Sequence[tuple[str, str]]


def concealed(found: Iterable[Diagnostic], brought: Iterable[Scalar]) -> Diagnostics:
    """The same problems, without the values of the variables that were put into these scalars."""
    nodes: dict[Span | None, Scalar] = {node.span: node for node in brought}
    every = {pair for node in nodes.values() for pair in node.taken if len(pair[1]) >= _LONG}
    long = sorted(every, key=lambda pair: (-len(pair[1]), pair))
    return tuple(_named(_about(item, nodes.get(item.span)), long) for item in found)


def _about(item: Diagnostic, node: Scalar | None) -> Diagnostic:
    if node is None:
        return item
    value = str(node.value)
    item = _replaced(item, value if len(value) >= _LONG else f"`{value}`", node.written, quoted=len(value) < _LONG)
    item = _named(item, [pair for pair in node.taken if len(pair[1]) >= _LONG])
    said = f"{item.detail} {item.hint or ''}".lower()
    for name in (node.written, *(f"${{{name}}}" for name, _ in node.taken)):
        said = said.replace(name.lower(), "")
    if not any(_share_words(said, held.lower()) for _, held in node.taken):
        return item
    detail = f"`{node.written}` cannot stand here with the values that its variables have."
    return replace(item, detail=detail, hint=None)


def _share_words(said: str, value: str) -> bool:
    """Also where either has but a part of a word of the other: values are cut in messages."""
    return any(part in said for part in _PART.findall(value)) or any(part in value for part in _PART.findall(said))


def _named(item: Diagnostic, taken: _Taken) -> Diagnostic:
    for name, value in taken:
        item = _replaced(item, value, f"${{{name}}}")
    return item


def _replaced(item: Diagnostic, value: str, written: str, *, quoted: bool = False) -> Diagnostic:
    if value not in item.detail and value not in (item.hint or ""):
        return item
    to = f"`{written}`" if quoted else written
    return replace(item, detail=item.detail.replace(value, to), hint=item.hint and item.hint.replace(value, to))
