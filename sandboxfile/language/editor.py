"""Where a change of one sandbox's policy goes in the text of a file, and how it is written there. Called by `edit`.

Only inserts, or replaces the one value that it is about: comments, quotes, anchors, indentation and line ends stay as
they are. Aliases and merge keys are seen as they are written, unlike in the tree of `document`.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sandboxfile.diagnostics import Diagnostic, Span, error
from sandboxfile.language.document import tokens
from sandboxfile.language.scalars import plain_value
from sandboxfile.language.tree import Node, find

FIELDS = ("allow", "block", "bypass")
_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?(:[0-9]+)?\Z")
_BREAK = re.compile(r"\r\n|\n|\r")
STEP = 2  # columns of indentation where the file shows none


class Refused(Exception):
    """The edit cannot be made without changing something else; `problem` says why, and what to do instead."""

    def __init__(self, problem: Diagnostic) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def refuse(detail: str, span: Span | None, hint: str) -> NoReturn:
    """Give up this edit."""
    raise Refused(error("Cannot edit", detail, span, hint))


# --- what stands where -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Part:
    """A thing in the text. `end` of a block is that of the last thing in it. `pairs` are keys with their values."""

    kind: str
    start: int
    end: int
    flow: bool
    value: str
    items: "list[Part]" = field(default_factory=list)

    @property
    def pairs(self) -> "list[tuple[Part, Part]]":
        return list(zip(self.items[::2], self.items[1::2], strict=True))

    def get(self, key: str) -> "tuple[Part, Part] | None":
        return next((pair for pair in self.pairs if pair[0].kind == "scalar" and pair[0].value == key), None)


def parts(text: str) -> Part:
    """The tree of a whole text, aliases and merge keys as they are written."""
    root = Part("list", 0, 0, True, "")
    opened = [root]
    for token in tokens(text):
        if token.kind == "end":
            closed = opened.pop()
            closed.end = token.end if closed.flow else closed.items[-1].end
            continue
        part = Part(token.kind, token.start, token.end, token.flow, token.value)
        parent = opened[-1]
        if part.start == part.end and parent.kind == "map" and len(parent.items) % 2:
            part.start = part.end = _after_colon(text, parent.items[-1].end)  # a value that is not written
        parent.items.append(part)
        if part.kind in ("map", "list"):
            opened.append(part)
    return root.items[0]


def _after_colon(text: str, offset: int) -> int:
    found = re.compile(r"\s*:").match(text, offset)
    return found.end() if found else offset


# --- the edit ----------------------------------------------------------------------------------------------------


class Editor:
    """Collects what is to be put where; `edited` puts it there."""

    def __init__(self, text: str, root: Node, sandbox: str) -> None:
        self.text = text
        self.root = root
        self.sandbox = sandbox
        self.changes: list[tuple[int, int, str]] = []
        found = _BREAK.search(text)
        self.newline = found.group() if found else "\n"
        located = find(root, ("sandboxes", sandbox, "policy")) or find(root, ("sandboxes", sandbox))
        self.span = located and (located[1] or located[0].span)

    def edited(self, before: Any, meant: Any) -> str:
        """The text with the policy of `meant`."""
        old = (before["sandboxes"][self.sandbox] or {}).get("policy")
        new = meant["sandboxes"][self.sandbox]["policy"]
        parent, key, body = self._sandbox()
        if body.kind == "map" and (pair := body.get("policy")):
            self._change_policy(body, pair, old, new)
        elif isinstance(old, dict):
            self.refuse_shared("comes with a merge key")
        elif body.kind == "map":
            self._add_entry(body, key, "policy", new)
        else:
            self._fill(parent, key, body, {"policy": new})
        result = self.text
        for start, end, replacement in sorted(reversed(self.changes), key=lambda change: change[0], reverse=True):
            result = result[:start] + replacement + result[end:]
        return result

    def _sandbox(self) -> "tuple[Part, Part, Part]":
        """The map that has the sandbox, its key and its value."""
        part = parts(self.text)
        for name in ("sandboxes", self.sandbox):
            pair = part.get(name) if part.kind == "map" else None
            if pair is None or pair[1].kind not in ("map", "scalar"):
                self.refuse_shared("is an alias, or comes with one")
            parent, (key, part) = part, pair
        return parent, key, part

    def refuse_shared(self, how: str) -> NoReturn:
        detail = f"The policy of `{self.sandbox}` {how}: what is written there counts elsewhere as well."
        hint = "put what is shared under `policies:`, and write `policy: {extends: NAME}` where it is used"
        refuse(detail, self.span, hint)

    def _change_policy(self, body: Part, pair: "tuple[Part, Part]", old: Any, new: dict[str, Any]) -> None:
        key, value = pair
        if value.kind == "map":
            self._change_fields(key, value, old, new)
        elif isinstance(old, dict):
            self.refuse_shared("is an alias")
        elif old is None:
            self._fill(body, key, value, new)
        else:
            raw = self.text[value.start : value.end]  # with its quotes, its anchor, or the alias that it is
            self._fill(body, key, value, {**new, "extends": Raw(raw)})

    def _change_fields(self, key: Part, policy: Part, old: dict[str, Any], new: dict[str, Any]) -> None:
        missing = {}
        for name, value in new.items():
            pair = policy.get(name)
            if value == old.get(name):
                continue
            if pair is None and name != "mode" and name in old:
                self.refuse_shared("has a list that comes with a merge key")
            if pair is None:
                missing[name] = value
            elif name == "mode":
                space = " " if pair[1].start == pair[1].end else ""
                self._put(pair[1].start, pair[1].end, space + value)
            else:
                self._extend_list(policy, pair, value[len(old[name] or []) :])
        for name, value in missing.items():
            self._add_entry(policy, key, name, value)

    def _extend_list(self, policy: Part, pair: "tuple[Part, Part]", items: list[Any]) -> None:
        key, value = pair
        if value.kind == "alias":
            self.refuse_shared("has a list that is an alias")
        elif value.kind == "scalar":
            self._fill(policy, key, value, items)
        elif value.flow:
            last = value.items[-1] if value.items else None
            self._extend_flow(value, (last.start, last.end) if last else None, [flow(item) for item in items])
        else:
            start = value.items[-1].start
            dash = re.fullmatch(r"( *)-[ \t]+", self.text[self._line_start(start) : start])
            if dash is None:
                refuse("The list is written in a way that this program cannot edit.", self.span, "edit it by hand")
            self._put_lines(value.end, [f"{dash[1]}- {flow(item)}" for item in items])

    def _add_entry(self, table: Part, key: Part, name: str, value: Any) -> None:
        """A new entry at the end of a map."""
        if table.flow:
            last = table.pairs[-1] if table.items else None
            self._extend_flow(table, (last[0].start, last[1].end) if last else None, [f"{name}: {flow(value)}"])
            return
        column = self._column(table.items[0].start)
        step = max(column - self._column(key.start), 1)
        self._put_lines(table.end, block({name: value}, column, step))

    def _fill(self, parent: Part, key: Part, old: Part, value: Any) -> None:
        """Give a key another value than its scalar."""
        colon = _after_colon(self.text, key.end)
        start = colon if _BREAK.search(self.text, colon, old.start) is None else old.start  # comments stay
        if parent.flow:
            missing = ":" if colon == key.end else ""
            self._put(start, old.end, f"{missing} {flow(value)}")
            return
        column = self._column(key.start)
        self._put(start, old.end, "")
        self._put_lines(old.end, block(value, column + self._step(parent), self._step(parent)))

    def _step(self, parent: Part) -> int:
        """How far the values of this map are indented, as far as one of them shows it."""
        for key, value in parent.pairs:
            if value.kind == "map" and not value.flow:
                return max(self._column(value.items[0].start) - self._column(key.start), 1)
        return STEP

    def _extend_flow(self, part: Part, last: tuple[int, int] | None, items: list[str]) -> None:
        """Put items at the end of a flow list or map; each on a line of its own where the last one has one."""
        if last is None:
            self._put(part.end - 1, part.end - 1, ", ".join(items))
            return
        start, end = last
        margin = self.text[self._line_start(start) : start]
        rest = re.compile(r"[ \t]*(,?)[ \t]*(#[^\r\n]*)?(?=[\r\n])").match(self.text, end)
        if margin.strip(" \t") or rest is None:
            self._put(end, end, "".join(f", {item}" for item in items))
            return
        comma = rest[1]
        if not comma:
            self._put(end, end, ",")
        self._put_lines(end, [f"{margin}{item}," for item in items[:-1]] + [f"{margin}{items[-1]}{comma}"])

    def _put(self, start: int, end: int, text: str) -> None:
        self.changes.append((start, end, text))

    def _put_lines(self, after: int, lines: Iterable[str]) -> None:
        """Insert lines below the one in which a thing ends."""
        if after and self.text[after - 1] in "\r\n":  # a block scalar ends with its line
            after -= 2 if self.text[after - 2 : after] == "\r\n" else 1
        found = _BREAK.search(self.text, after)
        place = found.start() if found else len(self.text)
        self._put(place, place, "".join(self.newline + line for line in lines))

    def _line_start(self, offset: int) -> int:
        return max(self.text.rfind("\n", 0, offset), self.text.rfind("\r", 0, offset)) + 1

    def _column(self, offset: int) -> int:
        return offset - self._line_start(offset)


# --- values as text ----------------------------------------------------------------------------------------------


class Raw(str):
    """Text that is YAML already."""

    __slots__ = ()


def block(value: Any, column: int, step: int) -> list[str]:
    """Lines of a value in block style. Rules stay on one line each."""
    margin = " " * column
    if isinstance(value, list):
        return [f"{margin}- {flow(item)}" for item in value]
    lines = []
    for key, inner in _ordered(value):
        if isinstance(inner, dict | list):
            lines += [f"{margin}{key}:", *block(inner, column + step, step)]
        else:
            lines.append(f"{margin}{key}: {flow(inner)}")
    return lines


def flow(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(inner)}" for key, inner in _ordered(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(inner) for inner in value) + "]"
    if isinstance(value, str) and not (_PLAIN.match(value) and plain_value(value) == value):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _ordered(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Entries in the order of the language's page; others as they come."""
    rank = {name: position for position, name in enumerate(("extends", "mode", *FIELDS))}
    return sorted(value.items(), key=lambda entry: rank.get(entry[0], -1))
