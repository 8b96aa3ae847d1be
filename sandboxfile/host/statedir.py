"""The state directory on disk: private directories, atomic versioned records, locks. The only writer of records.

Atomic means: a reader sees the old bytes or the new ones, whatever is killed when. Locks are flock(2): the kernel
drops them with the process, so a held lock is a living holder.
"""

import fcntl
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sandboxfile.errors import BusyError, HostError, StateError
from sandboxfile.host.directories import sandbox_directories as sandbox_directories
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.model.observed import Applied

RECORD_VERSION = 4
_READABLE = (3, RECORD_VERSION)  # what came since has defaults
_LOCK_POLL = 0.05  # seconds
_PROBE_TRIES, _PROBE_PAUSE = 8, 0.002  # a probe takes 10 microseconds, when its process is not interrupted


# --- records -----------------------------------------------------------------------------------------------------


@cache
def _applied() -> TypeAdapter[Applied]:
    return TypeAdapter(Applied)


def write_record(paths: SandboxPaths, applied: Applied) -> None:
    """Remember what was applied to a sandbox."""
    write_atomic(paths.record, encode_record(applied))
    paths.moved_record.unlink(missing_ok=True)  # it is settled where the sandbox is


def encode_record(applied: Applied) -> bytes:
    """What stands in a record."""
    fields: dict[str, Any] = {"version": RECORD_VERSION, **asdict(applied)}
    return json.dumps(fields, indent=1, ensure_ascii=False).encode()


def read_record(paths: SandboxPaths) -> Applied:
    """What was applied. Raises StateError when it is missing, unreadable, or written by a newer version.

    A directory that was moved here counts by its other record, until that is settled (`host.moving`).
    """
    applied = _read_record(paths.record)
    if not _is_of(applied, paths) and paths.moved_record.exists():
        moved = _read_record(paths.moved_record)
        return moved if _is_of(moved, paths) else applied
    return applied


def _is_of(applied: Applied, paths: SandboxPaths) -> bool:
    return (applied.spec.id.project, applied.spec.id.name) == (paths.root.parent.name, paths.root.name)


def _read_record(path: Path) -> Applied:
    try:
        version, applied = _decoded(path.read_bytes())
        if applied is None:
            raise StateError(
                f"the record {path} has version {version}; this program knows {RECORD_VERSION}",
                hint="use the sbx that wrote it, or delete the sandbox with `sbx rm --force`",
            )
        return applied
    except FileNotFoundError as exc:
        raise StateError(f"the record {path} is missing", hint="`sbx rm --force` deletes what is left") from exc
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, ValidationError) as exc:
        raise StateError(
            f"the record {path} cannot be read: {exc}", hint="`sbx rm --force` deletes the sandbox"
        ) from exc


@lru_cache(maxsize=4096)
def _decoded(data: bytes) -> tuple[Any, Applied | None]:
    """The version of a record, and what it says, None of one that is not read.

    Remembered: a plan of changes reads each twice, for what was applied and for what agents can write to.
    """
    fields = json.loads(data)
    version = fields.pop("version")
    return version, _applied().validate_python(fields) if version in _READABLE else None


# --- directories -------------------------------------------------------------------------------------------------


def ensure_directories(layout: Layout) -> None:
    """Make the three roots, 0700 and ours. Raises HostError when one is a symlink or somebody else's."""
    for root in (layout.state, layout.cache, layout.runtime):
        private_directory(root)
    for path in (
        layout.sandboxes,
        layout.volumes,
        layout.trash,
        layout.state / "projects",
        layout.platforms,
        layout.images,
        layout.layers,
    ):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def private_directory(path: Path) -> None:
    """Make a directory that only we can enter; refuse one that others own (a trap in /tmp)."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise HostError(f"{path} is not a directory of ours", hint="remove it, or set SBX_HOME to another place")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


# --- locks -------------------------------------------------------------------------------------------------------


def try_lock(path: Path) -> int | None:
    """Take a lock for as long as the descriptor given is open; None when somebody else holds it.

    The file may be removed by its holder (a deleted sandbox): a lock on a file that is no longer at `path` is
    no lock, so it is opened again. `is_locked` of others has the lock for an instant: held means held a while.
    """
    for _ in range(_PROBE_TRIES):
        if (handle := _try_lock_once(path)) is not None:
            return handle
        time.sleep(_PROBE_PAUSE)
    return None


def _try_lock_once(path: Path) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        try:
            if os.path.samestat(os.fstat(handle), path.lstat()):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock. Creates nothing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


@asynccontextmanager
async def hold_lock(path: Path, what: str, timeout: float) -> AsyncIterator[int]:
    """Hold a lock for a block of work; waits up to `timeout` seconds for it. Raises BusyError.

    `what` names the work in the message. The holder writes its pid and work into the file, for that message only.
    """
    import anyio  # here: who reads records starts no event loop

    handle = try_lock(path)
    with anyio.move_on_after(timeout):
        while handle is None:
            await anyio.sleep(_LOCK_POLL)
            handle = _try_lock_once(path)
    if handle is None:
        raise BusyError(
            f"cannot {what}: another sbx is at work here{_holder(path)}",
            hint="wait for it, or give it longer with --lock-timeout SECONDS",
        )
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()}: {what}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def _holder(path: Path) -> str:
    try:
        text = path.read_text(errors="replace").strip()
    except OSError:
        text = ""
    return f" ({text})" if text else ""


@contextmanager
def locked_shortly(path: Path) -> Iterator[None]:
    """Hold a lock for a few file operations (blocking, no waiting loop): read-modify-write of one record."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
