"""What sandbox files held when a person approved them, and which directories sandboxes could ever write to.

Both in one record of this user, by absolute path; a directory also by what it is for the kernel, and so known again
where it was moved. It stays on record when its sandbox is deleted: what an agent left behind in there is as doubtful as
before. `planning.trusting` has the rule, `cli.trusting` asks. What cannot be
read approves nothing, and stops whoever asks.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import locked_shortly, private_directory, read_record, sandbox_directories
from sandboxfile.host.ways import Identity, identity, known_again
from sandboxfile.host.ways import way as way
from sandboxfile.model.desired import FileContent, Workspace
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import ABSENT, Doubt, Guards, doubts, guards, is_guarded, not_as_approved

VERSION = 1
ENTRIES = 4096  # of each kind; beyond them, what is gone from the disk is forgotten
_SIZE_LIMIT = 16 << 20  # bytes
_EVERYWHERE = "/"  # what a sandbox has whose record cannot be read


@dataclass(frozen=True, slots=True)
class Trust:
    """`approved`: digests by path; `opened`: those of them that a sandbox could have written since they were approved.

    `exposed`: directories that a sandbox has, or had, `rw`, and what these are.
    """

    approved: Mapping[str, str] = field(default_factory=dict)
    exposed: frozenset[str] = frozenset()
    opened: frozenset[str] = frozenset()
    identities: tuple[Identity, ...] = ()  # the latest last


def find_doubts(layout: Layout, files: Iterable[FileContent]) -> tuple[Doubt, ...]:
    """Which of these files have to be looked at. Raises StateError."""
    trust = read_trust(layout)
    different = not_as_approved(files, trust.approved)
    if not different:
        return ()  # nobody's record has to be read
    ways = {file.path: way(file.path) for file in different}
    moved = known_again(trust.identities, {place for passed in ways.values() for place in passed})
    now = _recorded(layout, (SandboxId(project, name) for project, name in sandbox_directories(layout)))
    plain = [path for path, passed in ways.items() if passed[-1] == os.path.normpath(path)]  # through no link
    guarded = [path for path in plain if path not in trust.opened and is_guarded(path, now)]
    return doubts(different, trust.approved, ways, trust.exposed | moved | now.keys(), guarded)


def remembered(layout: Layout, ids: Iterable[SandboxId]) -> Guards:
    """The directories that the records of these sandboxes name, before those are gone.

    A record that cannot be read says nothing here: to remember the whole host would put all files in doubt for good.
    """
    found = _recorded(layout, ids)
    return {directory: protected for directory, protected in found.items() if directory != _EVERYWHERE}


def _recorded(layout: Layout, ids: Iterable[SandboxId]) -> Guards:
    """What sandboxes on record can write to, and what not; everything, when a record cannot be read."""
    workspaces: list[Workspace] = []
    for paths in map(layout.sandbox, ids):
        try:
            workspaces += read_record(paths).spec.workspaces
        except StateError:
            if paths.root.exists():
                workspaces.append(Workspace(_EVERYWHERE, _EVERYWHERE))
    return guards(workspaces)


# --- the record --------------------------------------------------------------------------------------------------


def read_trust(layout: Layout) -> Trust:
    """All that is on record. Raises StateError when the file is anything but one of ours: then nothing is approved."""
    path = layout.trust
    hint = f"look at it; without it (rm {path}) nothing is approved, and `sbx trust` approves anew"
    try:
        fields = json.loads(read_file(path, owners=frozenset({os.geteuid()}), limit=_SIZE_LIMIT))
        version, approved, exposed = fields["version"], fields["approved"], fields["exposed"]
        if version != VERSION:
            raise StateError(f"{path} has version {version}; this program knows {VERSION}", hint=hint)
        if not isinstance(approved, dict) or not isinstance(exposed, list):
            raise ValueError("no lists")
        known = tuple(_identity(entry) for entry in fields.get("identities", ()))
        digests = {_text(key): _text(value, "sha256:") for key, value in approved.items()}
        return Trust(digests, _all(exposed), _all(fields["opened"]), known)
    except NotFoundError:
        return Trust()
    except (HostError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise StateError(f"what was approved of sandbox files cannot be read: {path}: {exc}", hint=hint) from exc


def approve(layout: Layout, files: Iterable[FileContent]) -> None:
    """Let these be what was approved, each instead of what its path had before. Raises StateError."""
    now = {file.path: file.digest for file in files}
    if now:

        def change(trust: Trust) -> Trust:
            return replace(trust, approved=_without_absent({**trust.approved, **now}), opened=trust.opened - now.keys())

        _change(layout, change)


def carry_over(layout: Layout, before: FileContent, digest: str) -> None:
    """After sbx itself has changed a file, as it was told to: approved as it is now, if it was as it was.

    Raises StateError.
    """

    def change(trust: Trust) -> Trust:
        if trust.approved.get(before.path, ABSENT) != before.digest:
            return trust
        return replace(trust, approved={**trust.approved, before.path: digest})

    _change(layout, change)


def expose(layout: Layout, opened: Guards, left: Guards = MappingProxyType({}), seen: Iterable[str] = ()) -> None:
    """Remember these directories, before a sandbox can write to them; and which approved files it can write then.

    `left` are those of sandboxes that change or go: what these could write is as doubtful as before, but for files that
    somebody has just `seen`. Raises StateError.
    """
    more = frozenset({**opened, **left})
    looked_at = frozenset(seen)
    if more:
        found = (identity(os.path.realpath(directory)) for directory in sorted(more))
        known = [each for each in found if each is not None]

        def change(trust: Trust) -> Trust:
            every = tuple(dict.fromkeys((*trust.identities, *known)))
            found = {path for path in trust.approved if not is_guarded(path, opened)}
            found |= {path for path in trust.approved if path not in looked_at and not is_guarded(path, left)}
            exposed = trust.exposed | more
            return replace(trust, exposed=exposed, opened=trust.opened | found, identities=every[-ENTRIES:])

        _change(layout, change)


def _change(layout: Layout, change: Callable[[Trust], Trust]) -> None:
    private_directory(layout.state)
    with locked_shortly(layout.trust.with_suffix(".lock")):
        before = read_trust(layout)
        after = change(before)
        if after != before:
            exposed = _remembered(after.exposed)
            approved = {path: after.approved[path] for path in _remembered(after.approved)}
            opened = sorted(after.opened & approved.keys())
            fields: dict[str, Any] = {"version": VERSION, "approved": approved, "exposed": exposed, "opened": opened}
            fields["identities"] = after.identities
            write_atomic(layout.trust, json.dumps(fields, indent=1).encode())


def _remembered(paths: Iterable[str]) -> list[str]:
    """Sorted; when there are too many, without those of temporary directories long gone."""
    every = sorted(paths)
    return every if len(every) <= ENTRIES else [path for path in every if Path(path).exists()]


def _without_absent(approved: Mapping[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in approved.items() if digest != ABSENT}


def _all(entries: list[object]) -> frozenset[str]:
    return frozenset(_text(entry) for entry in entries)


def _identity(entry: object) -> Identity:
    if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(number, int) for number in entry):
        raise ValueError("an entry that is none")
    return Identity(*entry)


def _text(value: object, begin: str = "/") -> str:
    if not isinstance(value, str) or not value.startswith(begin):
        raise ValueError("an entry that is none")
    return value
