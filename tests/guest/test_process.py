"""A process's streams: back-pressure both ways, ends, and what outlives the process."""

import anyio
import pytest

from sandboxfile.errors import GuestError
from sandboxfile.guest import process as module
from sandboxfile.guest.process import Process
from sandboxfile.host.tasks import beside

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Wire:
    """An SSH channel that only remembers."""

    def __init__(self, process: Process) -> None:
        self.calls: list[object] = []
        process.connection_made(self)

    def write(self, data: bytes) -> None:
        self.calls.append(len(data))

    def write_eof(self) -> None:
        self.calls.append("eof")

    def close(self) -> None:
        self.calls.append("close")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def send_signal(self, signal: str) -> None:
        self.calls.append(signal)

    def change_terminal_size(self, width: int, height: int) -> None:
        self.calls.append((width, height))


async def test_output_is_held_up_when_nobody_reads_and_flows_again() -> None:
    process = Process("id")
    wire = Wire(process)
    for _ in range(5):
        process.data_received(b"o" * 65536, None)
    assert wire.calls == ["pause"]
    process.eof_received()
    process.exit_status_received(0)
    total = 0
    while data := await process.read_stdout():
        total += len(data)
    assert (total, wire.calls) == (5 * 65536, ["pause", "resume"])
    assert await process.wait() == 0


async def test_the_two_outputs_are_apart() -> None:
    process = Process("id")
    Wire(process)
    process.data_received(b"out", None)
    process.data_received(b"err", 1)
    process.eof_received()
    assert (await process.read_stdout(), await process.read_stderr()) == (b"out", b"err")
    assert (await process.read_stdout(), await process.read_stderr()) == (b"", b"")


async def test_input_waits_while_the_guest_is_busy() -> None:
    process = Process("id")
    wire = Wire(process)
    process.pause_writing()
    done = []

    async def write() -> None:
        await process.write(b"x" * 100_000)
        done.append(True)

    async with beside(write):
        await anyio.sleep(0.05)
        assert (wire.calls, done) == ([], [])
        process.resume_writing()
        await anyio.sleep(0.05)
        assert (wire.calls, done) == ([65536, 34464], [True])


async def test_writing_to_a_process_that_has_ended_is_a_broken_pipe() -> None:
    process = Process("id")
    Wire(process)
    process.pause_writing()

    async def end() -> None:
        await anyio.sleep(0.05)
        process.connection_lost(None)

    async with beside(end):
        with pytest.raises(BrokenPipeError):
            await process.write(b"x" * 100_000)
    process.write_eof()
    process.resize(1, 1)
    process.close()


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("KILL", 137), ("SIG@openssh.com", 255)])
async def test_a_signal_is_128_and_its_number(name: str, code: int) -> None:
    process = Process("id")
    Wire(process)
    process.exit_signal_received(name, False, "", "")
    assert await process.wait() == code


async def test_a_lost_connection_is_an_error_and_releases_everybody() -> None:
    process = Process("id")
    Wire(process)
    closed = []
    process.on_closed = lambda: closed.append(True)

    async def lose() -> None:
        await anyio.sleep(0.05)
        process.connection_lost(OSError())

    async with beside(lose):
        assert await process.read_stdout() == b""
        with pytest.raises(GuestError, match="broke"):
            await process.wait()
        await process.closed()
    assert closed == [True]


async def test_what_a_process_leaves_behind_does_not_keep_its_streams_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """`server &`: the shell has ended, the server holds stdout."""
    monkeypatch.setattr(module, "_DRAIN", 0.1)
    process = Process("id")
    Wire(process)

    async def end() -> None:
        await anyio.sleep(0.05)
        process.exit_status_received(4)
        process.data_received(b"last words", None)

    with anyio.fail_after(5):
        async with beside(end):
            assert await process.read_stdout() == b"last words"
            assert await process.read_stdout() == b""
    assert await process.wait() == 4


async def test_a_reader_that_is_slow_loses_nothing_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr is full and holds up stdout: that is not silence."""
    monkeypatch.setattr(module, "_DRAIN", 0.05)
    process = Process("id")
    Wire(process)
    process.data_received(b"e" * 300_000, 1)
    process.exit_status_received(0)
    with anyio.move_on_after(0.3) as scope:
        await process.read_stdout()
    assert scope.cancelled_caught, "given up too early"
    while len(await process.read_stderr()) == 65536:
        pass
    process.data_received(b"late", None)
    assert await process.read_stdout() == b"late"


async def test_discarded_output_holds_nothing_up() -> None:
    process = Process("id")
    wire = Wire(process)
    process.data_received(b"x" * 300_000, None)
    process.discard_output()
    process.data_received(b"x" * 300_000, None)
    assert wire.calls == ["pause", "resume"]
