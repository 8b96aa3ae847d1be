"""A host that behaves, in virtual time: directories that hold records and disks, supervisors that live on their own.

Beneath the real planner, executor, journal, project lock, `HostDrivers` and `machines`; it stands for what those touch:
supervisors and their control sockets, the image cache, the files of a sandbox. Like the real thing, what a client
asked a supervisor for goes on when the client is killed.

Every place where a client waits is a `point`. An `Attempt` counts them and strikes at some: it kills the client there,
fails the step, or does to the host what somebody else might. What must never happen is noted in `violations`, because
an assertion raised in a driver would count as one more failure of the world.
"""

import math
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from sandboxfile import pipeline
from sandboxfile.applying import checkpoints, drivers, following, machines, storage
from sandboxfile.control import messages
from sandboxfile.control.messages import Message
from sandboxfile.errors import BuildError, BusyError, ControlError, HostError, MachineError, StateError
from sandboxfile.host import copying
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.model.desired import Condition, DesiredSandbox
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId
from sandboxfile.observe import compared
from sandboxfile.policy.command import PolicyEdit, edited

from .attempt import ATTEMPT, Strike
from .fake_files import FakeFiles, Shelf, labels_of
from .fake_history import FakeHistory, moment, no_more, now, remembered_by
from .fake_supervisor import Box, Disk, Supervisor
from .fake_volumes import FakeVolumes
from .pools import KEY

BY_COMMAND = "pypi.example.com"
really_sweep = storage.sweep


class FakeHost:
    """The host. `violations` are things that must never happen, in words; `changes` counts what was changed."""

    def __init__(self, layout: Layout, nursery: trio.Nursery, seed: int) -> None:
        self.layout, self.nursery = layout, nursery
        self.boxes: dict[SandboxId, Box] = {}
        self.shelves: dict[SandboxId, Shelf] = {}
        self.directories = FakeFiles(self)
        self.volumes, self.history = FakeVolumes(self), FakeHistory(self.boxes, self.directories, layout)
        self.images: dict[str, str] = {}
        self.platform = False
        self.half_made: set[SandboxId] = set()
        self.files: set[str] = set()
        self.violations: list[str] = []
        self.armed: set[str] = set()  # what befalls the next setup command
        self.died_in_copying = False
        self.changes = 0
        self.may_delete: Callable[[SandboxId, bool], str | None] = lambda id, checkpoints: None
        self.may_become: Callable[[SandboxId, Disk], str | None] = lambda id, disk: None
        self.may_delete_volume: Callable[[str], str | None] = lambda name: None
        self.other_apply: Callable[[int], None] = lambda which: None
        self._random = random.Random(seed)
        self._sockets: dict[Path, SandboxId] = {}
        self._children: list[bool] = []  # by pid: whether it lives

    def takes(self, seconds: float) -> float:
        """How long something lasts: sometimes next to nothing, sometimes long."""
        return seconds * self._random.choice((0.05, 1.0, 1.0, 4.0))

    async def point(self) -> None:
        """A place where a client waits, and may be struck. Raises MachineError when that is its fate."""
        attempt = ATTEMPT.get()
        if attempt is not None:
            for blow in attempt.next_blows():
                self.strike(blow)
        await anyio.lowlevel.checkpoint()
        if attempt is not None and attempt.take_failure():
            raise MachineError("it failed, as things do")

    def strike(self, blow: Strike) -> None:
        """Somebody else does something."""
        self.changes += 1
        match blow.kind:
            case "die in setup" | "fail in setup" | "die in copying" | "disturb copying":
                self.armed.add(blow.kind)
            case "other apply":
                self.other_apply(blow.target)
            case "rotate key":
                os.environ[KEY] = f"value {self.changes}"
            case "lose cache":
                self.images.clear()
                self.platform = False
                self.directories.lose_cache()
            case _ if self.boxes:
                if self.directories.working:
                    self.directories.read_back()
                ids = sorted(self.boxes)
                id = ids[blow.target % len(ids)]
                self._strike_box(blow.kind, self.boxes[id])
                if self.directories.working:
                    self.directories.write_down(id, self.boxes[id])

    def _strike_box(self, kind: str, box: Box) -> None:
        if kind == "delete disk":
            box.disk = None
        elif kind == "spoil record":
            box.record = None
        elif kind == "command policy":
            _command_policy(box)
        elif box.supervisor is not None:
            box.supervisor.strike(kind)

    def disarm(self) -> None:
        """What was to befall somebody later does not."""
        self.armed.clear()
        for supervisor in (box.supervisor for box in self.boxes.values() if box.supervisor is not None):
            supervisor.refusing = False

    # --- observing -----------------------------------------------------------------------------------------------

    async def observe(self, layout: Layout, project: str) -> ObservedState:
        """As `sandboxfile.observe` does it."""
        for _ in list(self.boxes):
            await self.point()
        return self.observe_now(project)

    def observe_now(self, project: str) -> ObservedState:
        """The same, with time standing still."""
        if self.directories.working:
            self.directories.read_back()
        boxes = {id: box for id, box in sorted(self.boxes.items()) if id.project == project}
        sources = {box.record.source for box in boxes.values() if box.record is not None}
        return ObservedState(
            project,
            tuple(self._observe_one(id, box) for id, box in boxes.items()),
            dict(self.images),
            self.platform,
            frozenset(sources - self.files),
            self.volumes.observe(project),
        )

    def _observe_one(self, id: SandboxId, box: Box) -> ObservedSandbox:
        problem = None if box.record is not None else "its record was spoilt"
        supervisor, whole = box.supervisor, box.disk is not None
        if supervisor is None or supervisor.hanging:
            status: Any = "stopped" if supervisor is None else "unresponsive"
            asleep = supervisor is None and box.asleep
            found = ObservedSandbox(id, status, box.record, None, whole, problem, asleep=asleep)
        else:
            machine = supervisor.status()
            found = ObservedSandbox(id, machine.health, box.record, machine, whole, problem, supervisor.outdated)
        return replace(compared(found, os.environ), checkpoints=self.checkpoints(id))

    def checkpoints(self, id: SandboxId) -> int:
        """How many a sandbox has."""
        return len(labels_of(self.layout.sandbox(id))) if self.shelves else 0

    def shelf(self, id: SandboxId) -> Shelf:
        """Where its checkpoints are noted."""
        return self.shelves.setdefault(id, Shelf())

    # --- files of sandboxes --------------------------------------------------------------------------------------

    def _box_of(self, path: Path) -> Box | None:
        """Whose file this is: `PROJECT/NAME/FILE`."""
        return self.boxes.get(SandboxId(path.parent.parent.name, path.parent.name))

    def is_locked(self, path: Path) -> bool:
        box = self._box_of(path)
        return box is not None and box.supervisor is not None

    def read_record(self, paths: SandboxPaths) -> Applied:
        box = self._box_of(paths.record)
        if box is None or box.record is None:
            raise StateError(f"the record {paths.record} cannot be read")
        return box.record

    def write_record(self, paths: SandboxPaths, applied: Applied) -> None:
        box = self._box_of(paths.record)
        if box is None:
            raise StateError(f"no directory {paths.root}")
        self.put_record(box, applied)

    def put_record(self, box: Box, applied: Applied) -> None:
        """Write a record."""
        self.note_record(box, applied)
        if self.directories.working:
            self.directories.write_down(applied.spec.id, box)

    def note_record(self, box: Box, applied: Applied) -> None:
        """It is written, and on the disk that means something for its setup."""
        self.changes += 1
        supervisor = box.supervisor
        if supervisor is not None and supervisor.ready.is_set() and not supervisor.failure:
            if (box.record is None or box.record.spec != applied.spec) and applied.spec not in box.known:
                self.violations.append(f"the record of {applied.spec.id} is ahead of its supervisor")
            box.known[:] = [supervisor.spec]
        old, box.record = box.record, applied
        if box.disk is not None and box.disk.finished is None:
            if old is not None and old.spec.setup != applied.spec.setup:
                box.disk.disturbed = box.disk.edited = True
            if applied.setup_done >= len(applied.spec.setup):
                box.disk.finished = applied.spec.setup

    async def create(self, layout: Layout, spec: DesiredSandbox, source: str) -> None:
        """As `storage.create`: whole or not at all."""
        await self.point()
        if spec.id in self.boxes:
            if (record := self.boxes[spec.id].record) is not None and record.spec == spec:
                return
            raise HostError(f"the sandbox {spec.id} exists already")
        if spec.image.digest not in self.images:
            raise BuildError("its image is not in the cache")
        self.half_made.add(spec.id)
        await trio.sleep(self.takes(0.2))
        await self.point()
        self.half_made.discard(spec.id)
        disk = Disk(spec.resources.disk, spec.image.digest, spec.setup, None if spec.setup else ())
        content = self.images[spec.image.digest]
        self.boxes[spec.id] = Box(Applied(spec, source, now(), 0, content), disk)
        self.directories.made(spec.id, self.boxes[spec.id])
        self.see_sockets()
        self.changes += 1
        await self.point()

    async def delete(self, layout: Layout, id: SandboxId, *, keep: bool = False, checkpoints: bool = False) -> None:
        """As `storage.delete`."""
        await self.point()
        box = self.boxes.get(id)
        if box is None:
            return
        if box.supervisor is not None:
            raise BusyError(f"the sandbox {id} is running")
        if (wrong := self.may_delete(id, checkpoints)) is not None:
            self.violations.append(wrong)
        if checkpoints:
            storage.discard_checkpoints(layout, id)
            storage.empty_trash(layout)
            self.shelves.pop(id, None)
            await self.point()
        gone = self.boxes.pop(id)
        self.history.drop_kept(layout, id)
        if keep and self.history.counts(gone.record):
            self.history.put_aside(id, gone)
        else:
            self.directories.gone(layout.sandbox(id).root)
        self.changes += 1
        await self.point()

    def sweep(self, layout: Layout, project: str) -> None:
        """The real thing, too, for what commands left that work on files."""
        self.half_made.clear()
        really_sweep(layout, project)

    def new_box(self, inode: int) -> Box:
        """One whose directory was found."""
        return Box(None, None, inode=inode)

    def see_sockets(self) -> None:
        """Each where its sandbox's name puts it."""
        self._sockets = {self.layout.sandbox(id).control: id for id in self.boxes}

    async def grow_disk(self, path: Path, size: int) -> None:
        await self.point()
        box = self._box_of(path)
        if box is None or box.disk is None:
            raise HostError("no disk to grow")
        if box.supervisor is not None:
            raise HostError("Failed to get a write lock: the disk is in use")
        box.disk.size = max(box.disk.size, size)
        self.changes += 1
        await self.point()

    # --- the cache -----------------------------------------------------------------------------------------------

    async def build_image(self, layout: Layout, template: DesiredTemplate, report: Any, *, fresh: bool = False) -> Any:
        await self._build()
        digest = template.recipe.digest
        self.images[digest] = f"sha256:{digest}"
        await self.point()
        return SimpleNamespace(different=None)

    async def build_platform(self, layout: Layout, report: Any) -> None:
        await self._build()
        self.platform = True
        await self.point()

    async def _build(self) -> None:
        await self.point()
        await trio.sleep(self.takes(20))
        await self.point()
        self.changes += 1

    # --- processes and their sockets -----------------------------------------------------------------------------

    def spawn(self, paths: SandboxPaths, id: SandboxId, tie: int | None = None) -> int:
        self._children.append(True)
        self.changes += 1
        pid = len(self._children) - 1
        self.nursery.start_soon(self._supervise, id, pid)
        return pid

    def has_ended(self, pid: int) -> bool:
        return not self._children[pid]

    async def _supervise(self, id: SandboxId, pid: int) -> None:
        ATTEMPT.set(None)
        await trio.sleep(self.takes(0.1))
        box = self.boxes.get(id)
        lock = self.directories.lock(id) if box is not None else None
        if box is not None and lock is not None and box.record is None:
            self.directories.unlock(lock)
        elif box is not None and lock is not None and box.record is not None:
            box.supervisor, box.asleep = Supervisor(self, box, box.record.spec, lock), False
            await box.supervisor.live()
        self._children[pid] = False

    def kill_holder(self, lock: Path) -> bool:
        box = self._box_of(lock)
        if box is None or box.supervisor is None:
            return False
        box.supervisor.end()
        return True

    def _listener(self, control: Path) -> Supervisor:
        """Who listens. Raises ControlError when nobody does."""
        box = self.boxes.get(self._sockets.get(control, SandboxId("", "")))
        if box is None or box.supervisor is None or not box.supervisor.listening:
            raise ControlError(f"no supervisor answers at {control}")
        return box.supervisor

    @asynccontextmanager
    async def connect(self, control: Path, timeout: float = 5.0) -> AsyncIterator[None]:
        await anyio.lowlevel.checkpoint()
        self._listener(control)
        await self.point()  # not before: each of many polls would be one
        yield

    async def request(
        self, path: Path, message: Message, on_progress: Any = None, timeout: float | None = None
    ) -> Message:
        with trio.move_on_after(math.inf if timeout is None else timeout):
            await self.point()
            supervisor = self._listener(path)
            await supervisor.ask(message)
            await self.point()
            asked = isinstance(message, messages.GetStatus)
            return messages.StatusReply(supervisor.status()) if asked else messages.Done()
        raise ControlError("the supervisor did not answer in time")

    async def wait_for(self, paths: SandboxPaths, id: SandboxId, condition: Condition, show: Any) -> None:
        """However long it takes."""
        await self.point()
        pause = 1.0
        while not (supervisor := self._listener(paths.control)).meets(condition):
            await trio.sleep(pause)
            pause *= 1.1
            if supervisor.dead:
                raise ControlError(f"{id} has stopped")
        await self.point()


def _command_policy(box: Box) -> None:
    """`sbx network proxy` has run, for a moment in which nobody else applied anything."""
    if box.record is not None:
        policy = edited(box.record.spec.policy, PolicyEdit(allow=(BY_COMMAND,)))
        box.record = replace(box.record, spec=replace(box.record.spec, policy=policy))
        if box.supervisor is not None and box.supervisor.policy:
            box.supervisor.hold_to(policy)


@contextmanager
def beneath_the_real_thing(host: FakeHost) -> Iterator[None]:
    """Put the host under pipeline, drivers and machines."""

    async def in_this_thread(function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        await anyio.lowlevel.checkpoint()  # a thread would let the clock jump while it works
        return function(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anyio.to_thread, "run_sync", in_this_thread)
        patch.setenv(KEY, "value")
        patch.setattr(pipeline, "observe", host.observe)
        for module in (drivers, machines):
            patch.setattr(module, "request", host.request)
            patch.setattr(module, "is_locked", host.is_locked)
        for name in ("read_record", "write_record"):
            patch.setattr(drivers, name, getattr(host, name))
        for name in ("create", "delete", "sweep"):
            patch.setattr(storage, name, getattr(host, name))
        for name in ("connect", "kill_holder"):
            patch.setattr(machines, name, getattr(host, name))
        patch.setattr(machines, "_spawn", host.spawn)
        patch.setattr(machines, "_has_ended", host.has_ended)
        patch.setattr("sandboxfile.applying.building.build_image", host.build_image)
        patch.setattr("sandboxfile.images.boot.platform.build_platform", host.build_platform)
        patch.setattr("sandboxfile.vm.disks.grow_disk", host.grow_disk)
        patch.setattr(drivers, "wait_for", host.wait_for)
        patch.setattr(drivers, "_change_volume", host.volumes.change)
        remembered_by(host.history, host.boxes, patch.setattr)
        patch.setattr("sandboxfile.host.review.remember", no_more)
        host.directories.strike_points(patch.setattr, copying, checkpoints)
        work_on_files(host, patch.setattr)
        try:
            yield
        finally:
            host.directories.close()


def work_on_files(host: FakeHost, patch: Callable[..., None]) -> None:
    """Under what works on the files of sandboxes itself."""
    patch(checkpoints, "request", host.request)
    patch(checkpoints, "grow_disk", host.directories.grow_disk)
    patch(following, "request", host.request)
    patch(storage, "create_overlay", host.directories.create_overlay)
    patch(storage, "datetime", SimpleNamespace(UTC=UTC, datetime=SimpleNamespace(now=lambda _: moment())))
