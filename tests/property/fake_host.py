"""A host that behaves, in virtual time: directories that hold records and disks, supervisors that live on their own.

Beneath the real planner, executor, journal, project lock, `HostDrivers` and `machines`; it stands for what those touch:
supervisors and their control socket, the image cache, the files of a sandbox. Like the real thing, what a client asked
a supervisor for goes on when the client is killed; only setup ends with whoever asked for it.

Every place where a client waits is a `point`. An `Attempt` counts them and strikes at some: it kills the client there,
fails the step, or does to the host what somebody else might. What must never happen is noted in `violations`, because
an assertion raised in a driver would count as one more failure of the world.
"""

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from sandboxfile import pipeline
from sandboxfile.apply import drivers, machines
from sandboxfile.control import messages
from sandboxfile.control.messages import Message
from sandboxfile.errors import (
    BuildError,
    BusyError,
    CommandError,
    ControlError,
    GuestError,
    HostError,
    MachineError,
    SandboxfileError,
    StateError,
)
from sandboxfile.host.layout import Layout, SandboxPaths
from sandboxfile.model.desired import Command, DesiredSandbox, ImageSpec, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState, Status
from sandboxfile.names import SandboxId

from .attempt import ATTEMPT, Strike


_TICK = 1.0  # seconds of waiting for a supervisor after which there is one more place to be struck at


@dataclass(eq=False)
class Disk:
    """What must not be lost. `runs` are setup commands as the guest saw them: the command, and whether it ended."""

    size: int
    image: str
    setup: tuple[Command, ...]
    finished: tuple[Command, ...] | None = None  # the setup that was complete when the record first said so
    runs: list[tuple[Command, bool]] = field(default_factory=list)
    disturbed: bool = False  # a setup command was cut off, failed, or the list was edited before it was through
    edited: bool = False
    done: int = 0  # commands of the first list that are recorded as done


@dataclass(eq=False)
class Box:
    """A sandbox's directory. `record` is None when it cannot be read; `supervisor` is who holds the lock."""

    record: Applied | None
    disk: Disk | None
    supervisor: "Supervisor | None" = None


class Reply:
    """One client's wait for one answer."""

    def __init__(self) -> None:
        self.come = trio.Event()
        self.done = False
        self.error: SandboxfileError | None = None


class Supervisor:
    """A process that holds a lock, and its machine."""

    def __init__(self, spec: DesiredSandbox, disk: Disk | None) -> None:
        self.spec = spec
        self.disk = disk
        self.cpus, self.memory = spec.resources.cpus, spec.resources.memory
        self.disk_size = disk.size if disk else 0
        self.health: str = "starting"
        self.listening = self.paused = self.hanging = self.outdated = self.dead = False
        self.devices: dict[str, Workspace] = {}
        self.main = "none"
        self.ready, self.gone, self.moved = trio.Event(), trio.Event(), trio.Event()
        self.failure: SandboxfileError | None = None
        self.turn, self.setup_turn = trio.Lock(), trio.Lock()
        self.replies: set[Reply] = set()

    def stir(self) -> None:
        """Wake whoever waits for `paused` or `hanging` to end."""
        self.moved.set()
        self.moved = trio.Event()

    async def work(self, seconds: float) -> None:
        """Let the guest do something. Raises GuestError when it is dead, or paused for too long."""
        await trio.sleep(seconds)
        with trio.move_on_after(30):
            while (self.paused or self.hanging) and not self.dead:
                await self.moved.wait()
        if self.dead or self.paused or self.hanging:
            raise GuestError("the guest does not answer")

    async def guest(self) -> None:
        """Wait until the guest is there, as every request that needs it does."""
        await self.ready.wait()
        if self.failure:
            raise self.failure
        if self.dead or self.health == "stopping":
            raise MachineError("the sandbox is stopping")


class FakeHost:
    """The host. `violations` are things that must never happen, in words."""

    def __init__(self, layout: Layout, nursery: trio.Nursery, seed: int) -> None:
        self.layout, self.nursery = layout, nursery
        self.boxes: dict[SandboxId, Box] = {}
        self.images: set[str] = set()
        self.platform = False
        self.half_made: set[SandboxId] = set()
        self.files: set[str] = set()
        self.violations: list[str] = []
        self.armed: set[str] = set()  # `die` or `fail`: what befalls the next setup command
        self.changes = 0
        self.may_delete: Callable[[SandboxId], str | None] = lambda id: None
        self.other_apply: Callable[[int], None] = lambda which: None
        self._random = random.Random(seed)
        self._paths: dict[Path, SandboxId] = {}
        self._children: dict[int, bool] = {}

    def takes(self, seconds: float) -> float:
        """How long something lasts: sometimes next to nothing, sometimes long."""
        return seconds * self._random.choice((0.05, 1.0, 1.0, 4.0))

    async def point(self) -> None:
        """A place where a client waits, and may be struck."""
        attempt = ATTEMPT.get()
        if attempt is not None:
            for blow in attempt.next_blows():
                self.strike(blow)
        await anyio.lowlevel.checkpoint()
        if attempt is not None and attempt.take_failure():
            raise MachineError("it failed, as things do")

    # --- what others do to it ------------------------------------------------------------------------------------

    def strike(self, blow: Strike) -> None:
        """Somebody or something interferes."""
        self.changes += 1
        match blow.kind:
            case "die in setup" | "fail in setup":
                self.armed.add(blow.kind)
            case "other apply":
                self.other_apply(blow.target)
            case "lose cache":
                self.images.clear()
                self.platform = False
            case _ if self.boxes:
                ids = sorted(self.boxes)
                self._strike_box(blow.kind, self.boxes[ids[blow.target % len(ids)]])

    def _strike_box(self, kind: str, box: Box) -> None:
        if kind == "delete disk":
            box.disk = None
        elif kind == "spoil record":
            box.record = None
        elif (supervisor := box.supervisor) is not None:
            self._strike_supervisor(kind, box, supervisor)

    def _strike_supervisor(self, kind: str, box: Box, supervisor: Supervisor) -> None:
        match kind:
            case "kill":  # of supervisor or QEMU: neither outlives the other
                self.end(box)
            case "pause":
                supervisor.paused = supervisor.health == "running"
            case "resume":
                supervisor.paused = False
            case "hang":
                supervisor.hanging = True
            case "outdate":
                supervisor.outdated = True
            case "exit main" if supervisor.main == "running":
                supervisor.main = "running" if supervisor.spec.restart == "always" else "exited"
            case "unplug" if supervisor.devices:
                del supervisor.devices[sorted(supervisor.devices)[-1]]
            case "stop":
                self.nursery.start_soon(self._power_off, box, supervisor)
        supervisor.stir()

    def end(self, box: Box) -> None:
        """The lock is free: supervisor, machine and file servers are gone."""
        supervisor, box.supervisor = box.supervisor, None
        if supervisor is not None:
            supervisor.dead = True
            supervisor.health = "stopping"
            for event in (supervisor.ready, supervisor.gone, *(reply.come for reply in supervisor.replies)):
                event.set()
            supervisor.stir()

    # --- observing -----------------------------------------------------------------------------------------------

    async def observe(self, layout: Layout, project: str) -> ObservedState:
        """As `sandboxfile.observe` does it."""
        for _ in list(self.boxes):
            await self.point()
        return self.observe_now(project)

    def observe_now(self, project: str) -> ObservedState:
        """The same, with time standing still."""
        boxes = {id: box for id, box in sorted(self.boxes.items()) if id.project == project}
        sources = {box.record.source for box in boxes.values() if box.record is not None}
        return ObservedState(
            project,
            tuple(self._observe_one(id, box) for id, box in boxes.items()),
            frozenset(self.images),
            self.platform,
            frozenset(sources - self.files),
        )

    def _observe_one(self, id: SandboxId, box: Box) -> ObservedSandbox:
        problem = None if box.record is not None else "its record was spoilt"
        supervisor, whole = box.supervisor, box.disk is not None
        if supervisor is None:
            return ObservedSandbox(id, "stopped", box.record, None, whole, problem)
        if supervisor.hanging:
            return ObservedSandbox(id, "unresponsive", box.record, None, whole, problem)
        machine = supervisor_status(supervisor)
        status: Status = machine.health
        return ObservedSandbox(id, status, box.record, machine, whole, problem, outdated=supervisor.outdated)

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
        self.changes += 1
        box = self._box_of(paths.record)
        if box is None:
            raise StateError(f"no directory {paths.root}")
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
        finished = None if spec.setup else ()
        disk = Disk(spec.resources.disk, spec.image.digest, spec.setup, finished)
        self.boxes[spec.id] = Box(Applied(spec, source, "2026-01-01T00:00:00+00:00", 0), disk)
        self.changes += 1
        await self.point()

    async def delete(self, layout: Layout, id: SandboxId) -> None:
        """As `storage.delete`."""
        await self.point()
        box = self.boxes.get(id)
        if box is None:
            return
        if box.supervisor is not None:
            raise BusyError(f"the sandbox {id} is running")
        if (wrong := self.may_delete(id)) is not None:
            self.violations.append(wrong)
        del self.boxes[id]
        self.changes += 1
        await self.point()

    def sweep(self, layout: Layout, project: str) -> None:
        self.half_made.clear()

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

    async def build_image(self, layout: Layout, image: ImageSpec, report: Any) -> None:
        await self._build()
        self.images.add(image.digest)
        await self.point()

    async def build_platform(self, layout: Layout, report: Any) -> None:
        await self._build()
        self.platform = True
        await self.point()

    async def _build(self) -> None:
        await self.point()
        await trio.sleep(self.takes(20))
        await self.point()
        self.changes += 1

    # --- processes -----------------------------------------------------------------------------------------------

    def spawn(self, paths: SandboxPaths, id: SandboxId) -> int:
        pid = len(self._children) + 1
        self._children[pid] = True
        self.changes += 1
        self.nursery.start_soon(self._supervise, id, pid)
        return pid

    def has_ended(self, pid: int) -> bool:
        return not self._children[pid]

    @asynccontextmanager
    async def connect(self, control: Path, timeout: float = 5.0) -> AsyncIterator[None]:
        await anyio.lowlevel.checkpoint()
        supervisor = self._supervisor(control)
        if supervisor is None or not supervisor.listening:
            raise ControlError(f"no supervisor answers at {control}")
        await self.point()  # not before: each of many polls would be one
        yield

    def kill_holder(self, lock: Path) -> bool:
        box = self._box_of(lock)
        if box is None or box.supervisor is None:
            return False
        self.end(box)
        return True

    async def _supervise(self, id: SandboxId, pid: int) -> None:
        """The life of a supervisor: lock, record, socket, machine, guest."""
        await trio.sleep(self.takes(0.1))
        box = self.boxes.get(id)
        if box is None or box.supervisor is not None or box.record is None:
            self._children[pid] = False
            return
        supervisor = box.supervisor = Supervisor(box.record.spec, box.disk)
        await trio.sleep(self.takes(0.2))
        supervisor.listening = True
        try:
            await self._boot(supervisor)
        except SandboxfileError as exc:
            supervisor.failure = supervisor.failure or exc
            supervisor.ready.set()
            await trio.sleep(1)
            if box.supervisor is supervisor:
                self.end(box)
        await supervisor.gone.wait()
        self._children[pid] = False

    async def _boot(self, supervisor: Supervisor) -> None:
        await supervisor.work(self.takes(0.3))
        if not self.platform:
            raise HostError("the kernel is not in the cache")
        if supervisor.disk is None:
            raise MachineError("there is no disk")
        for workspace in supervisor.spec.workspaces:
            supervisor.devices[workspace.target] = workspace
        await supervisor.work(self.takes(2))
        if supervisor.health == "starting":
            supervisor.health = "running"
        supervisor.ready.set()

    async def _power_off(self, box: Box, supervisor: Supervisor) -> None:
        if supervisor.dead:
            return
        if supervisor.health != "stopping":
            supervisor.health = "stopping"
            supervisor.paused = False
            supervisor.stir()
            await trio.sleep(self.takes(0.5))
            while supervisor.hanging and not supervisor.dead:
                await supervisor.moved.wait()
            if box.supervisor is supervisor:
                self.end(box)
        await supervisor.gone.wait()

    # --- the control socket --------------------------------------------------------------------------------------

    def _supervisor(self, control: Path) -> Supervisor | None:
        for id, box in self.boxes.items():
            if id not in self._paths.values():
                self._paths[self.layout.sandbox(id).control] = id
        box = self.boxes.get(self._paths.get(control, SandboxId("", "")))
        return None if box is None else box.supervisor

    async def request(
        self, path: Path, message: Message, on_progress: Any = None, timeout: float | None = None
    ) -> Message:
        """As `control.client.request`: what is asked for goes on when the client does not."""
        with trio.move_on_after(math.inf if timeout is None else timeout):
            await self.point()
            supervisor = self._supervisor(path)
            if supervisor is None or not supervisor.listening:
                raise ControlError(f"no supervisor answers at {path}")
            await self._ask(supervisor, self.boxes[self._paths[path]], message)
            await self.point()
            return messages.Done()
        raise ControlError("the supervisor did not answer in time")

    async def _ask(self, supervisor: Supervisor, box: Box, message: Message) -> None:
        reply, scope = Reply(), trio.CancelScope()
        supervisor.replies.add(reply)

        async def work() -> None:
            ATTEMPT.set(None)  # not the client's any more
            try:
                with scope:
                    while supervisor.hanging and not supervisor.dead:
                        await supervisor.moved.wait()
                    await self._handle(supervisor, box, message)
            except SandboxfileError as exc:
                reply.error = exc
            else:
                reply.done = not supervisor.dead
            supervisor.replies.discard(reply)
            reply.come.set()

        self.nursery.start_soon(work)
        try:
            while not reply.come.is_set():
                with trio.move_on_after(_TICK):
                    await reply.come.wait()
                if not reply.come.is_set():
                    await self.point()
        except BaseException:
            if isinstance(message, messages.RunSetup):
                scope.cancel()
            raise
        if reply.error is not None:
            raise reply.error
        if not reply.done and not isinstance(message, messages.Stop):
            raise ControlError("the sandbox's supervisor hung up")

    async def _handle(self, supervisor: Supervisor, box: Box, message: Message) -> None:
        if isinstance(message, messages.Stop):
            await self._power_off(box, supervisor)
        if isinstance(message, messages.Stop | messages.GetStatus):
            return
        await supervisor.guest()
        self.changes += 1
        match message:
            case messages.RunSetup(first):
                async with supervisor.setup_turn:
                    for index in range(first, len(supervisor.spec.setup)):
                        await self._run_setup(supervisor, box, index)
            case messages.Attach(workspace):
                await self._attach(supervisor, workspace)
            case messages.Detach(target):
                async with supervisor.turn:
                    await supervisor.work(self.takes(1))
                    supervisor.devices.pop(target, None)
            case messages.GrowDisk(size):
                assert supervisor.disk is not None
                supervisor.disk.size = supervisor.disk_size = max(supervisor.disk.size, size)
                await supervisor.work(self.takes(1))
            case messages.Update(spec):
                supervisor.spec = spec
            case messages.StartMain():
                supervisor.main = "running" if supervisor.spec.command else supervisor.main
            case messages.Resume():
                supervisor.paused = False
                supervisor.stir()
            case messages.WaitReady():
                pass  # `guest` has waited
            case other:
                raise ControlError(f"{other} is not a request")

    async def _attach(self, supervisor: Supervisor, workspace: Workspace) -> None:
        async with supervisor.turn:
            if supervisor.devices.get(workspace.target) != workspace:
                supervisor.devices.pop(workspace.target, None)
                if any(_is_inside(workspace.target, other) for other in supervisor.devices):
                    self.violations.append(f"{workspace.target} is attached inside or around another one")
                await supervisor.work(self.takes(1))
                supervisor.devices[workspace.target] = workspace

    async def _run_setup(self, supervisor: Supervisor, box: Box, index: int) -> None:
        command, disk = supervisor.spec.setup[index], supervisor.disk
        assert disk is not None
        if index < disk.done and not disk.edited:
            self.violations.append(f"setup command {index} is recorded as done and runs again")
        ended = False
        try:
            await supervisor.work(self.takes(3))
            ended = "fail in setup" not in self.armed
            self.armed.discard("fail in setup")
        finally:
            disk.runs.append((command, ended))
            disk.disturbed |= not ended
        if not ended:
            raise CommandError("setup command failed", 1)
        if "die in setup" in self.armed:
            self.armed.discard("die in setup")
            disk.disturbed = True
            self.end(box)
            return
        with trio.CancelScope(shield=True):
            if not supervisor.dead and box.record is not None:
                self._record_setup_done(box, index + 1)

    def _record_setup_done(self, box: Box, count: int) -> None:
        assert box.record is not None
        id = box.record.spec.id
        if self.boxes.get(id) is box and box.disk is not None:
            box.disk.done = max(box.disk.done, count)
            self.write_record(self.layout.sandbox(id), replace(box.record, setup_done=count))


def _is_inside(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")


def supervisor_status(supervisor: Supervisor) -> Machine:
    """What a supervisor answers; before its machine runs, what it is going to be."""
    health: Any = "paused" if supervisor.paused and supervisor.health == "running" else supervisor.health
    return Machine(
        health=health,
        cpus=supervisor.cpus,
        memory=supervisor.memory,
        disk=supervisor.disk_size,
        workspaces=tuple(workspace for _, workspace in sorted(supervisor.devices.items())),
        main=MainProcess(supervisor.main),  # type: ignore[arg-type]
        accelerator="tcg",
        boot="",
        started_at="",
        spec=fingerprint(supervisor.spec) if supervisor.ready.is_set() else "",
    )


@contextmanager
def beneath_the_real_thing(host: FakeHost) -> Iterator[None]:
    """Put the host under pipeline, drivers and machines."""

    async def in_this_thread(function: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        await anyio.lowlevel.checkpoint()  # a thread would let the clock jump while it works
        return function(*arguments)

    replaced: list[tuple[Any, str, Callable[..., Any] | Callable[..., Awaitable[Any]]]] = [
        (anyio.to_thread, "run_sync", in_this_thread),
        (pipeline, "observe", host.observe),
        (drivers.storage, "sweep", host.sweep),
        (drivers, "request", host.request),
        (drivers, "is_locked", host.is_locked),
        (drivers, "read_record", host.read_record),
        (drivers, "write_record", host.write_record),
        (drivers.storage, "create", host.create),
        (drivers.storage, "delete", host.delete),
        (machines, "request", host.request),
        (machines, "is_locked", host.is_locked),
        (machines, "kill_holder", host.kill_holder),
        (machines, "_spawn", host.spawn),
        (machines, "_has_ended", host.has_ended),
        (machines, "connect", host.connect),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for module, name, function in replaced:
            patch.setattr(module, name, function)
        patch.setattr("sandboxfile.images.debian.build_image", host.build_image)
        patch.setattr("sandboxfile.images.platform.build_platform", host.build_platform)
        patch.setattr("sandboxfile.vm.disks.grow_disk", host.grow_disk)
        yield
