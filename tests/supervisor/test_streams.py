"""The client's descriptors: every kind, both ways, intact, never blocking anybody and never changed."""
# ruff: noqa: ASYNC110 - the tests wait for the kernel

import fcntl
import os
import socket
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from sandboxfile.host.tasks import beside, together
from sandboxfile.supervisor.streams import Stream, opened

pytestmark = pytest.mark.anyio
BIG = os.urandom(1 << 20) * 4 + b"end"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    yield
    assert threading.active_count() < 100


def pair(kind: str, tmp_path: Path) -> tuple[int, int]:
    """A reading and a writing descriptor of the same thing."""
    match kind:
        case "pipe":
            return os.pipe()
        case "socket":
            reading, writing = socket.socketpair()
            return reading.detach(), writing.detach()
        case "fifo":
            os.mkfifo(tmp_path / "fifo")
            keep = os.open(tmp_path / "fifo", os.O_RDWR)
            ends = os.open(tmp_path / "fifo", os.O_RDONLY), os.open(tmp_path / "fifo", os.O_WRONLY)
            os.close(keep)
            return ends
        case "terminal":
            reading, writing = os.openpty()
            tty.setraw(writing)
            return reading, writing
        case _:
            raise AssertionError(kind)


async def read_all(stream: Stream) -> bytes:
    data = bytearray()
    while chunk := await stream.read():
        data += chunk
    return bytes(data)


@pytest.mark.parametrize("kind", ["pipe", "socket", "fifo"])
async def test_what_goes_in_comes_out_and_the_flags_are_as_before(kind: str, tmp_path: Path) -> None:
    reading, writing = pair(kind, tmp_path)
    received = b""

    async def write() -> None:
        async with opened(writing, os.O_WRONLY) as sink:
            await sink.write(BIG)
        os.close(writing)

    async def read() -> None:
        nonlocal received
        async with opened(reading, os.O_RDONLY) as source:
            received = await read_all(source)

    flags = [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in (reading, writing)]
    with anyio.fail_after(30):
        async with beside() as group:
            group.start_soon(read)
            await anyio.sleep(0.01)
            assert [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in (reading, writing)] == flags
            await write()
            while not received:
                await anyio.sleep(0.01)
    assert received == BIG
    assert fcntl.fcntl(reading, fcntl.F_GETFL) == flags[0]
    os.close(reading)


async def test_files_are_read_and_appended_at_their_own_position(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"skipped" + BIG)
    with path.open("rb", buffering=0) as file:
        file.seek(7)
        async with opened(file.fileno(), os.O_RDONLY) as source:
            assert await read_all(source) == BIG
    with path.open("ab", buffering=0) as file:
        async with opened(file.fileno(), os.O_WRONLY) as sink:
            await sink.write(b"more")
    assert path.read_bytes() == b"skipped" + BIG + b"more"


async def test_devices_that_cannot_be_waited_for_work_too() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    async with opened(null, os.O_RDONLY) as source, opened(null, os.O_WRONLY) as sink:
        assert await source.read() == b""
        await sink.write(BIG)
    full = os.open("/dev/full", os.O_WRONLY)
    async with opened(full, os.O_WRONLY) as sink:
        with pytest.raises(OSError, match="No space left"):
            await sink.write(b"x")
    os.close(null)
    os.close(full)


@pytest.mark.parametrize("kind", ["pipe", "socket", "fifo"])
async def test_nobody_reading_is_a_broken_pipe(kind: str, tmp_path: Path) -> None:
    for early in (True, False):
        for leftover in tmp_path.iterdir():
            leftover.unlink()
        reading, writing = pair(kind, tmp_path)
        if early:
            os.close(reading)
        async with opened(writing, os.O_WRONLY) as sink:
            if not early:
                os.close(reading)
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await sink.write(BIG)
        os.close(writing)


async def test_a_terminal_is_read_only_as_long_as_it_is_wanted_and_not_taken_over() -> None:
    primary, terminal = os.openpty()
    async with opened(terminal, os.O_RDONLY) as source:
        os.write(primary, b"for the command\n")
        assert await source.read() == b"for the command\n"
        with anyio.move_on_after(0.1):
            await source.read()
    with anyio.move_on_after(0.05):
        async with opened(terminal, os.O_RDONLY) as source:
            await source.read()
    os.write(primary, b"for the shell\n")
    assert os.read(terminal, 100) == b"for the shell\n"
    assert not fcntl.fcntl(terminal, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(terminal)
    os.close(primary)


_LEADER = """
import os, sys, anyio
from sandboxfile.supervisor.streams import opened

async def open_and_close(terminal):
    async with opened(terminal, os.O_RDONLY), opened(terminal, os.O_WRONLY):
        pass

anyio.run(open_and_close, int(sys.argv[1]))
try:
    os.open("/dev/tty", os.O_RDWR)
    print("taken over")
except OSError:
    print("still without")
"""


async def test_a_terminal_does_not_become_ours() -> None:
    """A session leader without terminal, as a supervisor is, opens a client's: it must stay without."""
    primary, terminal = os.openpty()
    leader = [sys.executable, "-c", _LEADER, str(terminal)]
    ended = await anyio.run_process(leader, pass_fds=[terminal], start_new_session=True, stderr=None)
    assert ended.stdout == b"still without\n"
    os.close(terminal)
    os.close(primary)


async def test_a_terminals_other_end_hanging_up_is_the_end() -> None:
    primary, terminal = os.openpty()
    async with opened(terminal, os.O_RDONLY) as source:
        os.close(primary)
        with anyio.fail_after(5):
            assert await source.read() == b""
    os.close(terminal)


async def test_a_terminals_primary_side_is_not_opened_again() -> None:
    """Opening /dev/ptmx makes another terminal; the descriptor that was passed must be used."""
    primary, terminal = os.openpty()
    tty.setraw(terminal)
    os.write(terminal, b"hello")
    async with opened(primary, os.O_RDONLY) as source:
        with anyio.fail_after(5):
            assert await source.read() == b"hello"
    assert termios.tcgetattr(terminal)
    os.close(terminal)
    os.close(primary)


async def test_many_blocked_peers_do_not_delay_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    """Also where opening again is forbidden and threads do the work: more of them than any shared limit."""

    def forbidden(*arguments: object, **more: object) -> int:
        raise PermissionError

    blocked = [os.pipe() for _ in range(60)]
    reading, writing = os.pipe()
    monkeypatch.setattr("sandboxfile.supervisor.streams.os.open", forbidden)

    async def write_for_ever(descriptor: int) -> None:
        async with opened(descriptor, os.O_WRONLY) as sink:
            await sink.write(BIG)

    async def good() -> None:
        async with opened(writing, os.O_WRONLY) as sink, opened(reading, os.O_RDONLY) as source:
            for number in range(20):
                await sink.write(b"%d" % number)
                assert await source.read() == b"%d" % number

    with anyio.fail_after(30):
        async with beside() as group:
            for _, stuck in blocked:
                group.start_soon(write_for_ever, stuck)
            await anyio.sleep(0.2)
            await good()
    for outlet, inlet in blocked:  # lets the threads go
        os.close(inlet)
        os.close(outlet)
    os.close(reading)
    os.close(writing)
    with anyio.fail_after(20):
        while threading.active_count() > 70:
            await anyio.sleep(0.05)


async def test_two_streams_over_one_pipe_keep_what_each_wrote(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    received = bytearray()

    async def write(byte: bytes) -> None:
        async with opened(writing, os.O_WRONLY) as sink:
            for _ in range(50):
                await sink.write(byte * 1000)

    async def read() -> None:
        async with opened(reading, os.O_RDONLY) as source:
            while len(received) < 100_000:
                received.extend(await source.read())

    tasks: list[Callable[[], object]] = [lambda: write(b"o"), lambda: write(b"e"), read]
    with anyio.fail_after(20):
        await together(*tasks)  # type: ignore[arg-type]
    assert (received.count(b"o"), received.count(b"e")) == (50_000, 50_000)
    os.close(reading)
    os.close(writing)
