"""What sandbox files held when a person approved them, and which directories sandboxes could ever write to.

Both in one record of this user, by absolute path. A directory stays on it when its sandbox is deleted: what an agent
left behind in there is as doubtful as before. `planning.trusting` has the rule, `cli.trusting` asks. What cannot be
read approves nothing, and stops whoever asks.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import locked_shortly, private_directory, read_record, sandbox_directories
from sandboxfile.model.desired import FileContent
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import ABSENT, Doubt, doubts, not_as_approved, writable

VERSION = 1
ENTRIES = 4096  # of each kind; beyond them, what is gone from the disk is forgotten
_SIZE_LIMIT = 16 << 20  # bytes
_LINK_LIMIT = 40  # as the kernel's MAXSYMLINKS
_EVERYWHERE = "/"  # what a sandbox has whose record cannot be read


@dataclass(frozen=True, slots=True)
class Trust:
    """`approved`: digests by path; `exposed`: directories that a sandbox has, or had, `rw`."""

    approved: Mapping[str, str] = field(default_factory=dict)
    exposed: frozenset[str] = frozenset()


def find_doubts(layout: Layout, files: Iterable[FileContent]) -> tuple[Doubt, ...]:
    """Which of these files have to be looked at. Raises StateError."""
    trust = read_trust(layout)
    different = not_as_approved(files, trust.approved)
    if not different:
        return ()  # nobody's record has to be read
    ways = {file.path: way(file.path) for file in different}
    return doubts(different, trust.approved, ways, trust.exposed | recorded_directories(layout))


def recorded_directories(layout: Layout) -> frozenset[str]:
    """The directories that sandboxes on record can write to, those of all projects; all there are if one is unclear."""
    found: set[str] = set()
    for project, name in sandbox_directories(layout):
        paths = layout.sandbox(SandboxId(project, name))
        try:
            found |= writable([read_record(paths).spec])
        except StateError:
            if paths.root.exists():
                found.add(_EVERYWHERE)
    return frozenset(found)


def way(path: str) -> tuple[str, ...]:
    """Every place that is passed on the way to an absolute path, symlinks and what they lead to; its end is the last.

    What does not exist is passed as if it were a directory. Never raises.
    """
    current, links, passed = "/", 0, [os.path.normpath(path)]
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while pending:
        part = pending.pop()
        if part == "..":
            current = os.path.dirname(current)  # noqa: PTH120
            continue
        step = os.path.join(current, part)  # noqa: PTH118
        passed.append(step)
        target = _link(step) if links < _LINK_LIMIT else None
        if target is None:
            current = step
            continue
        links += 1
        current = "/" if target.startswith("/") else current
        pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return (*passed, current)


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:
        return None


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
        return Trust({_text(key): _text(value, "sha256:") for key, value in approved.items()}, _all(exposed))
    except NotFoundError:
        return Trust()
    except (HostError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise StateError(f"what was approved of sandbox files cannot be read: {path}: {exc}", hint=hint) from exc


def approve(layout: Layout, files: Iterable[FileContent]) -> None:
    """Let these be what was approved, each instead of what its path had before. Raises StateError."""
    now = {file.path: file.digest for file in files}
    if now:
        _change(layout, lambda trust: Trust(_without_absent({**trust.approved, **now}), trust.exposed))


def carry_over(layout: Layout, before: FileContent, digest: str) -> None:
    """After sbx itself has changed a file, as it was told to: approved as it is now, if it was as it was.

    Raises StateError.
    """

    def change(trust: Trust) -> Trust:
        if trust.approved.get(before.path, ABSENT) != before.digest:
            return trust
        return Trust({**trust.approved, before.path: digest}, trust.exposed)

    _change(layout, change)


def expose(layout: Layout, directories: Iterable[str]) -> None:
    """Remember these, before a sandbox can write to them. Raises StateError."""
    more = frozenset(directories)
    if more:
        _change(layout, lambda trust: Trust(trust.approved, trust.exposed | more))


def _change(layout: Layout, change: Callable[[Trust], Trust]) -> None:
    private_directory(layout.state)
    with locked_shortly(layout.trust.with_suffix(".lock")):
        before = read_trust(layout)
        after = change(before)
        if after != before:
            exposed = _remembered(after.exposed)
            approved = {path: after.approved[path] for path in _remembered(after.approved)}
            fields = {"version": VERSION, "approved": approved, "exposed": exposed}
            write_atomic(layout.trust, json.dumps(fields, indent=1).encode())


def _remembered(paths: Iterable[str]) -> list[str]:
    """Sorted; when there are too many, without those of temporary directories long gone."""
    every = sorted(paths)
    return every if len(every) <= ENTRIES else [path for path in every if Path(path).exists()]


def _without_absent(approved: Mapping[str, str]) -> dict[str, str]:
    return {path: digest for path, digest in approved.items() if digest != ABSENT}


def _all(entries: list[object]) -> frozenset[str]:
    return frozenset(_text(entry) for entry in entries)


def _text(value: object, begin: str = "/") -> str:
    if not isinstance(value, str) or not value.startswith(begin):
        raise ValueError("an entry that is none")
    return value
