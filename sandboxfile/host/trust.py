"""What sandbox files held when a person approved them, and which directories sandboxes could ever write to.

Both in one record of this user, by absolute path; a directory also by what it is for the kernel, and so known again
where it was moved. It stays on record when its sandbox is deleted: what an agent left behind in there is as doubtful as
before. Files that are read-only inside are sealed (`host.seals`) while no sandbox has their directory: who changes such
a file in place is at the host. `planning.trusting` has the rule, `cli.trusting` asks. What cannot be read approves
nothing, and stops whoever asks. A state directory for a while (`share`) goes by the record of the user's own.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.seals import Seal, look
from sandboxfile.host.statedir import locked_shortly, private_directory, read_record, sandbox_directories
from sandboxfile.host.ways import Identity, identity, known_again
from sandboxfile.host.ways import way as way
from sandboxfile.model.desired import FileContent, Workspace
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import ABSENT, Doubt, Guards, doubts, guards, is_guarded, lies_in, not_as_approved

VERSION = 1
ENTRIES = 4096  # of each kind; beyond them, what is gone from the disk is forgotten
_SIZE_LIMIT = 16 << 20  # bytes
_EVERYWHERE = "/"  # what a sandbox has whose record cannot be read


@dataclass(frozen=True, slots=True)
class Trust:
    """`approved`: digests by path; `seals`: which file it is, of those that no sandbox could ever write to since.

    `exposed`: directories that a sandbox has, or had, `rw`; `identities`: what these are, and those of approved files
    in them.
    """

    approved: Mapping[str, str] = field(default_factory=dict)
    exposed: frozenset[str] = frozenset()
    seals: Mapping[str, Seal] = field(default_factory=dict)
    identities: tuple[Identity, ...] = ()  # the latest last


def find_doubts(layout: Layout, files: Iterable[FileContent]) -> tuple[Doubt, ...]:
    """Which of these files have to be looked at. Raises StateError."""
    trust = read_trust(layout)
    different = not_as_approved(files, trust.approved)
    if not different:
        return ()  # nobody's record has to be read
    ways = {file.path: way(file.path) for file in different}
    moved = known_again(trust.identities, {place for passed in ways.values() for place in passed})
    now = _recorded(layout, _everyone(layout))
    guarded = [
        file.path
        for file in different
        if file.path in trust.seals
        and _is_plain(file.path, ways[file.path])
        and _is_kept(file.path, ways[file.path], now)
        and look(file.path) == (trust.seals[file.path], file.digest)
    ]
    return doubts(different, trust.approved, ways, trust.exposed | moved | now.keys(), guarded)


def _is_plain(path: str, passed: Collection[str]) -> bool:
    """Whether a path is reached through no link."""
    return tuple(passed)[-1] == os.path.normpath(path)


def remembered(layout: Layout, ids: Iterable[SandboxId]) -> Guards:
    """The directories that the records of these sandboxes name, before those are gone.

    A record that cannot be read says nothing here: to remember the whole host would put all files in doubt for good.
    """
    found = _recorded(layout, ids)
    return {directory: protected for directory, protected in found.items() if directory != _EVERYWHERE}


def written_from(layout: Layout, path: str) -> str | None:
    """The directory of a sandbox on record that can write to a file, or turn a way to it, now. None: none can."""
    passed, now = way(path), remembered(layout, _everyone(layout))
    for directory, protected in sorted(now.items()):
        kept = _is_plain(path, passed) and _is_kept(path, passed, {directory: protected})
        if not kept and any(lies_in(place, name) for name in _names(directory, passed) for place in passed):
            return directory
    return None


def _is_kept(path: str, passed: Collection[str], kept: Guards) -> bool:
    """Whether a path is read-only in whatever of these directories it lies, whatever those are called on the way."""
    return all(
        is_guarded(path, {name: protected})
        for directory, protected in kept.items()
        for name in _names(directory, passed)
    )


def _names(directory: str, passed: Collection[str]) -> Iterator[str]:
    """A directory, and what of a way is the same one: a bind mount of it."""
    yield directory
    found = identity(directory)
    yield from known_again((found,) if found is not None else (), passed)


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
        seals = {_text(key): _seal(value) for key, value in fields.get("seals", {}).items()}
        return Trust(digests, _all(exposed), seals, known)
    except NotFoundError:
        return Trust()
    except (HostError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise StateError(f"what was approved of sandbox files cannot be read: {path}: {exc}", hint=hint) from exc


def approve(layout: Layout, files: Iterable[FileContent]) -> None:
    """Let these be what was approved, each instead of what its path had before. Raises StateError."""
    now = {file.path: file.digest for file in files}
    if now:

        def change(trust: Trust) -> Trust:
            approved = _without_absent({**trust.approved, **now})
            return replace(trust, approved=approved, identities=_known(trust, _inner(now, trust.exposed)))

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


def expose(
    layout: Layout, opened: Guards, left: Guards = MappingProxyType({}), running: Collection[str] = frozenset()
) -> None:
    """Remember these directories, before a sandbox can write to them; and seal what it cannot write there.

    `left` are those of sandboxes that change, start or go: what these could write is sealed no more. `running` are
    those that a sandbox can write to at this moment: what is no seal's file in there gets none. Raises StateError.
    """
    more = frozenset({**opened, **left})
    if layout.trust.is_symlink():  # what else can write to a file is in the records of another state directory
        running = {*running, _EVERYWHERE}
    if more:
        recorded = _recorded(layout, _everyone(layout))

        def change(trust: Trust) -> Trust:
            seals = {path: seal for path, seal in trust.seals.items() if _is_kept(path, way(path), opened)}
            seals = {path: seal for path, seal in seals.items() if _is_kept(path, way(path), left)}
            for path in _below(trust.approved, more):
                may_be_sealed = all(_is_kept(path, way(path), kept) for kept in (opened, recorded))
                seal = _sealed(path, trust.approved[path], seals.get(path), running) if may_be_sealed else None
                seals.pop(path, None)
                if seal is not None:
                    seals[path] = seal
            identities = _known(trust, {*map(os.path.realpath, more), *_inner(trust.approved, more)})
            return replace(trust, exposed=trust.exposed | more, seals=seals, identities=identities)

        _change(layout, change)


def _sealed(path: str, approved: str, before: Seal | None, running: Collection[str]) -> Seal | None:
    """The seal of a file: the one that it has, or a new one when nothing inside has it, and it is as approved."""
    found = look(path) if _is_plain(path, way(path)) else None
    if found is None:
        return None
    if found[0] == before:
        return before
    return found[0] if found[1] == approved and not any(lies_in(path, each) for each in running) else None


def unseal_exchanged(layout: Layout, workspace: Workspace) -> None:
    """Forget the seals of what it protects where another file is now, before something inside gets at the old one.

    What was moved away can be written there, and be moved back. Raises StateError.
    """

    def change(trust: Trust) -> Trust:
        return replace(trust, seals={path: seal for path, seal in trust.seals.items() if not is_gone(path, seal)})

    def is_gone(path: str, seal: Seal) -> bool:
        found = look(path) if os.path.normpath(path) in paths else (seal, "")
        return found is None or found[0] != seal

    paths = {f"{workspace.source.rstrip('/')}/{name}" for name in workspace.protect}
    if paths and layout.trust.exists():
        _change(layout, change)


def share(layout: Layout, other: Layout) -> None:
    """Let `other`, a new state directory, go by this one's record, and add to it."""
    other.trust.symlink_to(layout.trust)


def _everyone(layout: Layout) -> Iterator[SandboxId]:
    return (SandboxId(project, name) for project, name in sandbox_directories(layout))


def _below(paths: Iterable[str], directories: Iterable[str]) -> list[str]:
    every = tuple(directories)
    return [path for path in paths if any(lies_in(path, each) for each in every)]


def _inner(files: Iterable[str], directories: Iterable[str]) -> set[str]:
    """The directories of those files that lie in others: moved out of these, they are known again."""
    return {os.path.dirname(path) for path in _below(files, directories)}  # noqa: PTH120


def _known(trust: Trust, directories: Iterable[str]) -> tuple[Identity, ...]:
    """What is known of directories, with these as the latest."""
    now = [found for each in sorted(directories) if (found := identity(each)) is not None]
    return tuple(dict.fromkeys((*(each for each in trust.identities if each not in now), *now)))[-ENTRIES:]


def _change(layout: Layout, change: Callable[[Trust], Trust]) -> None:
    path = Path(os.path.realpath(layout.trust))
    private_directory(path.parent)
    with locked_shortly(path.with_suffix(".lock")):
        before = read_trust(layout)
        after = change(before)
        if after != before:
            exposed = _remembered(after.exposed)
            approved = {path: after.approved[path] for path in _remembered(after.approved)}
            seals = {path: after.seals[path] for path in sorted(after.seals.keys() & approved.keys())}
            fields: dict[str, Any] = {"version": VERSION, "approved": approved, "exposed": exposed, "seals": seals}
            fields["identities"] = after.identities
            write_atomic(path, json.dumps(fields, indent=1).encode())


def _remembered(paths: Iterable[str]) -> list[str]:
    """Sorted; when there are too many, without those of temporary directories long gone."""
    every = sorted(paths)
    return every if len(every) <= ENTRIES else [path for path in every if Path(path).exists()]


def _without_absent(approved: Mapping[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in approved.items() if digest != ABSENT}


def _all(entries: list[object]) -> frozenset[str]:
    return frozenset(_text(entry) for entry in entries)


def _identity(entry: object) -> Identity:
    return Identity(*_numbers(entry))


def _seal(entry: object) -> Seal:
    return Seal(*_numbers(entry))


def _numbers(entry: object) -> tuple[int, int, int]:
    if not isinstance(entry, list) or len(entry) != 3 or not all(isinstance(number, int) for number in entry):
        raise ValueError("an entry that is none")
    return entry[0], entry[1], entry[2]


def _text(value: object, begin: str = "/") -> str:
    if not isinstance(value, str) or not value.startswith(begin):
        raise ValueError("an entry that is none")
    return value
