"""One running sandbox: its boot, its main process, its end, and what can be asked of it. asyncio only.

`live` is its whole life; `requests` answers clients out of it. What happens when is decided in `lifecycle`; this is
the work. Whatever fails while it starts is told to whoever waits for it, and ends it.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from sandboxfile.control.server import listen
from sandboxfile.errors import GuestError, HostError, MachineError, SandboxfileError
from sandboxfile.guest.config import PORTS, GuestConfig, encode
from sandboxfile.guest.keys import Keys, make_keys
from sandboxfile.guest.process import Process
from sandboxfile.host.layout import Layout
from sandboxfile.host.saying import say
from sandboxfile.host.sleep_mark import mark_asleep
from sandboxfile.host.tasks import beside, together
from sandboxfile.host.trust import unseal_exchanged
from sandboxfile.images.boot.platform import Platform, find_platform
from sandboxfile.images.store import image_config
from sandboxfile.model.desired import DesiredSandbox, Healthcheck, Port
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Health, Machine
from sandboxfile.model.policy import Policy
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.callbacks import Callbacks
from sandboxfile.supervisor.checking import run_check
from sandboxfile.supervisor.conductor import Conductor
from sandboxfile.supervisor.copying import Copying
from sandboxfile.supervisor.docker import wait_for_docker
from sandboxfile.supervisor.egress import Egress
from sandboxfile.supervisor.executing import image_environment, image_path
from sandboxfile.supervisor.health import Finding, HealthWatch, situation_of
from sandboxfile.supervisor.identity import renew_identity
from sandboxfile.supervisor.idle import Idle, is_busy
from sandboxfile.supervisor.lifecycle import (
    GuestReady,
    Life,
    MachineDied,
    MachinePaused,
    MachineResumed,
    RestartChanged,
    SleepAsked,
)
from sandboxfile.supervisor.logs import RotatingLog, drain
from sandboxfile.supervisor.news import News
from sandboxfile.supervisor.ports import Ports
from sandboxfile.supervisor.sessions import AgentSession
from sandboxfile.supervisor.setup import follow_main, start_main
from sandboxfile.supervisor.volumes import Volumes
from sandboxfile.supervisor.workspaces import Workspaces
from sandboxfile.vm.accel import choose_accelerator, tsc_khz
from sandboxfile.vm.ids import id_map
from sandboxfile.vm.launch import BootFiles, RunningMachine, start_machine
from sandboxfile.vm.machine import Accelerator, MachineSpec, boot_fingerprint
from sandboxfile.vm.qmp import Event

if TYPE_CHECKING:  # it imports asyncssh, which takes 0.25 s: done in a thread while the kernel boots
    from sandboxfile.guest.channel import Guest
    from sandboxfile.guest.tunnel import Tunnel

_BOOT_TIMEOUT = 180.0  # seconds; 3 is usual, and many at once under emulation take long
_QMP_TIMEOUT = 3.0
_POWER_OFF_TIMEOUT = 15.0
_TELL_TIMEOUT = 5.0  # how long a failed start waits for somebody to ask why
_STUCK_GRACE = 2.5
_KILLED = 128 + 9
# A full sync would wait for the dead file server; the sandbox's own disk is what must be whole, and its volumes.
_END_STUCK = """\
export PATH=/run/sbx/bin
trap '' TERM HUP
kill -TERM -1
sleep 1
sync -f /
awk '$3 == "ext4" && $2 != "/" { print $2 }' /proc/mounts | while read -r place; do sync -f "$place" & done
"""


class Sandbox:
    """The state of one supervisor. `ready` is set once it works, or never will; `gone` when nothing of it is left."""

    def __init__(self, layout: Layout, id: SandboxId, spec: DesiredSandbox, environ: Mapping[str, str]) -> None:
        self.id = id
        self.paths = layout.sandbox(id)
        self.spec = spec
        self.progress: list[str] = []
        self.news = News()  # progress was made
        self.ready = anyio.Event()
        self.gone = anyio.Event()
        self.failure: SandboxfileError | None = None
        self.told = anyio.Event()
        self.setup_turn = anyio.Lock()
        self.copying = Copying()
        self.stop_timeout = 10.0
        image = image_config(self.paths.image)
        self.image_env = image_environment(image)
        self.on_paused: Callable[[], None] = lambda: None
        self.main_log = RotatingLog(self.paths.main_log)
        self._layout = layout
        self._path = image_path(image)
        self._environ = environ
        self._console_log = RotatingLog(self.paths.console_log)
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        self._ids = id_map(layout, os.getuid(), os.getgid())
        self.workspaces = Workspaces(self._ids, layout.runtime, lambda each: unseal_exchanged(layout, each))
        self.volumes = Volumes(layout, id)
        self.egress = Egress(layout, id, spec.policy, environ)
        self.health = HealthWatch(spec.healthcheck, self._check)
        self.idle = Idle(spec.idle_stop, self._is_busy, lambda: self.conductor.tell(SleepAsked()))
        self.ports = Ports(self._open_port, self.idle.during)
        self.session = AgentSession()
        self.session.on_ended = self.idle.look
        self.agent_found = False
        self._callbacks = Callbacks(self.session, self.ports, self._connections)
        self._accelerator: Accelerator
        self._machine: RunningMachine | None = None
        self._guest: Guest | None = None
        self._boot_scope = anyio.CancelScope()
        self._boot_over = anyio.Event()
        self._main_scope = anyio.CancelScope()
        self._main: Process | None = None
        self.conductor: Conductor

    # --- its life ------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Boot, run until the machine has ended, and leave nothing running."""
        try:
            async with beside() as group:
                life = Life(restart=self.spec.restart, has_command=self.spec.command is not None)
                self.conductor = Conductor(life, self, group)
                self.conductor.on_step = self.notice
                for task in (self.health.run, self.idle.run):
                    group.start_soon(task)
                group.start_soon(self._run, group)
                await self.conductor.finished.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    async def _run(self, group: TaskGroup) -> None:
        try:
            with self._boot_scope:
                await self._boot(group)
                self._report("ready")
                self.conductor.tell(GuestReady())
        except SandboxfileError as exc:
            await self._fail(exc)
        self._boot_over.set()
        self.ready.set()
        if self._machine is not None and self.failure is None:
            await self._stay(self._machine)
        self.conductor.tell(MachineDied())

    async def _stay(self, machine: RunningMachine) -> None:
        with machine.qmp.listening(self._on_event):
            async with beside(self.workspaces.watch):
                code = await machine.wait()
        if self.conductor.life.health != "stopping":
            say(f"the machine has ended by itself; QEMU's exit code is {code}. {machine.output}")

    async def _fail(self, failure: SandboxfileError) -> None:
        """The start failed: end the machine, and wait a moment for somebody to tell it to."""
        for line in (str(failure), *failure.details()):
            say(line)
        if self._machine is not None:
            await self._machine.kill()
        self.failure = failure
        self.ready.set()
        with anyio.move_on_after(_TELL_TIMEOUT):
            await self.told.wait()

    async def _close(self) -> None:
        async with self.copying.turn:  # a copy reads the disk, which another may use as soon as the lock is free
            pass
        if self._guest is not None:
            await self._guest.close()
        if self._machine is not None:
            await self._machine.close()
        await self.workspaces.close()
        self.volumes.close()
        self._console_log.close()
        self.main_log.close()

    def _on_event(self, event: Event) -> None:
        match event["event"]:
            case "STOP":
                paused = True
            case "RESUME":
                paused = False
            case _:
                return
        say("paused" if paused else "resumed")
        if self._guest is not None:
            self._guest.set_paused(paused)
        if self.copying.notice(paused=paused):
            return
        if paused:
            self.on_paused()
        self.conductor.tell(MachinePaused() if paused else MachineResumed())

    def _report(self, message: str) -> None:
        say(message)
        self.progress.append(message)
        self.news.tell()

    # --- booting -------------------------------------------------------------------------------------------------

    async def _boot(self, group: TaskGroup) -> None:
        """From nothing to a guest that answers, with every workspace mounted. Raises SandboxfileError."""
        self._report("starting the machine")
        self.ports.start(group)
        self.session.start(group)
        self._callbacks.start(group)
        await self.ports.set(self.spec.ports)
        group.start_soon(self.egress.keep)
        keys = make_keys()
        await together(
            lambda: self._start_machine(keys, group),
            lambda: self.workspaces.serve_all(self.spec.workspaces),
            lambda: self.volumes.hold_all(self.spec.mounts),
        )
        assert self._machine is not None
        async with beside(self._die_early):
            self._report("booting the guest")
            await self.workspaces.plug_all(self._machine)
            await self.volumes.plug_all(self._machine)
            # Behind its policy before anything of the user's runs.
            await together(lambda: self._reach_guest(keys), self.egress.settled)

    async def _start_machine(self, keys: Keys, group: TaskGroup) -> None:
        platform = _platform(self._layout)
        await together(lambda: self._choose_accelerator(platform), self.egress.prepare)
        spec = MachineSpec(
            cpus=self.spec.resources.cpus,
            memory=self.spec.resources.memory,
            accelerator=self._accelerator,
            tsc_khz=await tsc_khz() if self._accelerator == "tcg" else None,
            ports=PORTS,
        )
        files = BootFiles(platform.vmlinux, platform.initrd, platform.tools, self.paths.base, self.paths.disk)
        config = GuestConfig(
            self.id.name,
            keys.host_private,
            keys.client_public,
            authority=self.egress.authority.certificate,
            authority_hash=self.egress.authority.subject_hash,
            settings=self.spec.policy.settings,
            path=self._path,
            docker=self.spec.docker,
        )
        with listen(self.paths.monitor) as monitor:
            self._machine = await start_machine(
                spec,
                files,
                encode(config),
                run_as=self._ids.run_as,
                monitor=monitor,
                ports=self.egress.ports,
            )
        self.egress.serve(self._machine.network)
        group.start_soon(drain, self._machine.console, self._console_log)

    async def _choose_accelerator(self, platform: Platform) -> None:
        chosen = await choose_accelerator(self._layout, platform.vmlinux, platform.digest, self._environ)
        self._accelerator = chosen.accelerator

    async def _reach_guest(self, keys: Keys) -> None:
        assert self._machine is not None
        channel = await to_thread.run_sync(importlib.import_module, "sandboxfile.guest.channel")
        guest: Guest = channel.Guest(self._machine.ports, keys)
        self._guest = self.workspaces.guest = self.volumes.guest = guest

        async def mount() -> None:
            if self.spec.workspaces or self.spec.mounts:
                await guest.connect("root")
                self._report("mounting workspaces" if self.spec.workspaces else "mounting volumes")
                await self.workspaces.mount_all()
                await self.volumes.mount_all()

        async def start_docker() -> None:
            if self.spec.docker:
                await guest.connect("root")
                self._report("starting Docker")
                await wait_for_docker(guest)

        try:
            with anyio.fail_after(_BOOT_TIMEOUT):
                await renew_identity(guest, self.paths)
                await together(lambda: guest.connect(self.spec.user), mount, start_docker)
        except TimeoutError as exc:
            raise GuestError(
                f"the guest does not answer after {_BOOT_TIMEOUT:.0f} s",
                hint="the console says how far it came: sbx logs --console NAME",
                output=self._console_log.tail(),
            ) from exc

    async def _die_early(self) -> NoReturn:
        assert self._machine is not None
        code = await self._machine.wait()
        await anyio.sleep(0.1)  # the console's last words
        raise MachineError(
            f"the machine ended while it started (exit code {code})",
            output=f"{self._console_log.tail()}\n{self._machine.output}",
        )

    # --- what the conductor orders -------------------------------------------------------------------------------

    async def run_main(self) -> int:
        """The main process, from start to end."""
        guest = await self.guest()
        self._main_scope = anyio.CancelScope()
        with self._main_scope:
            self._main = await start_main(guest, self.spec, self.image_env)
            try:
                return await follow_main(self._main, self.main_log)
            except GuestError:
                await guest.end(self._main)  # only its connection was lost
                raise
            finally:
                self._main.close()
                self._main = None
        return _KILLED

    async def end_main(self) -> None:
        """TERM, and KILL when it does not end in time."""
        with anyio.move_on_after(self.stop_timeout), suppress(GuestError):
            if self._main is not None and self._guest is not None:
                process = self._main
                await self._guest.signal(process, "TERM")
                with suppress(GuestError):
                    await process.wait()
                return
        with anyio.move_on_after(_POWER_OFF_TIMEOUT), suppress(GuestError):
            if self._main is not None and self._guest is not None:
                await self._guest.signal(self._main, "KILL")
        self._main_scope.cancel()

    async def mark_asleep(self) -> None:
        """Remember that nobody stopped it. A disk that is full keeps no sandbox awake, and nothing wakes it then."""
        say("nothing was done in it for long enough: it goes to sleep")
        try:
            await to_thread.run_sync(mark_asleep, self.paths)
        except OSError as exc:
            say(f"cannot write {self.paths.asleep}: {exc.strerror}")

    async def resume_machine(self) -> None:
        if self._machine is not None:
            with suppress(MachineError):
                await self._machine.qmp.resume()

    async def power_off(self) -> None:
        """Power off inside when the guest answers; else, or when that takes too long, end QEMU."""
        self._boot_scope.cancel()
        await self._boot_over.wait()
        machine = self._machine
        if machine is None:
            return
        if self._guest is not None and self._usable():
            if await self._powered_off_inside(self._guest, machine):
                return
            say("the machine is ended without the guest's help")
        with anyio.move_on_after(_QMP_TIMEOUT), suppress(MachineError):
            await machine.qmp.quit()
            await machine.wait()
            return
        await machine.kill()

    async def _powered_off_inside(self, guest: "Guest", machine: RunningMachine) -> bool:
        if self.workspaces.stuck:
            with suppress(GuestError):
                await guest.run(("/run/sbx/bin/sh", "-c", _END_STUCK), timeout=_QMP_TIMEOUT)
            await anyio.sleep(_STUCK_GRACE)  # the command goes on when sshd, which is ended as well, has told us so
            return False
        with anyio.move_on_after(_POWER_OFF_TIMEOUT):
            with suppress(GuestError):  # sshd is among those that are ended
                await guest.run(("/run/sbx/bin/sbx-poweroff",), timeout=_QMP_TIMEOUT)
            await machine.wait()
            return True
        return False

    # --- what can be asked ---------------------------------------------------------------------------------------

    async def guest(self) -> "Guest":
        """The guest, once it is ready. Raises what the start failed with; MachineError when it is stopping."""
        await self.ready.wait()
        if self.failure is not None:
            raise self.failure
        if self._guest is None or not self._usable() or self.conductor.life.health == "stopping":
            slept = "nothing was done in it, and it goes to sleep just now: the same command starts it again"
            raise MachineError("the sandbox is stopping", hint=slept if self.paths.asleep.exists() else None)
        return self._guest

    async def machine(self) -> RunningMachine:
        """The machine of a guest that is ready."""
        await self.guest()
        assert self._machine is not None
        return self._machine

    async def status(self) -> Machine:
        """How it is, as QEMU says; before QEMU runs, as it is going to be. Raises MachineError when QEMU is silent."""
        if self._machine is None:
            return self._starting()
        try:
            with anyio.fail_after(_QMP_TIMEOUT):
                return await self._asked(self._machine)
        except TimeoutError as exc:
            raise MachineError("the machine does not answer: QEMU is stopped or overloaded") from exc

    async def _asked(self, machine: RunningMachine) -> Machine:
        health: Health = self.conductor.life.health
        if health in ("running", "paused"):
            health = "running" if self.copying.holds or await machine.qmp.status() == "running" else "paused"
        return Machine(
            health=health,
            cpus=await machine.qmp.cpus(),
            memory=await machine.qmp.memory(),
            disk=await machine.qmp.disk_size(),
            workspaces=await self.workspaces.attached(),
            mounts=await self.volumes.attached(),
            main=self.conductor.life.main,
            accelerator=self._accelerator,
            boot=boot_fingerprint(machine.spec),
            started_at=self._started_at,
            spec=fingerprint(self.spec),
            policy=self.egress.confirmed,
            ports=self.ports.listening,
            secrets=self.egress.tags,
            session=self.session.state,
            agent_found=self.agent_found,
            check=self.health.status,
            check_output=self.health.failure,
        )

    async def set_policy(self, policy: Policy) -> None:
        """Hold it to another policy, at once, and from now on. Raises PolicyError, HostError, and nothing changed."""
        await self.egress.set_policy(policy)
        self.spec = replace(self.spec, policy=policy)

    async def provide(self, values: tuple[tuple[str, str], ...]) -> None:
        """Take values of credentials, on top of those that came before."""
        await self.egress.provide(values)

    async def set_ports(self, ports: tuple[Port, ...]) -> None:
        """Listen on these ports of the host, and on no others, from now on. Raises HostError, and nothing changed."""
        await self.ports.set(ports)
        self.spec = replace(self.spec, ports=ports)

    async def _open_port(self, number: int) -> "Tunnel":
        """A connection to a service inside. Raises MachineError or GuestError at once when there can be none."""
        if self._guest is None or not self._usable():
            raise MachineError("the sandbox is not ready")
        return await self._guest.open_port(number, user=self.spec.user)

    async def _connections(self) -> str:
        guest = await self.guest()
        return (await guest.run(("/run/sbx/bin/cat", "/proc/net/tcp", "/proc/net/tcp6"))).output

    async def update(self, spec: DesiredSandbox) -> None:
        """Go by other settings for what is started from now on. Raises what `set_policy` raises."""
        if spec.policy != self.egress.policy:
            await self.egress.set_policy(spec.policy)
        self.spec = spec
        self.health.change(spec.healthcheck)
        self.idle.change(spec.idle_stop)
        self.conductor.tell(RestartChanged(spec.restart, spec.command is not None))

    def notice(self) -> None:
        """Something began or ended: what that means for its health, and whether anything is done in it."""
        self.health.turn(situation_of(self.conductor.life, in_setup=self.setup_turn.locked()))
        self.idle.look()

    def _is_busy(self, clients: int) -> bool:
        return is_busy(self.conductor.life, self.session.state, clients)

    async def _check(self, check: Healthcheck) -> Finding:
        copies = self.copying.begun
        found = await run_check(await self.guest(), self.spec, self.image_env, check)
        if found.ok or self.copying.begun == copies:
            return found
        async with self.copying.turn:  # the machine stood still meanwhile: that says nothing of its health
            pass
        return await run_check(await self.guest(), self.spec, self.image_env, check)

    def _starting(self) -> Machine:
        sizes = self.spec.resources
        return Machine(
            "starting",
            sizes.cpus,
            sizes.memory,
            sizes.disk,
            (),
            self.conductor.life.main,
            "",
            "",
            self._started_at,
            check=self.health.status,
        )

    def _usable(self) -> bool:
        """Whether the guest was reached: nothing before that can be powered off from inside."""
        return self.ready.is_set() and self.failure is None and not self._boot_scope.cancelled_caught


def _platform(layout: Layout) -> Platform:
    found = find_platform(layout)
    if found is None:
        raise HostError(
            "the kernel and the guest tools are not in the cache",
            hint="`sbx up` builds them; they belong to this version of the program, or the cache was deleted",
        )
    return found
