"""Copies of a sandbox's disk, each with the record of its time. Blocking; the disk must stand still.

A checkpoint is whole or not there: it is made in a hidden directory, which is renamed. It stands for itself: the image
beneath its disk is in it, too, as another name of the same file, so neither a sandbox that is replaced or removed nor
an image that leaves the cache takes anything from it. It goes when somebody says so: with a sandbox that is deleted for
good, or alone.
The caller holds the project's lock; whoever copies a stopped sandbox's disk holds that one's, too.
"""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from sandboxfile.errors import BusyError, HostError, NotFoundError, StateError
from sandboxfile.host.copying import copy_file, link_or_copy
from sandboxfile.host.directories import checkpoint_labels
from sandboxfile.host.durable import sync_directory, write_atomic
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.statedir import encode_record, is_locked, read_record, write_record
from sandboxfile.model.observed import Applied
from sandboxfile.names import is_name

_BEFORE = re.compile(r"before-\d{8}-\d{6}(-\d+)?")
PASSING = ".fork"  # no label: the copy that `sbx fork` takes away at once
_NEW = ".new-"
_GONE = ".gone"  # one that is being removed
_COMING = ".coming.qcow2"  # the disk that is about to take the place of the sandbox's own


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`applied`: the sandbox's record as it was; `made_at` in UTC; `size`: bytes on disk, holes count nothing."""

    label: str
    paths: SandboxPaths
    applied: Applied
    made_at: datetime
    size: int


def default_label(now: datetime) -> str:
    """A label that says when: `20261121-223405`."""
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}"


def before_label(now: datetime) -> str:
    """The label of one that a plan makes before its first step: `before-20261121-223405`."""
    return f"before-{default_label(now)}"


def is_before(label: str) -> bool:
    """Whether that is the label of such a one: then nobody gave it, and `sbx prune --checkpoints` removes it."""
    return _BEFORE.fullmatch(label) is not None


def free_label(paths: SandboxPaths, label: str) -> str:
    """That label, with a number where it is taken."""
    taken = set(checkpoint_labels(paths.checkpoints))
    return next(each for each in chain([label], (f"{label}-{n}" for n in count(2))) if each not in taken)


def list_checkpoints(paths: SandboxPaths) -> list[Checkpoint]:
    """Those of one sandbox, the oldest first. One that cannot be read is left out."""
    found = []
    for label in sorted(checkpoint_labels(paths.checkpoints)):
        try:
            found.append(find_checkpoint(paths, label))
        except (NotFoundError, StateError):
            continue
    return sorted(found, key=lambda each: (each.made_at, each.label))


def find_checkpoint(paths: SandboxPaths, label: str) -> Checkpoint:
    """One by its label. Raises NotFoundError, and StateError when its record cannot be read."""
    there = _place(paths, label)
    try:
        made, disk = there.record.stat(), there.disk.stat()
    except FileNotFoundError as exc:
        listed = ", ".join(sorted(checkpoint_labels(paths.checkpoints))) or "none"
        raise NotFoundError(f"there is no checkpoint {label}", hint=f"there are: {listed}") from exc
    # st_blocks is in units of 512 bytes whatever the file system: stat(2)
    return Checkpoint(
        label, there, read_record(there), datetime.fromtimestamp(made.st_mtime, UTC), disk.st_blocks * 512
    )


def refuse_taken(paths: SandboxPaths, label: str) -> None:
    """Raises BusyError when there is a checkpoint of that label."""
    if _place(paths, label).root.exists():
        raise BusyError(f"there is a checkpoint {label} already", hint="choose another label, or remove it with --rm")


def make_checkpoint(paths: SandboxPaths, label: str, undisturbed: Callable[[], bool] = lambda: True) -> None:
    """Copy the disk and the record. Raises BusyError when the label is taken, HostError when the disk is full.

    `undisturbed` is asked when all is copied: whether the disk stood still all the time.
    """
    target = _place(paths, label)
    half = paths.checkpoints / f"{_NEW}{label.removeprefix('.')}"
    refuse_taken(paths, label)
    try:
        paths.checkpoints.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(paths.checkpoints)
        half.mkdir(mode=0o700)
        for beneath in (paths.base, paths.tree, paths.image):
            link_or_copy(beneath, half / beneath.name)
        copy_file(paths.disk, half / target.disk.name)
        if paths.copied.exists():  # the disk says still that it is another machine
            (half / target.copied.name).touch(mode=0o600)
        write_atomic(half / target.record.name, encode_record(read_record(paths)))
        if not undisturbed():
            raise HostError("the machine went on while its disk was copied", hint="run the same command again")
        half.rename(target.root)
        sync_directory(paths.checkpoints)
    except OSError as exc:
        raise HostError(f"cannot make the checkpoint {label}: {exc.strerror}", hint="is the disk full?") from exc
    finally:
        shutil.rmtree(half, ignore_errors=True)


def remove_checkpoint(paths: SandboxPaths, label: str) -> None:
    """Delete a checkpoint, whole or not at all: it is hidden first. Raises NotFoundError."""
    target, hidden = _place(paths, label).root, paths.checkpoints / _GONE
    _sweep(paths.checkpoints)
    try:
        target.rename(hidden)
    except FileNotFoundError as exc:
        raise NotFoundError(f"there is no checkpoint {label}") from exc
    sync_directory(paths.checkpoints)
    shutil.rmtree(hidden, ignore_errors=True)
    with suppress(OSError):  # others are in it
        paths.checkpoints.rmdir()


def sweep_copies(paths: SandboxPaths) -> None:
    """Remove what killed commands left of one sandbox, whose project's lock the caller holds.

    A supervisor goes on copying when whoever asked it to is gone: half a checkpoint is removed where nobody runs only.
    """
    (paths.root / _COMING).unlink(missing_ok=True)
    for name in (PASSING, _GONE):
        shutil.rmtree(paths.checkpoints / name, ignore_errors=True)
    if not is_locked(paths.lock):
        _sweep(paths.checkpoints)


# --- going back --------------------------------------------------------------------------------------------------


def coming_disk(paths: SandboxPaths, checkpoint: Checkpoint) -> Path:
    """A copy of a checkpoint's disk beside the sandbox's own, which it may replace: `put_in_place`."""
    coming = paths.root / _COMING
    coming.unlink(missing_ok=True)  # left by a killed one
    copy_file(checkpoint.paths.disk, coming)
    return coming


def put_in_place(paths: SandboxPaths, coming: Path, setup_done: int) -> None:
    """Make `coming` the disk of a stopped sandbox, whose lock the caller holds. On it so much of the setup is done.

    The rename is the moment. A kill before or after it leaves a record that claims too little rather than too much:
    then setup commands are run again.
    """
    with coming.open("rb") as file:
        os.fsync(file.fileno())
    applied = read_record(paths)
    if setup_done < applied.setup_done:
        write_record(paths, replace(applied, setup_done=setup_done))
    coming.rename(paths.disk)
    sync_directory(paths.root)
    if setup_done > applied.setup_done:
        write_record(paths, replace(applied, setup_done=setup_done))


def _place(paths: SandboxPaths, label: str) -> SandboxPaths:
    if not (is_name(label) or label == PASSING):
        raise NotFoundError(f"{label!r} is no label", hint="letters a-z, digits, `-` and `_`; at most 63")
    return SandboxPaths(paths.checkpoints / label, paths.control)


def _sweep(place: Path) -> None:
    """Remove what killed ones left."""
    if place.is_dir():
        for entry in (*place.glob(f"{_NEW}*"), place / _GONE):
            shutil.rmtree(entry, ignore_errors=True)
