"""What an agent left in the workspaces that would run on this host afterwards: compared with how it was before.

`remember` writes down digests of what acts (`review_tree` finds it) when a sandbox first has a workspace; `compare`
says what is new, changed or gone since; `accept` writes down what somebody has looked at. Only `rw` workspaces: nothing
is written in others. A workspace of which nothing was written down has nothing old: all of it is new. Blocking.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sandboxfile.errors import StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.review_rules import WHY, Kind
from sandboxfile.host.review_tree import Item, look_through
from sandboxfile.model.desired import Workspace

VERSION = 1
Change = Literal["new", "changed", "gone"]
_Items = Mapping[tuple[str, str], Item]  # by path in the workspace, and part


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One file, or one part of it (a setting, a script). `path` is absolute; its text may have control characters."""

    path: str
    part: str
    kind: Kind
    change: Change
    why: str


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all workspaces: what differs from what was written down, and what to write down now."""

    findings: tuple[Finding, ...]
    seen: Mapping[str, _Items]


def remember(paths: SandboxPaths, workspaces: Iterable[Workspace]) -> None:
    """Write down what acts in the workspaces of which that has not been done. Raises StateError, OSError."""
    known = _read(paths)
    if new := [source for source in _sources(workspaces) if source not in known]:
        _write(paths, {**known, **{source: look_through(source).items for source in new}})


def compare(paths: SandboxPaths, workspaces: Iterable[Workspace]) -> list[Finding]:
    """What has changed since, sorted; what could not be looked at is always among it. Raises StateError."""
    return list(look(paths, workspaces).findings)


def look(paths: SandboxPaths, workspaces: Iterable[Workspace], *, forget: bool = False) -> Look:
    """The same, to be accepted afterwards. With `forget` everything is new. Raises StateError."""
    known = {} if forget else _read(paths)
    found: list[Finding] = []
    seen: dict[str, _Items] = {}
    for source in _sources(workspaces):
        there = look_through(source)
        seen[source] = there.items
        found += _differences(source, known.get(source, {}), there.items)
        for path, why in there.omitted.items():
            found.append(Finding(_absolute(source, path), "", "not looked at", "new", why))
    return Look(tuple(sorted(found)), {**known, **seen})


def accept(paths: SandboxPaths, looked: Look) -> None:
    """Somebody has seen these findings, and no later ones: write down what was there then. Raises OSError."""
    _write(paths, looked.seen)


def _differences(source: str, before: _Items, now: _Items) -> list[Finding]:
    found = []
    for path, part in before.keys() | now.keys():
        old, new = before.get((path, part)), now.get((path, part))
        if old == new:
            continue
        change: Change = "new" if old is None else "gone" if new is None else "changed"
        item = new or old
        assert item is not None
        found.append(Finding(_absolute(source, path), part, item.kind, change, WHY[item.kind]))
    return found


def _sources(workspaces: Iterable[Workspace]) -> list[str]:
    return sorted({workspace.source for workspace in workspaces if workspace.mode == "rw"})


def _absolute(source: str, path: str) -> str:
    return f"{source.rstrip('/')}/{path}" if path else source


# --- the record --------------------------------------------------------------------------------------------------


def _write(paths: SandboxPaths, known: Mapping[str, _Items]) -> None:
    workspaces = {
        source: [[path, part, item.kind, item.digest] for (path, part), item in sorted(items.items())]
        for source, items in sorted(known.items())
    }
    write_atomic(paths.review, json.dumps({"version": VERSION, "workspaces": workspaces}).encode())


def _read(paths: SandboxPaths) -> dict[str, _Items]:
    hint = "look through the workspaces yourself, then `sbx review NAME --done` begins anew"
    try:
        fields = json.loads(paths.review.read_bytes())
        if fields["version"] != VERSION:
            raise StateError(f"{paths.review} has version {fields['version']}; this program knows {VERSION}", hint=hint)
        return {source: _items(entries) for source, entries in fields["workspaces"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise StateError(f"what was written down of the workspaces cannot be read: {paths.review}", hint=hint) from exc


def _items(entries: Iterable[tuple[str, str, Kind, str]]) -> _Items:
    return {(path, part): Item(kind, digest) for path, part, kind, digest in entries if kind in WHY}
