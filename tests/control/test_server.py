"""The control socket: what a well-behaved and a hostile client can do, on both event loops."""
# ruff: noqa: ASYNC110, PTH208 - the tests poll for what the kernel does, and their files are in a tmpfs

import array
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import struct
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from sandboxfile.control import server, wire
from sandboxfile.control.client import connect, exec_streams, request
from sandboxfile.control.messages import (
    VERSION,
    Done,
    Exec,
    Exited,
    Failed,
    GetStatus,
    Output,
    Progress,
    Resize,
    RunSetup,
    Signal,
    Started,
    Stop,
    WaitReady,
    encode,
)
from sandboxfile.control.server import Conversation
from sandboxfile.errors import CommandError, ControlError, GuestError
from sandboxfile.host.tasks import beside

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sbx-"))
    yield directory / "control.sock"
    shutil.rmtree(directory)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def handle(conversation: Conversation) -> None:  # noqa: C901 - one case per kind of behaviour
    """Behaves like a small supervisor."""
    match conversation.request:
        case WaitReady():
            await conversation.send(Progress("booting"))
            await conversation.send(Progress("mounting"))
            await conversation.send(Done())
        case RunSetup():
            await conversation.send(Output("é\udcff".encode("utf-8", "replace").decode()))
            raise CommandError("setup command 1 failed", 7, hint="look", output="boom")
        case GetStatus():
            raise GuestError("no answer", hint="wait")
        case Stop():
            raise RuntimeError("a bug")
        case Exec(argv=("forever",)):
            async with conversation.while_connected():
                await anyio.sleep_forever()
            GONE.append(conversation.request)
        case Exec(detach=True):
            await conversation.send(Started())
        case Exec() as command:
            await conversation.send(Started())
            for descriptor, text in zip(conversation.descriptors[1:], (b"out ", b"err "), strict=True):
                os.write(descriptor, text + command.argv[0].encode())
            if command.stdin:
                os.write(conversation.descriptors[1], os.read(conversation.descriptors[0], 100))
            while command.tty:
                said = await conversation.receive()
                assert isinstance(said, Resize | Signal)
                if isinstance(said, Signal):
                    break
                os.write(conversation.descriptors[1], f" {said.rows}x{said.columns}".encode())
            await conversation.send(Exited(3))


GONE: list[object] = []


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with server.listen(path) as listening:
        yield listening


async def say(path: Path, data: bytes, descriptors: tuple[int, ...] = ()) -> dict[str, object] | None:
    """Send raw bytes and give the last reply as raw JSON."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.connect(str(path))
        line = wire.Wire(sock)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = sock.sendmsg([data[:65536]], ancillary)
        try:
            await line.send(data[sent:])
        except ControlError:
            assert len(data) > wire.LINE_LIMIT
        last = None
        with anyio.fail_after(20):
            while (reply := await line.receive()) is not None:
                last = json.loads(reply)
        return last


async def test_progress_is_seen_and_the_last_reply_is_given(path: Path, listener: socket.socket) -> None:
    seen: list[object] = []
    async with beside(lambda: server.serve(listener, handle)):
        assert await request(path, WaitReady(), seen.append, timeout=10) == Done()
    assert seen == [Progress("booting"), Progress("mounting")]


async def test_failures_come_out_as_the_class_that_was_raised(path: Path, listener: socket.socket) -> None:
    async with beside(lambda: server.serve(listener, handle)):
        with pytest.raises(CommandError, match="setup command 1 failed") as failure:
            await request(path, RunSetup(0), timeout=10)
        assert (failure.value.exit_code, failure.value.hint, failure.value.output) == (7, "look", "boom")
        with pytest.raises(GuestError, match="no answer"):
            await request(path, GetStatus(), timeout=10)


async def test_a_bug_in_one_request_does_not_end_the_server(
    path: Path, listener: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    async with beside(lambda: server.serve(listener, handle)):
        reply = await say(path, encode(Stop()))
        assert reply is not None
        assert "bug in sandboxfile" in str(reply["message"])
        assert await request(path, WaitReady(), timeout=10) == Done()
    assert "a bug" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{}\n", "malformed"),
        (b"nonsense\n", "malformed"),
        (b"[1]\n", "malformed"),
        (b"\xff\xfe\n", "malformed"),
        (b'{"v": %d, "kind": "Reboot"}\n' % VERSION, "malformed"),
        (b'{"v": %d, "kind": "GrowDisk", "size": "much"}\n' % VERSION, "malformed"),
        (b"[" * 200_000 + b"\n", "malformed"),
        (encode(GetStatus()).replace(b'"v":%d' % VERSION, b'"v":99'), "protocol version 99"),
        (encode(Exec(("true",))), "exactly three descriptors"),
        (b"x" * (wire.LINE_LIMIT + 70_000), "too long"),
    ],
    ids=lambda value: value[:20].decode("latin1") if isinstance(value, bytes) else "",
)
async def test_nonsense_is_refused_and_the_server_goes_on(
    path: Path, listener: socket.socket, line: bytes, complaint: str
) -> None:
    async with beside(lambda: server.serve(listener, handle)):
        reply = await say(path, line)
        assert reply is not None
        assert (reply["v"], reply["kind"], reply["error"]) == (VERSION, "Failed", "ControlError")
        assert complaint in str(reply["message"])
        assert await request(path, WaitReady(), timeout=10) == Done()


async def test_not_a_byte_of_a_malformed_message_is_told(
    path: Path, listener: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    async with beside(lambda: server.serve(listener, handle)):
        reply = await say(path, b'{"v": 2, "kind": "Provide", "values": [["key", "hunter2"], ["hunter3"]]}\n')
    assert reply is not None
    assert reply["kind"] == "Failed"
    assert "hunter" not in str(reply) + "".join(capfd.readouterr())


async def test_a_client_that_hangs_up_early_or_says_nothing_is_forgotten(path: Path, listener: socket.socket) -> None:
    async with beside(lambda: server.serve(listener, handle)):
        await request(path, WaitReady(), timeout=10)
        before = open_descriptors()
        for start in (b"", b'{"v": 2, "ki'):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                sock.sendall(start)
        with anyio.fail_after(10):
            await request(path, WaitReady(), timeout=10)
            while open_descriptors() != before:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("count", [1, 2, 4, 30])
async def test_a_wrong_number_of_descriptors_is_refused_and_none_leaks(
    path: Path, listener: socket.socket, count: int
) -> None:
    async with beside(lambda: server.serve(listener, handle)):
        await request(path, WaitReady(), timeout=10)
        before = open_descriptors()
        reply = await say(path, encode(Exec(("true",))), tuple([0] * count))
        assert reply is None or reply["error"] == "ControlError"
        await say(path, encode(WaitReady()), (0, 0, 0))
        await say(path, encode(Exec(("x",), detach=True)), (0, 0, 0))
        await say(path, b"nonsense\n", (0, 0, 0))
        with anyio.fail_after(10):
            while open_descriptors() != before:
                await anyio.sleep(0.01)


async def test_a_command_gets_the_clients_own_streams(path: Path, listener: socket.socket) -> None:
    outlet, inlet = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    async with beside(lambda: server.serve(listener, handle)):
        code = await exec_streams(path, Exec(("ls",)), (null, inlet, inlet), forward_signals=False)
        assert await exec_streams(path, Exec(("ls",), detach=True)) == 0
    assert code == 3
    assert os.read(outlet, 100) == b"out lserr ls"
    for descriptor in (outlet, inlet, null):
        os.close(descriptor)


async def test_a_resized_terminal_and_signals_reach_the_command(path: Path, listener: socket.socket) -> None:
    primary, terminal = os.openpty()
    os.set_blocking(primary, False)

    async def outside() -> None:
        await anyio.sleep(0.2)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 41, 99, 0, 0))
        os.kill(os.getpid(), signal.SIGWINCH)
        await anyio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGUSR1)

    async with beside(lambda: server.serve(listener, handle), outside):
        assert await exec_streams(path, Exec(("top",), tty=True), (terminal,) * 3) == 3
    assert b"41x99" in os.read(primary, 1000)
    os.close(primary)
    os.close(terminal)


async def test_the_third_interrupt_gives_up_and_the_supervisor_notices(path: Path, listener: socket.socket) -> None:
    async def impatient() -> None:
        for _ in range(3):
            await anyio.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    GONE.clear()
    null = os.open(os.devnull, os.O_RDWR)
    ignoring = Exec(("forever",))
    # `while_connected` ends at the first thing that a client says; so this handler listens as an Exec does.

    async def stubborn(conversation: Conversation) -> None:
        while await conversation.receive() is not None:
            pass
        GONE.append(conversation.request)

    with anyio.fail_after(20):
        async with beside(lambda: server.serve(listener, stubborn)):
            async with beside(impatient):
                assert await exec_streams(path, ignoring, (null,) * 3) == 130
            while not GONE:
                await anyio.sleep(0.01)
    os.close(null)


async def test_work_stops_when_its_client_is_gone(path: Path, listener: socket.socket) -> None:
    GONE.clear()
    null = os.open(os.devnull, os.O_RDWR)
    with anyio.fail_after(20):
        async with beside(lambda: server.serve(listener, handle)):
            async with connect(path) as connection:
                await connection.send(Exec(("forever",)), (null,) * 3)
                await anyio.sleep(0.1)
                assert not GONE
            while not GONE:
                await anyio.sleep(0.01)
    os.close(null)


async def test_a_terminal_without_pty_is_read_by_the_client_itself(path: Path, listener: socket.socket) -> None:
    primary, terminal = os.openpty()
    outlet, inlet = os.pipe()
    seen: list[str] = []

    async def look(conversation: Conversation) -> None:
        seen.append("pipe" if stat.S_ISFIFO(os.fstat(conversation.descriptors[0]).st_mode) else "other")
        await handle(conversation)

    os.write(primary, b"typed\nnext line\n")
    async with beside(lambda: server.serve(listener, look)):
        command = Exec(("cat",), stdin=True)
        assert await exec_streams(path, command, (terminal, inlet, inlet), forward_signals=False) == 3
        await exec_streams(path, Exec(("cat",), stdin=True), (outlet, inlet, inlet), forward_signals=False)
    assert seen == ["pipe", "pipe"]
    for descriptor in (primary, terminal, outlet, inlet):
        os.close(descriptor)


async def test_a_stale_socket_is_replaced_and_only_ours_may_enter(path: Path) -> None:
    path.write_text("stale")
    path.with_suffix(".new").write_text("left over")
    with server.listen(path) as listening:
        assert stat.S_ISSOCK(path.lstat().st_mode)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert os.listdir(path.parent) == [path.name]
        async with beside(lambda: server.serve(listening, handle)):
            assert await request(path, WaitReady(), timeout=10) == Done()


async def test_nobody_there_is_a_control_error(path: Path) -> None:
    with pytest.raises(ControlError, match="no supervisor answers"):
        await request(path, WaitReady(), timeout=1)


async def test_a_silent_supervisor_is_a_control_error(path: Path, listener: socket.socket) -> None:
    with pytest.raises(ControlError, match=r"did not answer within 0\.2 s"):
        await request(path, WaitReady(), timeout=0.2)


async def test_at_the_limit_further_connections_wait_their_turn(path: Path, listener: socket.socket) -> None:
    async with beside(lambda: server.serve(listener, handle, limit=2)):
        async with connect(path) as first, connect(path) as second:
            for connection in (first, second):
                null = os.open(os.devnull, os.O_RDWR)
                await connection.send(Exec(("forever",)), (null,) * 3)
                os.close(null)
            await anyio.sleep(0.1)
            with pytest.raises(ControlError, match="did not answer"):
                await request(path, WaitReady(), timeout=0.3)
        assert await request(path, WaitReady(), timeout=10) == Done()


async def test_another_user_is_not_heard(path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = iter([12345, os.geteuid()])
    monkeypatch.setattr(server, "_peer", lambda sock: next(peers))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    peers = iter([12345, 1000])
    async with beside(lambda: server.serve(listener, handle)):
        with pytest.raises(ControlError):
            await request(path, WaitReady(), timeout=5)
        assert await request(path, WaitReady(), timeout=10) == Done()


async def test_an_error_of_a_newer_supervisor_is_still_an_error(path: Path, listener: socket.socket) -> None:
    async def newer(conversation: Conversation) -> None:
        await conversation.send(Failed("QuantumError", "entangled"))

    async with beside(lambda: server.serve(listener, newer)):
        with pytest.raises(Exception, match="entangled") as failure:
            await request(path, WaitReady(), timeout=5)
    assert type(failure.value).__name__ == "SandboxfileError"
