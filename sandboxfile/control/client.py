"""What a client does on a control socket: ask, run a command with its own streams, join the agent. Loads no machine.

Works on asyncio and on trio. A `Failed` reply is raised as the class of `sandboxfile.errors` that it names.
"""

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus

from sandboxfile import errors
from sandboxfile.control.messages import (
    AttachAgent,
    Detached,
    Exec,
    Exited,
    Failed,
    Message,
    Output,
    Progress,
    Resize,
    SetupDone,
    Signal,
    Started,
    decode,
    encode,
)
from sandboxfile.control.wire import Wire
from sandboxfile.errors import CommandError, ControlError, SandboxfileError
from sandboxfile.host.tasks import beside

_CONNECT_RETRY = 0.02  # seconds
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_IMPATIENT = 3  # this many INT or TERM, and we no longer wait for the command


async def request(
    path: Path,
    message: Message,
    on_progress: Callable[[Message], None] | None = None,
    timeout: float | None = None,
) -> Message:
    """Send one request and give its last reply; `on_progress` sees `Progress`, `Output` and `SetupDone` before it.

    `timeout` in seconds for all of it; None waits for ever. Raises ControlError, or what the supervisor failed with.
    """
    with _within(timeout):
        async with connect(path) as connection:
            await connection.send(message)
            while True:
                reply = await connection.receive()
                if not isinstance(reply, Progress | Output | SetupDone):
                    return reply
                if on_progress is not None:
                    on_progress(reply)


async def exec_streams(
    path: Path,
    command: Exec,
    fds: Sequence[int] = (0, 1, 2),
    *,
    forward_signals: bool = True,
    on_started: Callable[[], None] | None = None,
) -> int:
    """Run a command inside with these streams as its stdin, stdout and stderr; gives its exit code.

    With `forward_signals` (main thread only): SIGWINCH resizes the inner terminal, INT, TERM, HUP, QUIT, USR1, USR2 go
    to the command, and the third INT or TERM gives up on it; with a terminal TERM and HUP do so at once. Raw mode is
    the caller's business.
    """
    async with connect(path) as connection:
        if command.detach:
            await connection.send(command)
            await connection.receive()
            return 0
        code = 0

        def give_up(number: int) -> None:  # leaving closes the connection, and that ends the command
            nonlocal code
            code = 128 + number
            group.cancel_scope.cancel()

        async with beside() as group:
            if forward_signals:
                await group.start(_forward_signals, connection, command, fds, give_up)
            async with _descriptors(fds, command, group) as descriptors:
                await connection.send(command, descriptors)
            code = await _exit_code(connection, on_started)
        return code


async def _exit_code(connection: "Connection", on_started: Callable[[], None] | None) -> int:
    while True:
        match await connection.receive():
            case Started():
                if on_started is not None:
                    on_started()
            case Exited(code):
                return code


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A signal made this client leave the agent."""

    signal: int


async def attach_streams(
    path: Path,
    message: AttachAgent,
    fds: Sequence[int] = (0, 1, 2),
    *,
    forward_signals: bool = True,
    on_note: Callable[[str], None] = lambda _: None,
) -> Exited | Detached | Interrupted:
    """Join these streams, a terminal, to the agent's, until either side leaves or the agent ends.

    `on_note` gets lines for the person who was there. With `forward_signals` (main thread only): SIGWINCH resizes the
    agent's terminal; TERM and HUP end this client, and the agent goes on. Raw mode is the caller's business: without
    it Ctrl-C ends this client as well.
    """
    async with connect(path) as connection:
        if message.detach:
            await connection.send(message)
            await connection.receive()
            return Detached("it was started so")
        outcome: Exited | Detached | Interrupted | None = None

        def give_up(number: int) -> None:
            nonlocal outcome
            outcome = Interrupted(number)
            group.cancel_scope.cancel()

        async with beside() as group:
            if forward_signals:
                await group.start(_follow_terminal, connection, fds, give_up)
            await connection.send(message, list(fds))
            outcome = await _parting(connection, on_note)
        assert outcome is not None
        return outcome


async def _parting(connection: "Connection", on_note: Callable[[str], None]) -> Exited | Detached:
    while True:
        match await connection.receive():
            case Output(line):
                on_note(line)
            case Exited() as exited:
                return exited
            case Detached(_, notes) as detached:
                for note in notes:
                    on_note(note)
                return detached


# --- one connection ----------------------------------------------------------------------------------------------


class Connection:
    """A connected control socket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message; `fds` stay ours. Raises ControlError when the supervisor is gone."""
        await self._wire.send(encode(message), fds)

    async def receive(self) -> Message:
        """The next reply. Raises ControlError when the supervisor hangs up, and what it failed with for `Failed`."""
        line = await self._wire.receive()
        if line is None:
            raise ControlError(
                "the sandbox's supervisor hung up", hint="`sbx status NAME` and `sbx logs NAME` say what happened"
            )
        message = decode(line)
        if isinstance(message, Failed):
            raise _raised(message)
        return message


@asynccontextmanager
async def connect(path: Path, timeout: float = 5.0) -> AsyncIterator[Connection]:
    """Connect to a supervisor. Waits up to `timeout` seconds while its queue is full. Raises ControlError."""
    wire = await open_wire(path, "supervisor", timeout)
    try:
        yield Connection(wire)
    finally:
        wire.close()


async def open_wire(path: Path, who: str, timeout: float = 5.0) -> Wire:
    """A connection to whoever listens at `path`, called `who` in the message. Raises ControlError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    try:
        await _connect(sock, path, who, timeout)
    except BaseException:
        sock.close()
        raise
    return Wire(sock)


async def _connect(sock: socket.socket, path: Path, who: str, timeout: float) -> None:
    with anyio.move_on_after(timeout):
        while True:
            try:
                sock.connect(str(path))
                return
            except BlockingIOError:  # a UNIX socket says so when the other side's queue is full
                await anyio.sleep(_CONNECT_RETRY)
            except OSError as exc:
                raise ControlError(f"no {who} answers at {path}: {exc.strerror}") from exc
    raise ControlError(f"no {who} answers at {path}: timed out")


@contextmanager
def _within(timeout: float | None) -> Iterator[None]:
    try:
        with anyio.fail_after(timeout):
            yield
    except TimeoutError as exc:
        raise ControlError(f"the supervisor did not answer within {timeout:g} s") from exc


def _raised(reply: Failed) -> SandboxfileError:
    kind = getattr(errors, reply.error, SandboxfileError)
    if kind is CommandError:
        return CommandError(reply.message, reply.exit_code, hint=reply.hint, output=reply.output)
    if not (isinstance(kind, type) and issubclass(kind, SandboxfileError)):
        kind = SandboxfileError
    return kind(reply.message, hint=reply.hint, output=reply.output)


# --- streams and signals -----------------------------------------------------------------------------------------


@asynccontextmanager
async def _descriptors(fds: Sequence[int], command: Exec, group: TaskGroup) -> AsyncIterator[list[int]]:
    """The three descriptors to send.

    A terminal without a pty inside is read here and handed on through a pipe: job control (Ctrl-Z, `&`) stops only
    processes of the terminal's own session, and a stopped client must not go on swallowing what is typed.
    """
    if not command.stdin or command.tty or not os.isatty(fds[0]):
        yield list(fds)
        return
    outlet, inlet = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(inlet, False)
    group.start_soon(_read_terminal, fds[0], inlet)
    try:
        yield [outlet, *fds[1:]]
    finally:
        os.close(outlet)


async def _read_terminal(terminal: int, inlet: int) -> None:
    try:
        while True:
            await anyio.wait_readable(terminal)
            data = os.read(terminal, 4096)
            if not data:  # Ctrl-D
                return
            while data:
                try:
                    data = data[os.write(inlet, data) :]
                except BlockingIOError:
                    await anyio.wait_writable(inlet)
    except OSError:  # the command no longer reads, or the terminal is gone
        return
    finally:
        os.close(inlet)


async def _forward_signals(
    connection: "Connection",
    command: Exec,
    fds: Sequence[int],
    give_up: Callable[[int], None],
    *,
    task_status: TaskStatus[None],
) -> None:
    impatience = 0
    wanted = (*_FORWARDED, signal.SIGWINCH) if command.tty else _FORWARDED
    with anyio.open_signal_receiver(*wanted) as arriving:
        task_status.started()
        async for number in arriving:
            if number in (signal.SIGINT, signal.SIGTERM):
                impatience += 1
            # Shells ignore TERM, and a terminal that hung up gives nobody a second chance to say more.
            hung_up = command.tty and number in (signal.SIGTERM, signal.SIGHUP)
            if hung_up or impatience >= _IMPATIENT:
                give_up(number)
                return
            with suppress(ControlError):  # whoever waits for the exit code says that the supervisor is gone
                await connection.send(_message(number, fds))


async def _follow_terminal(
    connection: "Connection",
    fds: Sequence[int],
    give_up: Callable[[int], None],
    *,
    task_status: TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP) as arriving:
        task_status.started()
        async for number in arriving:
            if number is not signal.SIGWINCH:
                give_up(number)
                return
            with suppress(ControlError):  # whoever waits for the outcome says that the supervisor is gone
                await connection.send(_size(fds))


def _message(number: signal.Signals, fds: Sequence[int]) -> Resize | Signal:
    return _size(fds) if number is signal.SIGWINCH else Signal(number.name.removeprefix("SIG"))


def _size(fds: Sequence[int]) -> Resize:
    columns, rows = 80, 24
    for descriptor in fds:
        with suppress(OSError):
            found = os.get_terminal_size(descriptor)
            columns, rows = found.columns or columns, found.lines or rows
            break
    return Resize(rows=rows, columns=columns)
