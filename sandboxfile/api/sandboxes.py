"""One sandbox of this host: commands and files inside, its life, its ports, what it reached."""

import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.api.applying import LOCK_TIMEOUT, carry_out
from sandboxfile.api.blocking import blocking, explained
from sandboxfile.api.executing import Completed, capture, exec_message, reason
from sandboxfile.applying import checkpoints
from sandboxfile.cli.commands.exec import running
from sandboxfile.cli.commands.fork import as_run, forked, restored_spec
from sandboxfile.cli.commands.fork import make as make_fork
from sandboxfile.cli.project import known_sandboxes, match_name, this_layout
from sandboxfile.cli.renaming import proposed, rename
from sandboxfile.cli.tail import Tail
from sandboxfile.cli.traffic import Entry, chosen, read
from sandboxfile.cli.unmanaged import refreshed
from sandboxfile.cli.views.text import harmless
from sandboxfile.control.client import Connection, open_wire
from sandboxfile.control.messages import Forward
from sandboxfile.control.wire import Wire
from sandboxfile.errors import CommandError, HostError, NotFoundError, SandboxfileError
from sandboxfile.host.checkpoints import default_label, find_checkpoint
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import hold_lock, is_locked, read_record
from sandboxfile.model.desired import Port
from sandboxfile.model.observed import ObservedSandbox, Status
from sandboxfile.model.plan import Plan
from sandboxfile.names import UNMANAGED, SandboxId, is_name
from sandboxfile.observe import observe_one
from sandboxfile.planning.verbs import Verb

_ATTEMPTS = 5  # at a port that is free when we look and taken when we want it


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A handle: it holds nothing open, and two of the same sandbox are equal. Methods may be called from any thread."""

    id: SandboxId

    @classmethod
    def open(cls, name: str) -> "Sandbox":
        """An existing one: `"shop/web"`, or `"web"` when only one is called so. Raises NotFoundError."""
        with explained():
            return cls(match_name(name, known_sandboxes(this_layout()), None))

    @property
    def name(self) -> str:
        return self.id.name

    def __str__(self) -> str:
        return str(self.id)

    # --- inside --------------------------------------------------------------------------------------------------

    def exec(
        self,
        argv: Sequence[str] | str,
        *,
        input: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
        check: bool = False,
    ) -> Completed:
        """Run a command inside and wait for its end; a string is for `/bin/sh -c`.

        Without `user` and `cwd` those of the sandbox; `env` is on top of the sandbox's variables; without `input` the
        command's standard input is empty. After `timeout` seconds the command is ended: ExecTimeout. With `check` an
        exit code but 0 is a CommandError. Raises SandboxfileError when the sandbox does not run.
        """
        data = input.encode() if isinstance(input, str) else input
        message = exec_message(argv, stdin=data is not None, env=env, cwd=cwd, user=user)
        with explained():
            control = self._control()
            done = blocking(partial(capture, control, message, data or b"", timeout))
            return done.check() if check else done

    def read_file(self, path: str, *, user: str | None = None, timeout: float | None = None) -> bytes:
        """The content of a file inside; a relative path counts from the working directory.

        Raises CommandError, with the path and why, when it cannot be read.
        """
        done = self.exec(["cat", "--", path], user=user, timeout=timeout)
        return self._of_file(done, "read", path).stdout_bytes

    def write_file(
        self, path: str, data: bytes | str, *, user: str | None = None, timeout: float | None = None
    ) -> None:
        """Write a file inside, whole; its directory must be there. Raises CommandError, with the path and why."""
        done = self.exec(["/bin/sh", "-c", 'cat > "$1"', "sh", path], input=data, user=user, timeout=timeout)
        self._of_file(done, "written", path)

    def _of_file(self, done: Completed, what: str, path: str) -> Completed:
        with explained():
            if done.returncode:
                raise CommandError(f"{harmless(path)} in {self} cannot be {what}: {reason(done)}", done.returncode)
        return done

    def _control(self) -> Path:
        """The control socket of the running sandbox; one that is asleep is started first."""
        if this_layout().sandbox(self.id).asleep.exists():
            self._do("start")
        return running(self.id)

    # --- its life ------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """`running`, `stopped`, `paused`, … as it is now. Raises NotFoundError when there is no such sandbox."""
        return self._observed().status

    def start(self) -> None:
        """Start it, and wait until it answers; one that was paused goes on. Raises what `apply` raises."""
        self._do("start")

    def stop(self) -> None:
        """Stop it; its disk stays."""
        self._do("stop")

    def remove(self, *, allow_destroy: bool = False) -> None:
        """Delete it with its disk, also when it runs; with `allow_destroy` also when it is protected."""
        self._do("remove", allow_destroy)

    def rename(self, name: str) -> "Sandbox":
        """Give it another name, also in its file, with what refers to it there; its disk stays. Gives the new handle.

        A running one is stopped for it and started again. Raises InvalidFile when its file is wrong, SandboxfileError
        when the name is taken, or the file would ask for something else by it; then nothing was changed.
        """
        with explained():
            _check_name(name)
            renaming = proposed(self.id, name, None, pipeline.Given())
            here = Sandbox(renaming.where)
            ran = is_locked(this_layout().sandbox(here.id).lock)
            if ran:
                here.stop()
            blocking(partial(rename, renaming, LOCK_TIMEOUT))
            new = Sandbox(renaming.new)
            if ran:
                new.start()
            return new

    # --- its disk, again ------------------------------------------------------------------------------------------

    def checkpoint(self, label: str | None = None) -> str:
        """Keep a copy of its disk as it is now; gives its label, by default the time.

        A running one stands still meanwhile. Raises BusyError when the label is taken.
        """
        name = label or default_label(datetime.now(UTC))
        with explained():
            self._must_exist()
            blocking(partial(self._alone, "make a checkpoint of", partial(checkpoints.checkpoint, label=name)))
        return name

    def restore(self, label: str, *, allow_destroy: bool = False) -> None:
        """Give it the disk of a checkpoint back; the one that it has is lost, which `protect` forbids.

        A running one is stopped for it and started again. Raises NotFoundError when there is no such checkpoint.
        """
        with explained():
            self._must_exist()
            paths = this_layout().sandbox(self.id)
            find_checkpoint(paths, label)
            if read_record(paths).spec.protect and not allow_destroy:
                raise SandboxfileError(f"the disk of {self} would be lost, and it has `protect: true`")
            ran = self.status() != "stopped"
            self._do("stop")
            blocking(partial(self._alone, "restore", partial(checkpoints.restore, label=label)))
            if ran:
                self._do("start")

    def fork(self, name: str, *, checkpoint: str | None = None) -> "Sandbox":
        """Another sandbox with a copy of its disk as it is, or was at a checkpoint: stopped, and in no file.

        It has neither published ports nor volumes. Raises HostError when the name is taken.
        """
        with explained():
            self._must_exist()
            _check_name(name)
            layout, new = this_layout(), SandboxId(UNMANAGED, name)
            found = find_checkpoint(layout.sandbox(self.id), checkpoint) if checkpoint is not None else None
            old = restored_spec(layout, self.id, found)
            desired = as_run(old).desired
            if desired is None:
                raise SandboxfileError("the policies of this user or this machine are wrong", hint="sbx validate")
            spec = forked(old, new, refreshed(old.policy, desired.sandboxes[0].policy))
            blocking(partial(make_fork, self.id, spec, checkpoint, LOCK_TIMEOUT))
            return Sandbox(new)

    async def _alone(self, what: str, work: Callable[[Layout, SandboxId], Awaitable[None]]) -> None:
        layout = this_layout()
        async with hold_lock(layout.project_lock(self.id.project), f"{what} {self}", LOCK_TIMEOUT):
            await work(layout, self.id)

    def _do(self, verb: Verb, allow_destroy: bool = False) -> None:
        async def make() -> Plan:
            fit: pipeline.Fit | None = "refuse" if verb == "start" else None
            [plan] = await pipeline.make_verb_plans(
                verb, [self.id], this_layout(), allow_destroy=allow_destroy, fit=fit
            )
            return plan

        with explained():
            self._must_exist()
            blocking(partial(carry_out, make))

    # --- its network ---------------------------------------------------------------------------------------------

    def port(self, guest: int) -> tuple[str, int]:
        """Address and port of this host that lead to the port `guest` inside, as the file's `ports` say.

        Raises NotFoundError when none does.
        """
        found = self._observed()
        spec = found.applied.spec.ports if found.applied is not None else ()
        for port in found.machine.ports if found.machine is not None else spec:
            if port.guest == guest:
                return port.address, port.host
        with explained():
            raise NotFoundError(
                f"no port of this host leads to {self}:{guest}", hint="name it in `ports`, or use `forward`"
            )

    @contextmanager
    def forward(self, guest: int, host: int | None = None) -> Iterator[tuple[str, int]]:
        """Address and port of this host that lead to the port `guest` inside, during the block; any free one unless
        `host` says which. Raises HostError when it is taken.
        """
        with explained():
            wire = self._forwarding(guest, host)
        try:
            yield wire[1], wire[2]
        finally:
            wire[0].close()

    def _forwarding(self, guest: int, host: int | None) -> tuple[Wire, str, int]:
        control = self._control()
        for attempt in range(1, _ATTEMPTS + 1):
            port = Port(_free_port() if host is None else host, guest)

            async def ask(port: Port = port) -> Wire:
                wire = await open_wire(control, "supervisor")
                try:
                    connection = Connection(wire)
                    await connection.send(Forward(port))
                    await connection.receive()
                except BaseException:
                    wire.close()
                    raise
                return wire

            try:
                return blocking(ask), port.address, port.host
            except HostError:
                if host is not None or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def network_log(self, *, blocked: bool = False) -> list[Entry]:
        """What it reached and what was blocked, by time; with `blocked` only that. `record.fields` has all of a record.

        A request is there when it has ended, up to 0.2 s later; one that was blocked at once.
        """
        with closing(Tail(this_layout().sandbox(self.id).network_log)) as tail:
            return chosen(read({self.id: tail}, whole=True), blocked=blocked)

    # --- what is there -------------------------------------------------------------------------------------------

    def _observed(self) -> ObservedSandbox:
        with explained():
            self._must_exist()
            return blocking(partial(observe_one, this_layout(), self.id))

    def _must_exist(self) -> None:
        if not this_layout().sandbox(self.id).root.is_dir():
            raise NotFoundError(f"there is no sandbox {self}", hint="`apply` makes those of a sandbox file")


def _check_name(name: str) -> None:
    if not is_name(name):
        raise SandboxfileError(f"{name!r} is not a name")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
