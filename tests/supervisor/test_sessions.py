"""The agent's terminal, with real programs on real terminals of this host in place of those inside."""

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import tty
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio import to_thread
from anyio.abc import TaskGroup

from sandboxfile.control.client import attach_streams, connect
from sandboxfile.control.messages import AttachAgent, Detached, Exited, Resize, Started
from sandboxfile.control.server import Conversation, listen, serve
from sandboxfile.errors import ControlError, GuestError
from sandboxfile.guest.channel import Guest
from sandboxfile.guest.process import Process, Terminal
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.names import SandboxId
from sandboxfile.supervisor import sessions
from sandboxfile.supervisor.sessions import AgentSession

pytestmark = pytest.mark.anyio
SPEC = DesiredSandbox(SandboxId("p", "box"), "dev", Image("d" * 64), env=(("SHELL", "/bin/sh"),))
KEYS = (16, 17)
_PATIENCE = 30.0  # seconds; a failing test only


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Local:
    """A program of this host on a terminal of its own, as the channel of a process."""

    def __init__(self, process: Process, argv: Sequence[str], env: dict[str, str], terminal: Terminal) -> None:
        self.process = process
        self._primary, secondary = os.openpty()
        self.sizes: list[tuple[int, int]] = []
        self.change_terminal_size(terminal.columns, terminal.rows)
        self._program = subprocess.Popen(
            argv,
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            env={**os.environ, **env, "TERM": terminal.kind},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(secondary)
        os.set_blocking(self._primary, False)
        self._reading = anyio.Event()
        self._reading.set()
        self.open = True
        process.connection_made(self)

    async def run(self) -> None:
        """Move its output, until its end."""
        with suppress(OSError):  # the terminal's end, as Linux says it
            while True:
                await self._reading.wait()
                await anyio.wait_readable(self._primary)
                with suppress(BlockingIOError):
                    self.process.data_received(os.read(self._primary, 1 << 15), None)
        code = await to_thread.run_sync(self._program.wait)
        self.process.exit_status_received(code if code >= 0 else 128 - code)
        self.process.eof_received()
        self.open = False
        os.close(self._primary)
        self.process.connection_lost(None)

    def write(self, data: bytes) -> None:
        if self.open:
            os.write(self._primary, data)

    def write_eof(self) -> None: ...

    def close(self) -> None:
        self.send_signal("KILL")

    def pause_reading(self) -> None:
        self._reading = anyio.Event()

    def resume_reading(self) -> None:
        self._reading.set()

    def send_signal(self, signal_name: str) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._program.pid, getattr(signal, f"SIG{signal_name}"))

    def change_terminal_size(self, width: int, height: int) -> None:
        self.sizes.append((height, width))
        fcntl.ioctl(self._primary, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))


@dataclass
class LocalGuest:
    """Starts programs on this host."""

    group: TaskGroup
    started: list[Local] = field(default_factory=list)
    ended: list[Process] = field(default_factory=list)

    async def start(
        self, argv: Sequence[str], *, terminal: Terminal, env: Sequence[tuple[str, str]], **_: Any
    ) -> Process:
        process = Process("id")
        self.started.append(Local(process, argv, dict(env), terminal))
        self.group.start_soon(self.started[-1].run)
        return process

    async def end(self, process: Process) -> None:
        self.ended.append(process)


class Screen:
    """A client's terminal: what is shown on it, and what is typed."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self._primary, self.terminal = os.openpty()
        tty.setraw(self.terminal)
        os.set_blocking(self._primary, False)
        self.shown = b""
        self.size = (rows, columns)

    async def shows(self, text: bytes) -> None:
        """Wait for it, and forget what came before."""
        with anyio.fail_after(_PATIENCE):
            while text not in self.shown:
                await anyio.wait_readable(self._primary)
                self.shown += os.read(self._primary, 1 << 16)
        self.shown = self.shown.partition(text)[2]

    def type(self, keys: bytes) -> None:
        os.write(self._primary, keys)

    def close(self) -> None:
        os.close(self._primary)
        os.close(self.terminal)


class World:
    """A session behind a control socket."""

    def __init__(self, path: Path, group: TaskGroup) -> None:
        self.path = path
        self.group = group
        self.guest = LocalGuest(group)
        self.session = AgentSession()
        self.session.start(group)
        self.screens: list[Screen] = []
        self.notes: list[str] = []

    async def handle(self, conversation: Conversation) -> None:
        assert isinstance(conversation.request, AttachAgent)
        await self.session.attach(conversation, conversation.request, cast(Guest, self.guest), SPEC)

    def screen(self, rows: int = 24, columns: int = 80) -> Screen:
        self.screens.append(Screen(rows, columns))
        return self.screens[-1]

    async def start(self, script: str) -> None:
        await attach_streams(self.path, AttachAgent(("-c", script), detach=True), forward_signals=False)

    async def attach(self, screen: Screen) -> Exited | Detached | object:
        rows, columns = screen.size
        message = AttachAgent(term="xterm", rows=rows, columns=columns, detach_keys=KEYS)
        streams = (screen.terminal,) * 3
        return await attach_streams(self.path, message, streams, forward_signals=False, on_note=self.notes.append)

    @asynccontextmanager
    async def attached(self, screen: Screen, outcome: object) -> AsyncIterator[None]:
        """Be there during the block; it must end with this outcome."""

        async def be_there() -> None:
            assert await self.attach(screen) == outcome

        async with anyio.create_task_group() as group:
            group.start_soon(be_there)
            yield

    async def over(self) -> None:
        await self.until(lambda: self.session.state == "none")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the session or a program does by itself."""
        with anyio.fail_after(_PATIENCE):
            while not condition():  # noqa: ASYNC110 - programs of this host have no events
                await anyio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="sbx-"))
    try:
        with listen(directory / "c.sock") as listener:
            async with beside() as group:
                world = World(directory / "c.sock", group)
                group.start_soon(serve, listener, world.handle)
                yield world
                for local in world.guest.started:
                    local.send_signal("KILL")
                await world.until(lambda: not any(local.open for local in world.guest.started))
                await world.over()
    finally:
        shutil.rmtree(directory)
    for screen in world.screens:
        screen.close()


LEFT = Detached("by its keys")


async def test_the_agents_exit_code_is_the_clients_and_all_output_comes_before_it(world: World) -> None:
    await world.start("read go; echo last words; exit 7")
    screen = world.screen()
    async with world.attached(screen, Exited(7)):
        screen.type(b"go\r")
        await screen.shows(b"last words")
    assert world.session.state == "none"


async def test_it_runs_on_with_nobody_there_and_shows_later_what_it_has_printed(world: World) -> None:
    await world.start("read a; echo first-$a; read b; echo second-$b; read c")
    screen, later = world.screen(), world.screen()
    async with world.attached(screen, LEFT):
        screen.type(b"one\r")
        await screen.shows(b"first-one")
        assert world.session.state == "attached"
        screen.type(b"two\r\x10\x11")
    assert world.session.state == "detached"
    async with world.attached(later, LEFT):
        await later.shows(b"\x1b[2J")
        await later.shows(b"first-one")
        await later.shows(b"second-two")
        later.type(b"\x10\x11")
    assert len(world.guest.started) == 1


async def test_after_its_end_another_one_is_started(world: World) -> None:
    for code in (1, 2):
        await world.start(f"exit {code}")
        await world.over()
    assert len(world.guest.started) == 2


async def test_its_end_is_told_once_there_is_no_agent_any_more_and_nobody_leaving_is(world: World) -> None:
    told = []
    world.session.on_ended = lambda: told.append(world.session.state)
    await world.start("read go")
    screen = world.screen()
    async with world.attached(screen, LEFT):
        screen.type(b"\x10\x11")
    assert told == []
    last = world.screen()
    async with world.attached(last, Exited(0)):
        last.type(b"go\r")
    assert told == ["none"]


async def test_a_client_that_is_gone_has_only_left(world: World) -> None:
    await world.start("echo ready; read line; echo got-$line; read end")
    screen, later = world.screen(), world.screen()
    async with connect(world.path) as connection:
        await connection.send(AttachAgent(), (screen.terminal,) * 3)
        assert await connection.receive() == Started()
        await screen.shows(b"ready")
    await world.until(lambda: world.session.state == "detached")
    async with world.attached(later, LEFT):
        later.type(b"words\r")
        await later.shows(b"got-words")
        later.type(b"\x10\x11")


async def test_a_terminal_that_hung_up_has_left(world: World) -> None:
    await world.start("echo ready; read line")
    hung_up = Screen()
    async with world.attached(hung_up, Detached("its terminal is gone")):
        await hung_up.shows(b"ready")
        os.close(hung_up._primary)
    assert world.session.state == "detached"
    os.close(hung_up.terminal)


async def test_the_second_client_takes_over(world: World) -> None:
    await world.start("echo ready; while read line; do echo got-$line; done")
    first, second = world.screen(), world.screen()
    async with world.attached(first, Detached("attached elsewhere")):
        await first.shows(b"ready")
        async with world.attached(second, LEFT):
            await second.shows(b"ready")
            second.type(b"words\r")
            await second.shows(b"got-words")
            second.type(b"\x10\x11")
    assert b"words" not in first.shown


async def test_sizes_reach_the_program_and_whoever_joins_makes_it_draw_anew(world: World) -> None:
    await world.start("trap 'echo size $(stty size)' WINCH; while :; do sleep 0.05; done")
    screen = world.screen(24, 80)
    async with world.attached(screen, LEFT):
        await screen.shows(b"size 24 80")
        assert world.guest.started[0].sizes[-2:] == [(23, 80), (24, 80)]
        screen.type(b"\x10\x11")
    async with connect(world.path) as connection:
        await connection.send(AttachAgent(rows=30, columns=90), (screen.terminal,) * 3)
        await screen.shows(b"size 30 90")
        await connection.send(Resize(31, 97))
        await screen.shows(b"size 31 97")


async def test_arguments_and_variables_are_for_an_agent_that_starts(world: World) -> None:
    await world.start("read line")
    for message in (AttachAgent(("more",), detach=True), AttachAgent(env=(("A", "1"),), detach=True)):
        with pytest.raises(ControlError, match=r"the agent of p/box runs already"):
            await attach_streams(world.path, message, forward_signals=False)
    await attach_streams(world.path, AttachAgent(detach=True), forward_signals=False)
    assert len(world.guest.started) == 1


async def test_two_who_come_at_once_start_one_agent(world: World) -> None:
    first, second = world.screen(), world.screen()
    async with anyio.create_task_group() as group:
        group.start_soon(world.attach, first)
        group.start_soon(world.attach, second)
        await world.until(lambda: world.session.state == "attached")
        await anyio.wait_all_tasks_blocked()
        for screen in (first, second):
            screen.type(b"\x10\x11")
    assert len(world.guest.started) == 1


async def test_a_terminal_that_takes_nothing_is_left_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_PATIENCE", 0.2)
    monkeypatch.setattr(sessions, "_LAST_WORDS", 0.1)
    await world.start("head -c 3000000 /dev/zero | tr '\\0' x; read line")
    assert await world.attach(world.screen()) == Detached("its terminal took no output for 0 s")
    assert world.session.state == "detached"


async def test_a_flood_with_nobody_there_is_read_to_its_end(world: World, tmp_path: Path) -> None:
    await world.start(f"head -c 5000000 /dev/zero | tr '\\0' x; touch {tmp_path}/done; read line")
    await world.until((tmp_path / "done").exists)


async def test_a_lost_connection_is_told_and_the_agent_is_ended(world: World) -> None:
    await world.start("echo ready; read line")
    screen = world.screen()

    async def lose() -> None:
        await screen.shows(b"ready")
        world.guest.started[0].process.connection_lost(None)

    world.group.start_soon(lose)
    with pytest.raises(GuestError, match="connection to the sandbox broke"):
        await world.attach(screen)
    assert world.guest.ended == [world.guest.started[0].process]
    assert world.session.state == "none"


async def test_a_terminal_is_left_as_it_was(world: World) -> None:
    await world.start(r"printf '\033[?2004h\033[?25lready'; read line")
    screen = world.screen()
    async with world.attached(screen, LEFT):
        await screen.shows(b"ready")
        screen.type(b"\x10\x11")
    await screen.shows(b"\x1b[?25h\x1b[?2004l")
    await screen.shows(b"\x1b[0m\r\n")


async def test_watchers_see_all_output_and_one_that_fails_is_not_asked_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[bytes] = []
    asked = 0

    def failing(_: bytes) -> None:
        nonlocal asked
        asked += 1
        raise ValueError("our own bug")

    world.session.watchers += [failing, seen.append]
    await world.start("echo one; read line; echo two; exit 0")
    screen = world.screen()
    async with world.attached(screen, Exited(0)):
        await screen.shows(b"one")
        screen.type(b"\r")
    assert b"one" in b"".join(seen)
    assert b"two" in b"".join(seen)
    assert asked == 1
    assert "our own bug" in capsys.readouterr().err


async def test_notes_are_told_when_somebody_leaves_and_when_the_agent_ends(world: World) -> None:
    await world.start("echo ready; read line")
    screen = world.screen()
    world.session.notes.append("one")
    async with world.attached(screen, Detached("by its keys", ("one",))):
        await screen.shows(b"ready")
        screen.type(b"\x10\x11")
    world.session.notes.append("two")
    async with world.attached(screen, Exited(0)):
        await screen.shows(b"ready")
        screen.type(b"\r")
    assert world.notes == ["one", "two"]
