"""The supervisor of one sandbox with its machine, its guest and its disk, as data that lives in virtual time."""

import pickle
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import trio

from sandboxfile.control import messages
from sandboxfile.control.messages import Message
from sandboxfile.errors import CommandError, ControlError, GuestError, HostError, MachineError, SandboxfileError
from sandboxfile.host.checkpoints import make_checkpoint
from sandboxfile.model.desired import Command, Condition, DesiredSandbox, Mount, Port, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Check, Machine, MainProcess
from sandboxfile.model.policy import Layer, Policy
from sandboxfile.secrets.tags import tag

from .attempt import ATTEMPT, Attempt, Strike
from .fake_files import WORKING, Kept, Killed

if TYPE_CHECKING:
    from .fake_host import FakeHost

_TICK = 1.0  # seconds of waiting for an answer after which there is one more place to be struck at
_SLOWER = 1.1  # each of them later than the one before: somebody may wait for an hour
_PATIENCE = 30.0  # seconds for a guest to answer
WORK = Command(("work",))  # a main process that ends well by itself
_STRANGE = fingerprint(Policy((Layer("policy of somebody else", "allow"),)))


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
    marks: list[int] = field(default_factory=list)  # what was done on it
    machine: int = 0  # the machine id on it


@dataclass(eq=False)
class Box:
    """A sandbox's directory. `record` is None when it cannot be read; `supervisor` is who holds the lock.

    `known`: what supervisors went by, since the record was last written. `confirmed`: policies, as fingerprints, that
    the gateway ever went by.
    """

    record: Applied | None
    disk: Disk | None
    supervisor: "Supervisor | None" = None
    known: list[DesiredSandbox] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    asleep: bool = False
    # As a directory: which one, and what was last written there.
    inode: int = 0
    written: Applied | None = None
    content: bytes = b""

    @property
    def as_kept(self) -> Kept:
        """What a copy of the disk has that is made now."""
        assert self.record is not None
        return Kept(pickle.dumps(self.disk), self.record.spec)


class Reply:
    """One client's wait for one answer."""

    def __init__(self) -> None:
        self.come = trio.Event()
        self.done = False
        self.error: SandboxfileError | None = None


class Supervisor:
    """A process that holds a lock, and its machine."""

    def __init__(self, host: "FakeHost", box: Box, spec: DesiredSandbox, lock: int) -> None:
        self.host, self.box, self.spec, self.disk, self._lock = host, box, spec, box.disk, lock
        self.cpus, self.memory = spec.resources.cpus, spec.resources.memory
        self.health = "starting"
        self.listening = self.paused = self.hanging = self.outdated = self.dead = False
        self.devices: dict[str, Workspace] = {}
        self.mounts: set[Mount] = set()
        self.main = "none"
        self.policy = ""  # what the gateway goes by: a fingerprint
        self.refusing = self.agent_found = False
        self.ports: tuple[Port, ...] = ()
        self.values: dict[str, str] = {}  # of credentials
        self.ready, self.gone, self.moved = trio.Event(), trio.Event(), trio.Event()
        self.failure: SandboxfileError | None = None
        self._turn, self._setup_turn = trio.Lock(), trio.Lock()
        self._replies: set[Reply] = set()

    # --- its life ------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """From the lock to its end."""
        await trio.sleep(self.host.takes(0.2))
        self.listening = True
        try:
            await self._boot()
        except SandboxfileError as exc:
            self.failure = exc
            self.ready.set()
            await trio.sleep(1)
            self.end()
        await self.gone.wait()

    async def _boot(self) -> None:
        await self._work(self.host.takes(0.3))
        if not self.host.platform:
            raise HostError("the kernel is not in the cache")
        if self.disk is None:
            raise MachineError("there is no disk")
        for mount in self.spec.mounts:
            self.host.volumes.take(mount.volume, self)
        self.ports, self.mounts = self.spec.ports, set(self.spec.mounts)
        self.devices.update({workspace.target: workspace for workspace in self.spec.workspaces})
        await self._work(self.host.takes(2))
        self._become_another()
        self.hold_to(self.spec.policy)
        if self.health == "starting":
            self.health = "running"
        self.ready.set()

    def _become_another(self) -> None:
        """As `supervisor.identity`."""
        assert self.disk is not None
        copied = self.host.layout.sandbox(self.spec.id).copied
        if copied.exists() or not self.disk.machine:
            self.host.changes += 1
            self.disk.machine = self.host.changes
            copied.unlink(missing_ok=True)
        self.mark()

    def mark(self) -> None:
        """Somebody works inside."""
        if self.disk is not None and self.ready_to_work:
            self.disk.marks.append(self.host.changes)

    @property
    def ready_to_work(self) -> bool:
        return not (self.dead or self.paused or self.hanging)

    def end(self) -> None:
        """The lock is free: supervisor, machine and file servers are gone. Clients' connections close."""
        if self.dead:
            return
        self.dead, self.health, self.box.supervisor = True, "stopping", None
        self.host.volumes.release(self)
        self.host.directories.unlock(self._lock)
        for event in (self.ready, self.gone, *(reply.come for reply in self._replies)):
            event.set()
        self._stir()

    async def power_off(self) -> None:
        """In order; whoever comes second waits for the first."""
        if self.health != "stopping":
            self.health, self.paused = "stopping", False
            self._stir()
            await trio.sleep(self.host.takes(0.5))
            await self._until_not_hanging()
            self.end()
        await self.gone.wait()

    def strike(self, kind: str) -> None:
        """Somebody interferes with it."""
        match kind:
            case "kill":  # of supervisor or QEMU: neither outlives the other
                self.end()
            case "pause":
                self.paused = self.health == "running"
            case "resume":
                self.paused = False
            case "hang":
                self.hanging = True
            case "outdate":
                self.outdated = True
            case "exit main" if self.main == "running":
                self.main = "running" if self.spec.restart == "always" else "exited"
            case "stop":
                self.host.nursery.start_soon(self.power_off)
        self._strike_part(kind)
        self._strike_policy(kind)
        self._stir()

    def _fall_asleep(self) -> None:
        if self.spec.idle_stop and self.main != "running" and self.health == "running" and not self.paused:
            self.box.asleep = True
            self.end()

    def _strike_part(self, kind: str) -> None:
        match kind:
            case "sleep":
                self._fall_asleep()
            case "close ports":
                self.ports = ()
            case "unplug" if self.devices:
                del self.devices[max(self.devices)]
            case "unplug volume" if self.mounts:
                self.unplug(max(self.mounts))

    def unplug(self, mount: Mount) -> None:
        self.mounts.discard(mount)
        if not any(other.volume == mount.volume for other in self.mounts):
            self.host.volumes.release(self, mount.volume)

    def meets(self, condition: Condition) -> bool:
        """Whether those may start that depend on it so. Raises MachineError when that cannot come."""
        if condition == "completed" and self.main in ("none", "exited") and self.ready.is_set():
            if self.main == "none":
                raise MachineError("its main process was not started")
            return True
        return condition != "completed" and self.ready.is_set() and (condition == "started" or self.check == "healthy")

    @property
    def check(self) -> Check:
        """Of the healthcheck: healthy as soon as it can be, and not while it is paused."""
        if self.spec.healthcheck is None:
            return "none"
        return "healthy" if self.health == "running" and not self.paused else "starting"

    def status(self) -> Machine:
        """What it answers; before its machine runs, what it is going to be."""
        health: Any = "paused" if self.paused and self.health == "running" else self.health
        main: Any = self.main
        return Machine(
            health=health,
            cpus=self.cpus,
            memory=self.memory,
            disk=self.disk.size if self.disk else 0,
            workspaces=tuple(workspace for _, workspace in sorted(self.devices.items())),
            main=MainProcess(main, 0 if main == "exited" else None),
            mounts=tuple(sorted(self.mounts)),
            check=self.check,
            accelerator="tcg",
            boot="",
            started_at="",
            spec=fingerprint(self.spec) if self.ready.is_set() else "",
            policy=self.policy if self.ready.is_set() else "",
            ports=self.ports,
            agent_found=self.agent_found,
            secrets=tuple((name, tag(value)) for name, value in self.values.items()),
        )

    def _stir(self) -> None:
        self.moved.set()
        self.moved = trio.Event()

    async def _until_not_hanging(self) -> None:
        while self.hanging and not self.dead:
            await self.moved.wait()

    async def _work(self, seconds: float) -> None:
        """Let the guest do something. Raises GuestError when it is dead, or paused for too long."""
        await trio.sleep(seconds)
        with trio.move_on_after(_PATIENCE):
            while (self.paused or self.hanging) and not self.dead:
                await self.moved.wait()
        if self.dead or self.paused or self.hanging:
            raise GuestError("the guest does not answer")

    # --- its control socket --------------------------------------------------------------------------------------

    async def ask(self, message: Message) -> None:
        """The client's side: what is asked for goes on when the client does not, setup excepted."""
        reply, scope = Reply(), trio.CancelScope()
        self._replies.add(reply)
        self.host.nursery.start_soon(self._answer, message, reply, scope)
        try:
            tick = _TICK
            while not reply.come.is_set():
                with trio.move_on_after(tick):
                    await reply.come.wait()
                tick *= _SLOWER
                if not reply.come.is_set():
                    await self.host.point()
        except BaseException:
            if isinstance(message, messages.RunSetup):
                scope.cancel()
            raise
        if reply.error is not None:
            raise reply.error
        if not reply.done and not isinstance(message, messages.Stop):
            raise ControlError("the sandbox's supervisor hung up")

    async def _answer(self, message: Message, reply: Reply, scope: trio.CancelScope) -> None:
        ATTEMPT.set(None)  # not the client's any more
        try:
            with scope:
                await self._until_not_hanging()
                await self._handle(message)
        except SandboxfileError as exc:
            reply.error = exc
        else:
            reply.done = not self.dead
        self._replies.discard(reply)
        reply.come.set()

    async def _handle(self, message: Message) -> None:
        match message:
            case messages.GetStatus():
                pass
            case messages.Stop():
                await self.power_off()
            case messages.Provide(values):  # also while it boots
                self.host.changes += 1
                self.values.update(values)
            case _:
                await self.ready.wait()
                if self.failure:
                    raise self.failure
                if self.dead or self.health == "stopping":
                    raise MachineError("the sandbox is stopping")
                self.host.changes += 1
                await self._change(message)

    async def _change(self, message: Message) -> None:
        match message:
            case messages.WaitReady():
                pass
            case messages.RunSetup(first):
                async with self._setup_turn:
                    for index in range(first, len(self.spec.setup)):
                        await self._run_setup(index)
            case messages.Attach(workspace):
                await self._attach(workspace)
            case messages.Detach(target):
                async with self._turn:
                    await self._work(self.host.takes(1))
                    self.devices.pop(target, None)
            case messages.GrowDisk(size):
                assert self.disk is not None
                self.disk.size = max(self.disk.size, size)
                await self._work(self.host.takes(1))
            case messages.SetPolicy() | messages.Update():
                await self._settle(message)
            case messages.AttachVolume() | messages.DetachVolume():
                await self._change_volume(message)
            case messages.CopyDisk(label):
                async with self._turn:
                    await self._copy_disk(label)
            case _:
                await self._change_shortly(message)

    async def _copy_disk(self, label: str) -> None:
        """It stands still meanwhile; it may be killed in the middle of it, or not have stood still."""
        await trio.sleep(self.host.takes(1))
        await self._until_not_hanging()
        if self.dead or self.box.record is None or self.box.disk is None:
            raise MachineError("the sandbox is stopping")
        self.host.directories.write_down(self.spec.id, self.box)
        shelf = self.host.shelf(self.spec.id)
        shelf.perhaps.setdefault(label, []).append(self.box.as_kept)
        armed, place = self.host.armed, self.host.changes % 6 + 1
        fate = (Strike(True, place, "kill client"),) if "die in copying" in armed else ()
        disturbed = "disturb copying" in armed
        armed -= {"die in copying", "disturb copying"}
        tokens = ATTEMPT.set(Attempt(fate)), WORKING.set(True)
        try:
            make_checkpoint(self.host.layout.sandbox(self.spec.id), label, lambda: not disturbed)
        except Killed:
            self.host.died_in_copying = True
            self.end()
        finally:
            ATTEMPT.reset(tokens[0])
            WORKING.reset(tokens[1])
            if disturbed:
                shelf.perhaps[label].pop()

    async def _change_volume(self, message: messages.AttachVolume | messages.DetachVolume) -> None:
        match message:
            case messages.AttachVolume(mount):
                async with self._turn:
                    self.host.volumes.take(mount.volume, self)
                    await self._work(self.host.takes(1))
                    self.mounts.add(mount)
            case messages.DetachVolume(target):
                async with self._turn:
                    await self._work(self.host.takes(1))
                    for mount in [mount for mount in self.mounts if mount.target == target]:
                        self.unplug(mount)

    async def _change_shortly(self, message: Message) -> None:
        match message:
            case messages.SetPorts(ports):
                await self._work(self.host.takes(0.1))
                self.ports = ports
            case messages.CheckAgent():
                await self._work(self.host.takes(0.1))
                self.agent_found = True
            case messages.StartMain():
                self.main = "running" if self.spec.command else self.main
                if self.spec.command == WORK and self.spec.restart != "always":
                    self.host.nursery.start_soon(self._complete)
            case messages.Resume():
                self.paused = False
                self._stir()
            case other:
                raise ControlError(f"{other} is not a request")

    async def _complete(self) -> None:
        """Its main process has done its work."""
        await trio.sleep(self.host.takes(5))
        if not self.dead and self.main == "running" and self.spec.command == WORK:
            self.main = "exited"

    # --- its policy ----------------------------------------------------------------------------------------------

    async def _settle(self, message: messages.SetPolicy | messages.Update) -> None:
        match message:
            case messages.SetPolicy(policy):
                await self.set_policy(policy)
            case messages.Update(spec):
                if spec.policy != self.spec.policy:
                    await self.set_policy(spec.policy)
                self._go_by(spec)

    async def set_policy(self, policy: Policy) -> None:
        """Needs the gateway, not the guest. Refused, it changes nothing."""
        await trio.sleep(self.host.takes(0.1))
        if self.refusing:
            self.refusing = False
            raise HostError("the gateway refuses the policy")
        self.hold_to(policy)

    def hold_to(self, policy: Policy) -> None:
        self.policy = fingerprint(policy)
        self.box.confirmed.append(self.policy)
        self._go_by(replace(self.spec, policy=policy))

    def _go_by(self, spec: DesiredSandbox) -> None:
        self.spec = spec
        self.box.known.append(spec)

    def _strike_policy(self, kind: str) -> None:
        match kind:
            case "refuse policy":
                self.refusing = True
            case "other policy" if self.policy:
                self.policy = _STRANGE
            case "lose gateway" if self.policy:
                self.policy = ""
                self.host.nursery.start_soon(self._find_gateway)

    async def _find_gateway(self) -> None:
        """Register anew, with the same policy."""
        await trio.sleep(self.host.takes(60))
        if not self.policy and not self.dead:
            self.hold_to(self.spec.policy)

    # --- its guest -----------------------------------------------------------------------------------------------

    async def _attach(self, workspace: Workspace) -> None:
        async with self._turn:
            if self.devices.get(workspace.target) == workspace:
                return
            self.devices.pop(workspace.target, None)
            if any(_is_inside(workspace.target, other) for other in self.devices):
                self.host.violations.append(f"{workspace.target} is attached inside or around another one")
            await self._work(self.host.takes(1))
            self.devices[workspace.target] = workspace

    async def _run_setup(self, index: int) -> None:
        command, disk, armed = self.spec.setup[index], self.disk, self.host.armed
        assert disk is not None
        if index < disk.done and not disk.edited:
            self.host.violations.append(f"setup command {index} is recorded as done and runs again")
        ended = False
        try:
            await self._work(self.host.takes(3))
            ended = "fail in setup" not in armed
            armed.discard("fail in setup")
        finally:
            disk.runs.append((command, ended))
            disk.disturbed |= not ended
        if not ended:
            raise CommandError("a setup command failed", 1)
        if "die in setup" in armed:
            armed.discard("die in setup")
            disk.disturbed = True
            self.end()
        else:
            self._record_setup_done(index + 1)

    def _record_setup_done(self, count: int) -> None:
        if not self.dead and self.box.record is not None and self.disk is not None:
            self.disk.done = max(self.disk.done, count)
            self.host.put_record(self.box, replace(self.box.record, setup_done=count))


def _is_inside(one: str, other: str) -> bool:
    return one.startswith(f"{other}/") or other.startswith(f"{one}/")
