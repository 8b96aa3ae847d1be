"""Commands over a control socket, whose supervisor runs them on this host."""

import shutil
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from sandboxfile.applying import inside
from sandboxfile.control.messages import Exec, Exited, Started
from sandboxfile.control.server import Conversation, listen, serve
from sandboxfile.errors import ControlError, GuestError
from sandboxfile.host.tasks import beside

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def supervisor(asked=None, *, hang_up=False):
    directory = Path(tempfile.mkdtemp(prefix="sbx-"))

    async def handle(conversation: Conversation) -> None:
        command = conversation.request
        assert isinstance(command, Exec)
        if asked is not None:
            asked.append(command)
        await conversation.send(Started())
        stdin, stdout, stderr = conversation.descriptors
        done = await to_thread.run_sync(
            lambda: subprocess.run(command.argv, stdin=stdin, stdout=stdout, stderr=stderr, check=False)
        )
        if not hang_up:
            await conversation.send(Exited(done.returncode))

    try:
        with listen(directory / "c.sock") as listener, anyio.fail_after(30):
            async with beside(lambda: serve(listener, handle)):
                yield directory / "c.sock"
    finally:
        shutil.rmtree(directory)


async def test_each_line_is_told_and_the_last_ones_are_kept():
    told, asked = [], []
    async with supervisor(asked) as control:
        line = "for i in $(seq 100); do echo line $i; done; echo oops >&2; printf end; exit 3"
        ran = await inside.run(control, ("sh", "-c", line), told.append, user="agent", env=(("A", "1"),))
    assert told == [f"line {number}" for number in range(1, 101)] + ["oops", "end"]
    assert (ran.code, ran.tail.splitlines()) == (3, told[-40:])
    (command,) = asked
    assert (command.user, command.cwd, command.env, command.stdin) == ("agent", "/", (("A", "1"),), False)


async def test_progress_bars_and_endless_lines_are_lines_too():
    told = []
    async with supervisor() as control:
        await inside.run(
            control, ("sh", "-c", "printf '10%%\\r20%%\\r'; head -c 10000 /dev/zero | tr '\\0' x"), told.append
        )
    assert told[:2] == ["10%", "20%"]
    assert 0 < max(map(len, told)) <= 4096


async def test_bytes_are_taken_as_they_are_and_errors_apart(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 5000)
    data = bytearray()
    async with supervisor() as control:
        with source.open("rb") as file:
            ran = await inside.read(control, ("sh", "-c", "echo no >&2; cat"), data.extend, limit=1 << 24, stdin=file)
    assert bytes(data) == source.read_bytes()
    assert (ran.code, ran.tail) == (0, "no\n")


async def test_a_guest_that_gives_more_than_it_may_is_cut_off():
    async with supervisor() as control:
        with pytest.raises(GuestError, match="more than 1 MiB"):
            await inside.read(control, ("yes",), lambda data: None, limit=1 << 20)


async def test_what_cannot_be_written_here_ends_the_command():
    def full(data):
        raise OSError(28, "No space left on device")

    async with supervisor() as control:
        with pytest.raises(OSError, match="No space left"):
            await inside.read(control, ("yes",), full, limit=1 << 20)


async def test_a_supervisor_that_hangs_up_is_an_error():
    async with supervisor(hang_up=True) as control:
        with pytest.raises(ControlError, match="hung up"):
            await inside.run(control, (sys.executable, "-c", "pass"), print)
