"""The fake host's directories: real ones, written when a command is about to work on files, and read back after it.

A disk is a file with its whole story. Each thing that such a command does to files is a place where it may be struck:
after SIGKILL nothing has any effect, tidying up included; a full disk lets nothing more be made.
"""

import errno
import fcntl
import os
import pickle
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandboxfile.errors import StateError
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.statedir import encode_record, hold_lock, read_record, write_record
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.names import SandboxId

from .attempt import ATTEMPT

if TYPE_CHECKING:
    from .fake_host import FakeHost
    from .fake_supervisor import Box, Disk

WORKING: ContextVar[bool] = ContextVar("working", default=False)  # whether what is done to files is a place
_MAKING = ("rename", "mkdir", "link")
_UNMAKING = ("unlink", "rmdir")
COMING = ".coming.qcow2"  # half of a restore


class Killed(BaseException):
    """SIGKILL has come."""


@dataclass(frozen=True)
class Kept:
    """What a checkpoint must have: a disk as it was, and what the sandbox was by its record then."""

    disk: bytes
    spec: DesiredSandbox


@dataclass(eq=False)
class Shelf:
    """The checkpoints of one name, whatever becomes of its sandbox: what must be there, and what may have come of a
    killed client.
    """

    sure: dict[str, Kept] = field(default_factory=dict)
    perhaps: dict[str, list[Kept]] = field(default_factory=dict)


def story(content: bytes) -> tuple[Any, ...]:
    """All that a disk's file tells, to be compared."""
    return astuple(pickle.loads(content))


class FakeFiles:
    """`working`: how many commands are at it."""

    def __init__(self, host: "FakeHost") -> None:
        self._host, self._layout = host, host.layout
        self.working = 0
        self.at_work: Callable[[], None] = lambda: None  # when a command has the lock
        self._locks: set[int] = set()

    # --- sandboxes as directories --------------------------------------------------------------------------------

    def made(self, id: SandboxId, box: "Box") -> None:
        paths = self._layout.sandbox(id)
        paths.root.mkdir(mode=0o700, parents=True)
        box.inode = paths.root.stat().st_ino
        assert box.disk is not None
        for path in beneath(paths):
            path.hardlink_to(self._cached(box.disk.image, path.name))

    def _cached(self, digest: str, name: str) -> Path:
        """A file of an image, which says of which one it is."""
        path = self._layout.images / digest / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(digest)
        return path

    def lose_cache(self) -> None:
        shutil.rmtree(self._layout.images, ignore_errors=True)

    def gone(self, place: Path) -> None:
        shutil.rmtree(place)

    def moved(self, place: Path, to: Path) -> None:
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.rename(to)

    def lock(self, id: SandboxId) -> int | None:
        """As a supervisor takes it; None when somebody holds it."""
        handle = os.open(self._layout.sandbox(id).lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        self._locks.add(handle)
        return handle

    def unlock(self, handle: int) -> None:
        self._locks.remove(handle)
        os.close(handle)

    def close(self) -> None:
        """Nobody lives on after a history."""
        for handle in list(self._locks):
            self.unlock(handle)

    # --- what is in them -----------------------------------------------------------------------------------------

    def write_down(self, id: SandboxId, box: "Box") -> None:
        """All that changed since."""
        token = WORKING.set(False)
        try:
            self._write_down(self._layout.sandbox(id), box)
        finally:
            WORKING.reset(token)

    def _write_down(self, paths: SandboxPaths, box: "Box") -> None:
        if box.record is None:
            paths.record.write_bytes(b"spoilt")
        elif box.record is not box.written:
            write_record(paths, box.record)
        box.written = box.record
        content = pickle.dumps(box.disk) if box.disk is not None else b""
        if content != box.content:
            paths.disk.unlink(missing_ok=True)
            if content:
                paths.disk.write_bytes(content)
            box.content = content
        if box.asleep:
            paths.asleep.touch()
        else:
            paths.asleep.unlink(missing_ok=True)

    def read_back(self) -> None:
        """What a command has made of them. A directory that is called otherwise is the same box, and so is one in the
        place of another one that is not there any more.
        """
        boxes = self._host.boxes
        known = {box.inode: box for box in boxes.values()}
        roots = [root for root in sorted(self._layout.sandboxes.glob("*/*")) if not root.name.startswith(".")]
        there = {SandboxId(root.parent.name, root.name): root.stat().st_ino for root in roots}
        found = {}
        for id, inode in there.items():
            exchanged = boxes[id] if id in boxes and boxes[id].inode not in there.values() else None
            found[id] = known.get(inode) or exchanged or self._host.new_box(inode)
            found[id].inode = inode
            self._fill(id, found[id], is_here=boxes.get(id) is found[id])
        boxes.clear()
        boxes.update(found)
        self._host.see_sockets()

    def _fill(self, id: SandboxId, box: "Box", *, is_here: bool) -> None:
        paths = self._layout.sandbox(id)
        content = paths.disk.read_bytes() if paths.disk.exists() else b""
        if content != box.content:
            box.disk = self._disk_of(id, content)
            box.content = content
        try:
            before = encode_record(box.record) if box.record is not None else b""
            if is_here and paths.record.read_bytes() == before and not paths.moved_record.exists():
                return
            applied = read_record(paths)
        except (StateError, FileNotFoundError):
            box.record = box.written = None
            return
        if applied.spec.id != id:
            box.record = box.written = None
        elif applied != box.record:
            self._host.note_record(box, applied)
            box.written = applied

    def _disk_of(self, id: SandboxId, content: bytes) -> "Disk | None":
        try:
            disk: Disk | None = pickle.loads(content) if content else None
        except (pickle.UnpicklingError, EOFError, ValueError):
            self._host.violations.append(f"the disk of {id} is half a disk")
            return None
        if disk is not None and (wrong := self._host.may_become(id, disk)) is not None:
            self._host.violations.append(wrong)
        return disk

    def write_all(self) -> None:
        for id, box in self._host.boxes.items():
            self.write_down(id, box)

    @asynccontextmanager
    async def hold_lock(self, path: Path, what: str, timeout: float) -> AsyncIterator[int]:
        """In the place of the real one, for commands that work on files: who holds it has the boxes as files."""
        async with hold_lock(path, what, timeout) as handle:
            with self._work():
                yield handle

    @contextmanager
    def _work(self) -> Iterator[None]:
        self.write_all()
        token = WORKING.set(True)
        self.working += 1
        self.at_work()
        try:
            yield
        finally:
            self.working -= 1
            WORKING.reset(token)
            self.read_back()

    # --- programs that work on disks -----------------------------------------------------------------------------

    async def create_overlay(self, base: Path, disk: Path, size: int) -> None:
        await self._host.point()
        disk.write_bytes(b"an empty overlay")
        await self._host.point()

    async def grow_disk(self, path: Path, size: int) -> None:
        await self._host.point()
        disk: Disk = pickle.loads(path.read_bytes())
        disk.size = max(disk.size, size)
        path.write_bytes(pickle.dumps(disk))
        await self._host.point()

    # --- places to be struck at ----------------------------------------------------------------------------------

    def strike_points(self, patch: Callable[[Any, str, Any], None], copying: Any, checkpoints: Any) -> None:
        """Make each change of files a place."""
        for name in (*_MAKING, *_UNMAKING):
            patch(os, name, self._struck(getattr(os, name), name in _MAKING))
        patch(checkpoints, "exchange", self._struck(checkpoints.exchange, makes=True))
        patch(copying, "_FICLONE", 0)  # no file system shares blocks by this: the same places everywhere
        really = copying._copy_data

        def copy(source: int, target: int) -> None:
            try:
                self._point(makes=True)
            except BaseException:
                os.write(target, os.pread(source, os.fstat(source).st_size // 2, 0))
                raise
            really(source, target)

        patch(copying, "_copy_data", copy)

    def _struck(self, really: Callable[..., Any], makes: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._point(makes=makes)
            return really(*arguments, **named)

        return call

    def _point(self, *, makes: bool) -> None:
        attempt = ATTEMPT.get()
        if attempt is None or not WORKING.get():
            return
        if not attempt.killed:
            attempt.begin_steps()
            token = WORKING.set(False)
            for blow in attempt.next_blows():
                self._host.strike(blow)
            WORKING.reset(token)
        if attempt.killed:
            raise Killed
        if makes and attempt.take_failure():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- what must be in them ----------------------------------------------------------------------------------------


def beneath(paths: SandboxPaths) -> tuple[Path, Path, Path]:
    """What a disk stands on."""
    return paths.base, paths.tree, paths.image


def labels_of(paths: SandboxPaths) -> set[str]:
    """The checkpoints that anybody could see."""
    with suppress(FileNotFoundError):
        return {entry.name for entry in paths.checkpoints.iterdir() if not entry.name.startswith(".")}
    return set()
