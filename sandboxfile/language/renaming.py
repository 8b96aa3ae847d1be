"""Another name for a sandbox in a file, with every reference to it; everything else stays byte for byte as it is.

As `edit`: text in, text out; the edit is checked rather than trusted, and what cannot be done so is refused.
"""

from copy import deepcopy
from typing import Any

from sandboxfile.diagnostics import Diagnostics, error
from sandboxfile.language.document import parse
from sandboxfile.language.edit import plain
from sandboxfile.language.editor import Part, Refused, flow, parts, refuse
from sandboxfile.language.merge import TAGS
from sandboxfile.language.tree import find


def rename_sandbox(text: str, filename: str, old: str, new: str) -> tuple[str | None, Diagnostics]:
    """The file, which must be valid, with the sandbox `old` called `new`. None with errors: nothing to write.

    References are `depends_on` and `extends` of the file's other sandboxes.
    """
    document, problems = parse(text, filename, tags=TAGS)
    if document is None or not document.whole:
        return None, problems
    there = find(document.root, ("sandboxes", old))
    if there is None:
        detail = f"There is no sandbox `{old}` in {filename}."
        return None, (error("Unknown sandbox", detail, document.root.span, "edit the file that has it"),)
    if find(document.root, ("sandboxes", new)) is not None:
        detail = f"There is a sandbox `{new}` in {filename} already."
        return None, (error("Name taken", detail, there[1], "choose another name"),)
    edited = text
    for part in reversed(_places(parts(text), old)):
        edited = edited[: part.start] + flow(new) + edited[part.end :]
    after, _ = parse(edited, filename, tags=TAGS)
    try:
        if after is None or not after.whole or plain(after.root) != _meant(plain(document.root), old, new):
            hint = f"rename `{old}` by hand; `sbx rename` then is not needed for one that can be made anew"
            refuse(f"`{old}` is written in a way that this program cannot edit.", there[1], hint)
    except Refused as refused:
        return None, (refused.problem,)
    return edited, ()


def _places(root: Part, old: str) -> list[Part]:
    """Where the name stands, in the order of the text."""
    found = []
    for key, body in _map(_value(root, "sandboxes")):
        found += [key] if key.value == old else []
        for name in ("depends_on", "extends"):
            found += _references(_value(body, name), old, name)
    return sorted(found, key=lambda part: part.start)


def _references(value: Part | None, old: str, field: str) -> list[Part]:
    """`db`, `[db, web]`, `{db: {}}` of depends_on; `base`, `{sandbox: base}` of extends."""
    if value is None:
        return []
    if value.kind == "map" and field == "extends":
        here = value.get("file") is None
        named = value.get("sandbox")
        return [named[1]] if here and named is not None and named[1].value == old else []
    inside = {"map": [key for key, _ in _map(value)], "list": value.items}.get(value.kind, [value])
    return [part for part in inside if part.kind == "scalar" and part.value == old]


def _value(part: Part | None, key: str) -> Part | None:
    pair = part.get(key) if part is not None and part.kind == "map" else None
    return pair[1] if pair is not None else None


def _map(part: Part | None) -> list[tuple[Part, Part]]:
    return part.pairs if part is not None and part.kind == "map" else []


# --- what is meant -----------------------------------------------------------------------------------------------


def _meant(before: Any, old: str, new: str) -> Any:
    meant = deepcopy(before)
    meant["sandboxes"] = {new if name == old else name: body for name, body in meant["sandboxes"].items()}
    for body in meant["sandboxes"].values():
        if isinstance(body, dict):
            _refer(body, old, new)
    return meant


def _refer(body: dict[str, Any], old: str, new: str) -> None:
    match body.get("depends_on"):
        case dict() as table:
            body["depends_on"] = {new if name == old else name: rest for name, rest in table.items()}
        case list() as names:
            body["depends_on"] = [new if name == old else name for name in names]
    match body.get("extends"):
        case {"sandbox": sandbox, **rest} if sandbox == old and "file" not in rest:
            body["extends"] = {"sandbox": new, **rest}
        case str() as name if name == old:
            body["extends"] = new
