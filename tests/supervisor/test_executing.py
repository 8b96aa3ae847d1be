"""A client's command: its streams, its end, what happens when the client or its pipes go away; acted."""

import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from sandboxfile.control.client import connect, exec_streams, request
from sandboxfile.control.messages import Exec, Signal
from sandboxfile.control.server import Conversation, listen, serve
from sandboxfile.errors import CommandError, GuestError
from sandboxfile.guest.channel import Ended, Guest
from sandboxfile.guest.config import PATH
from sandboxfile.guest.network import network_variables
from sandboxfile.guest.process import Process, Terminal
from sandboxfile.host.tasks import beside
from sandboxfile.images.config import ImageConfig
from sandboxfile.model.desired import DesiredSandbox, Image, Workspace
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.executing import environment, execute, image_environment, image_path

pytestmark = pytest.mark.anyio
SPEC = DesiredSandbox(
    SandboxId("p", "box"),
    "dev",
    Image("d" * 64),
    workspaces=(Workspace("/src", "/src"),),
    env=(("A", "1"), ("B", "2")),
)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Program:
    """A process inside: `behave` is told each input, and drives the process it belongs to."""

    def __init__(self, process: Process, behave: "Callable[[Program, bytes | None], None]") -> None:
        self.process = process
        self.input = b""
        self.sizes: list[tuple[int, int]] = []
        self._behave = behave
        process.connection_made(self)

    def write(self, data: bytes) -> None:
        self.input += data
        self._behave(self, data)

    def write_eof(self) -> None:
        self._behave(self, None)

    def close(self) -> None:
        self.process.connection_lost(None)

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def send_signal(self, signal: str) -> None: ...

    def change_terminal_size(self, width: int, height: int) -> None:
        self.sizes.append((height, width))

    def exit(self, code: int) -> None:
        self.process.exit_status_received(code)
        self.process.eof_received()
        self.process.connection_lost(None)


def cat(program: Program, data: bytes | None) -> None:
    if data is None:
        program.exit(3)
    else:
        program.process.data_received(data, None)


def quiet(program: Program, data: bytes | None) -> None:
    pass


class ActedGuest:
    """Runs one kind of program; writes down what was asked of it."""

    def __init__(
        self, behave: Callable[[Program, bytes | None], None] = cat, directories: Sequence[str] = ("/src",)
    ) -> None:
        self.behave = behave
        self.directories = directories
        self.started: list[dict[str, Any]] = []
        self.program: Program | None = None
        self.ended = anyio.Event()
        self.signals: list[str] = []

    async def start(self, argv: Sequence[str], *, terminal: Terminal | None = None, **more: Any) -> Process:
        self.started.append({"argv": argv, "terminal": terminal, **more})
        process = Process("id")
        self.program = Program(process, self.behave)
        if more["cwd"] not in self.directories:
            self.program.exit(125)
        return process

    async def start_detached(self, argv: Sequence[str], **more: Any) -> Ended:
        self.started.append({"argv": argv, **more})
        return Ended(127 if argv[0] == "missing" else 0, "not found")

    async def signal(self, process: Process, name: str) -> None:
        assert self.program is not None
        self.signals.append(name)
        if name == "TERM":
            self.program.process.exit_signal_received("TERM", False, "", "")
            self.program.close()

    async def end(self, process: Process) -> None:
        process.discard_output()
        process.close()
        self.ended.set()

    async def has_directory(self, path: str, user: str) -> bool:
        return path in self.directories


@asynccontextmanager
async def serving(guest: ActedGuest) -> AsyncIterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sbx-"))
    path = directory / "c.sock"

    async def handle(conversation: Conversation) -> None:
        assert isinstance(conversation.request, Exec)
        await execute(conversation, conversation.request, cast(Guest, guest), SPEC)

    try:
        with listen(path) as listener, anyio.fail_after(20):
            async with beside(lambda: serve(listener, handle)):
                yield path
    finally:
        shutil.rmtree(directory)


class Streams:
    """Three streams of a client, as pipes."""

    def __enter__(self) -> "Streams":
        (self.outlet, self.stdin), (self.stdout, self.inlet), (self.stderr, self.error) = (os.pipe() for _ in range(3))
        self.given = (self.outlet, self.inlet, self.error)
        return self

    def __exit__(self, *failure: object) -> None:
        for descriptor in (self.outlet, self.stdin, self.stdout, self.inlet, self.stderr, self.error):
            try:
                os.close(descriptor)
            except OSError:
                continue


async def run(path: Path, command: Exec, streams: Streams) -> int:
    return await exec_streams(path, command, streams.given, forward_signals=False)


async def test_input_and_its_end_reach_the_command_and_output_and_code_come_back() -> None:
    guest = ActedGuest()
    with Streams() as streams:
        os.write(streams.stdin, b"hello")
        os.close(streams.stdin)
        async with serving(guest) as path:
            assert await run(path, Exec(("cat",), stdin=True, env=(("B", "9"),)), streams) == 3
        assert os.read(streams.stdout, 100) == b"hello"
    assert guest.started == [
        {"argv": ("cat",), "terminal": None, "user": "agent", "cwd": "/src", "env": environment(SPEC, ("B", "9"))}
    ]


async def test_without_input_the_command_sees_its_end_at_once_and_stdin_is_left_alone() -> None:
    guest = ActedGuest()
    with Streams() as streams:
        os.write(streams.stdin, b"for somebody else")
        async with serving(guest) as path:
            assert await run(path, Exec(("cat",), user="root", cwd="/src"), streams) == 3
        assert os.read(streams.outlet, 100) == b"for somebody else"
    assert guest.program is not None
    assert guest.program.input == b""


async def test_what_is_typed_after_the_end_is_not_taken() -> None:
    primary, terminal = os.openpty()

    def one_line(program: Program, data: bytes | None) -> None:
        program.exit(0)

    guest = ActedGuest(one_line)
    os.write(primary, b"first\n")
    async with serving(guest) as path:
        command = Exec(("read",), tty=True, stdin=True, term="xterm", rows=31, columns=97)
        assert await exec_streams(path, command, (terminal,) * 3, forward_signals=False) == 0
        os.write(primary, b"second\n")
        assert os.read(terminal, 100) == b"second\n"
    assert guest.started[0]["terminal"] == Terminal("xterm", 31, 97)
    os.close(primary)
    os.close(terminal)


async def test_a_client_that_is_gone_ends_its_command() -> None:
    guest = ActedGuest(quiet)
    with Streams() as streams:
        async with serving(guest) as path:
            async with connect(path) as connection:
                await connection.send(Exec(("sleep",)), streams.given)
                await connection.receive()
                assert not guest.ended.is_set()
            await guest.ended.wait()


async def test_output_that_nobody_reads_any_more_ends_the_command_as_a_broken_pipe() -> None:
    def yes(program: Program, data: bytes | None) -> None:
        program.process.data_received(b"y\n" * 1000, None)

    guest = ActedGuest(yes)
    with Streams() as streams:
        os.close(streams.stdout)
        async with serving(guest) as path:
            assert await run(path, Exec(("yes",)), streams) == 141
    assert guest.ended.is_set()


async def test_a_full_disk_is_an_error_with_its_reason() -> None:
    def noisy(program: Program, data: bytes | None) -> None:
        program.process.data_received(b"x", None)

    guest = ActedGuest(noisy)
    full = os.open("/dev/full", os.O_WRONLY)
    null = os.open(os.devnull, os.O_RDONLY)
    async with serving(guest) as path:
        with pytest.raises(Exception, match="No space left"):
            await exec_streams(path, Exec(("yes",)), (null, full, full), forward_signals=False)
    assert guest.ended.is_set()
    os.close(full)
    os.close(null)


async def test_signals_and_sizes_reach_the_command() -> None:
    guest = ActedGuest(quiet)
    with Streams() as streams:
        async with serving(guest) as path, connect(path) as connection:
            await connection.send(Exec(("sleep",), tty=True), streams.given)
            await connection.receive()
            await connection.send(Signal("USR1"))
            await connection.send(Signal("TERM"))
            exited = await connection.receive()
    assert getattr(exited, "code", None) == 143
    assert guest.signals == ["USR1", "TERM"]


async def test_a_signal_that_is_none_ends_the_command() -> None:
    guest = ActedGuest(quiet)
    with Streams() as streams:
        async with serving(guest) as path, connect(path) as connection:
            await connection.send(Exec(("sleep",)), streams.given)
            await connection.receive()
            await connection.send(Signal("-9 1;"))
            await guest.ended.wait()
    assert guest.signals == []


async def test_a_directory_that_is_missing_is_said_and_a_program_may_exit_with_125() -> None:
    def exits_125(program: Program, data: bytes | None) -> None:
        program.exit(125)

    with Streams() as streams:
        async with serving(ActedGuest()) as path:
            with pytest.raises(GuestError, match="agent cannot enter the directory /missing"):
                await run(path, Exec(("true",), cwd="/missing"), streams)
        async with serving(ActedGuest(exits_125)) as path:
            assert await run(path, Exec(("true",)), streams) == 125


async def test_a_detached_command_is_answered_once_it_runs() -> None:
    guest = ActedGuest()
    async with serving(guest) as path:
        await request(path, Exec(("server",), detach=True), timeout=5)
        with pytest.raises(CommandError, match="cannot start missing") as failure:
            await request(path, Exec(("missing",), detach=True), timeout=5)
    assert failure.value.exit_code == 127


async def test_a_socket_as_stream_works_like_a_pipe() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"over a socket")
        ours.shutdown(socket.SHUT_WR)
        async with serving(ActedGuest()) as path:
            given = (theirs.fileno(),) * 3
            assert await exec_streams(path, Exec(("cat",), stdin=True), given, forward_signals=False) == 3
        assert ours.recv(100) == b"over a socket"


def test_the_commands_variables_override_the_sandboxes() -> None:
    assert environment(SPEC, ("B", "x"), ("C", "y"))[-3:] == (("A", "1"), ("B", "x"), ("C", "y"))


def test_beneath_them_are_those_of_the_network_with_the_settings_that_the_policy_brings() -> None:
    policy = replace(SPEC.policy, settings=(("PIP_INDEX_URL", "https://pypi.example.com/simple"),))
    given = dict(environment(replace(SPEC, policy=policy), ("https_proxy", "http://own.example.com")))
    assert given["PIP_INDEX_URL"] == "https://pypi.example.com/simple"
    assert given["http_proxy"] == dict(network_variables())["http_proxy"]
    assert given["https_proxy"] == "http://own.example.com"


def test_beneath_all_are_those_of_the_image_without_those_of_a_login() -> None:
    config = ImageConfig(
        (("GREETING", "hello"), ("B", "image"), ("Http_Proxy", "x"), ("HOME", "/root"), ("PATH", "/x"))
    )
    given = dict(environment(SPEC, image=image_environment(config)))
    assert (given["GREETING"], given["B"]) == ("hello", dict(SPEC.env).get("B", "image"))
    assert given["http_proxy"] == dict(network_variables())["http_proxy"]
    assert not {"Http_Proxy", "HOME", "PATH"} & given.keys()


@pytest.mark.parametrize(
    ("path", "used"), [("/opt/bin:/bin", "/opt/bin:/bin"), ("", PATH), ('/a"b', PATH), ("/a\\b", PATH), ("/a\nb", PATH)]
)
def test_the_images_path_is_that_of_its_processes_when_a_login_can_have_it(path: str, used: str) -> None:
    assert image_path(ImageConfig((("PATH", path),))) == used
