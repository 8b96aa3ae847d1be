"""Edits of a sandbox file that leave everything else byte for byte as it is: text in, text out. Writes no file.

An edit is checked rather than trusted: the new text is parsed, and must say what the old one said, but for what was
asked. What cannot be done so (a policy that an alias shares with another sandbox) is refused, with a hint.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from sandboxfile.diagnostics import Diagnostics, Span, error
from sandboxfile.language.document import parse
from sandboxfile.language.editor import FIELDS, Editor, Refused, refuse
from sandboxfile.language.merge import TAGS
from sandboxfile.language.tree import Node, Table, find
from sandboxfile.language.tree import Sequence as List

Item = str | Mapping[str, str | int | tuple[str, ...]]  # a rule: a pattern, or a map as in the file


def add_rules(
    text: str,
    filename: str,
    sandbox: str,
    *,
    allow: Sequence[Item] = (),
    block: Sequence[Item] = (),
    bypass: Sequence[Item] = (),
    mode: str | None = None,
    extends: str | None = None,
) -> tuple[str | None, Diagnostics]:
    """The file, which must be valid, with these rules in the policy of one sandbox; what is there is not written twice.

    A policy that is named becomes one that `extends` it. `extends` is the policy that a sandbox without one of its
    own has nevertheless (from `defaults`, or the user's default), to be kept. None with errors: nothing to write.
    """
    document, problems = parse(text, filename, tags=TAGS)
    if document is None or not document.whole:
        return None, problems
    found = find(document.root, ("sandboxes", sandbox))
    if found is None:
        detail = f"There is no sandbox `{sandbox}` in {filename}."
        return None, (error("Unknown sandbox", detail, document.root.span, "edit the file that has it"),)
    wanted = dict(zip(FIELDS, ([_data(item) for item in items] for items in (allow, block, bypass)), strict=True))
    before = plain(document.root)
    meant = _meant(before, sandbox, wanted, mode, extends)
    if meant == before:
        return text, ()
    try:
        editor = Editor(text, document.root, sandbox)
        edited = editor.edited(before, meant)
        _check(edited, filename, sandbox, meant, editor.span)
    except Refused as refused:
        return None, (refused.problem,)
    return edited, ()


# --- what is meant -----------------------------------------------------------------------------------------------


def plain(node: Node) -> Any:
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    return [plain(item) for item in node.items] if isinstance(node, List) else node.value


def _data(item: Item) -> Any:
    if isinstance(item, str):
        return item
    return {key: list(value) if isinstance(value, tuple) else value for key, value in item.items()}


def _meant(
    before: Any, sandbox: str, wanted: Mapping[str, list[Any]], mode: str | None, extends: str | None
) -> dict[str, Any]:
    """The whole file as it should be understood afterwards."""
    meant: dict[str, Any] = deepcopy(before)
    body = meant["sandboxes"][sandbox] or {}
    policy = _policy(body.get("policy"), extends)
    for name, items in wanted.items():
        there = policy.get(name) or []
        if new := [item for item in items if item not in there]:
            policy[name] = [*there, *new]
    if mode is not None:
        policy["mode"] = mode
    if policy != _policy(body.get("policy"), extends):
        meant["sandboxes"][sandbox] = {**body, "policy": policy}
    return meant


def _policy(value: Any, extends: str | None) -> dict[str, Any]:
    if isinstance(value, dict):
        return dict(value)
    name = value if isinstance(value, str) else extends
    return {"extends": name} if name else {}


def _check(edited: str, filename: str, sandbox: str, meant: Any, span: Span | None) -> None:
    """Refuse an edit that means anything else than it should."""
    document, _ = parse(edited, filename, tags=TAGS)
    if document is not None and document.whole and (after := plain(document.root)) == meant:
        return
    by_hand = f"edit the policy of `{sandbox}` by hand"
    if document is not None and document.whole and _without(after, sandbox) != _without(meant, sandbox):
        detail = f"An edit of the policy of `{sandbox}` would change what shares it through an anchor."
        refuse(detail, span, f"{by_hand}, or put what is shared under `policies:` and write `extends: NAME`")
    refuse(f"The policy of `{sandbox}` is written in a way that this program cannot edit.", span, by_hand)


def _without(whole: Any, sandbox: str) -> Any:
    rest = deepcopy(whole)
    (rest["sandboxes"].get(sandbox) or {}).pop("policy", None)
    return rest
