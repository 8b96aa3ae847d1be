"""A connection to a service inside: both directions, their ends, and that nobody can fill our memory."""

import anyio
import pytest

from sandboxfile.guest import tunnel as module
from sandboxfile.guest.tunnel import Tunnel
from sandboxfile.host.tasks import beside

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Wire:
    """An SSH channel that only remembers."""

    def __init__(self, tunnel: Tunnel) -> None:
        self.calls: list[object] = []
        tunnel.connection_made(self)

    def write(self, data: bytes) -> None:
        self.calls.append(len(data))

    def write_eof(self) -> None:
        self.calls.append("eof")

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


async def test_data_comes_in_order_and_the_end_after_it() -> None:
    tunnel = Tunnel()
    wire = Wire(tunnel)
    tunnel.data_received(b"one ", None)
    tunnel.data_received(b"two", None)
    assert tunnel.eof_received() is True
    assert await tunnel.read() == b"one two"
    assert await tunnel.read() == b""
    await tunnel.write(b"still open")
    tunnel.write_eof()
    assert wire.calls == [10, "eof"]


async def test_a_guest_that_sends_without_end_is_made_to_wait_until_somebody_reads() -> None:
    tunnel = Tunnel()
    wire = Wire(tunnel)
    for _ in range(4):
        tunnel.data_received(b"x" * module._CHUNK, None)
    assert wire.calls == ["pause"]
    received = 0
    while "resume" not in wire.calls:
        received += len(await tunnel.read())
    assert module._CHUNK * 3 < received + module._LOW <= module._CHUNK * 5
    assert wire.calls == ["pause", "resume"]


@pytest.mark.parametrize("reason", ["its own window", "the shared connection"])
async def test_a_writer_waits_while_nothing_goes_out(reason: str) -> None:
    tunnel = Tunnel()
    wire = Wire(tunnel)
    blocked = {"its own window": tunnel.pause_writing, "the shared connection": lambda: tunnel.hold(True)}
    freed = {"its own window": tunnel.resume_writing, "the shared connection": lambda: tunnel.hold(False)}
    blocked[reason]()
    async with beside(lambda: tunnel.write(b"data")):
        await anyio.wait_all_tasks_blocked()
        assert wire.calls == []
        freed[reason]()
        await anyio.wait_all_tasks_blocked()
        assert wire.calls == [4]


async def test_a_writer_goes_on_only_when_neither_is_full() -> None:
    tunnel = Tunnel()
    wire = Wire(tunnel)
    tunnel.pause_writing()
    tunnel.hold(True)
    async with beside(lambda: tunnel.write(b"data")):
        for free in (tunnel.resume_writing, lambda: tunnel.hold(False)):
            await anyio.wait_all_tasks_blocked()
            assert wire.calls == []
            free()
        await anyio.wait_all_tasks_blocked()
        assert wire.calls == [4]


async def test_a_connection_that_is_full_when_a_tunnel_opens_holds_it_as_well() -> None:
    tunnel = Tunnel()
    tunnel.hold(True)
    wire = Wire(tunnel)
    async with beside(lambda: tunnel.write(b"data")):
        await anyio.wait_all_tasks_blocked()
        assert wire.calls == []


async def test_the_end_of_the_connection_frees_readers_and_writers() -> None:
    tunnel = Tunnel()
    Wire(tunnel)
    closed = []
    tunnel.on_closed = lambda: closed.append(True)
    tunnel.hold(True)
    outcomes: list[object] = []

    async def write() -> None:
        try:
            await tunnel.write(b"data")
        except BrokenPipeError:
            outcomes.append("broken")

    async def read() -> None:
        outcomes.append(await tunnel.read())

    async with beside(write, read):
        await anyio.wait_all_tasks_blocked()
        tunnel.connection_lost(None)
        await anyio.wait_all_tasks_blocked()
    assert sorted(outcomes, key=str) == [b"", "broken"]
    assert closed == [True]
    for call in (tunnel.close, tunnel.abort, tunnel.write_eof):
        call()


async def test_a_lost_guest_is_no_orderly_end_and_what_came_before_is_not_lost() -> None:
    tunnel = Tunnel()
    Wire(tunnel)
    tunnel.data_received(b"half an ans", None)
    tunnel.connection_lost(OSError("gone"))
    assert await tunnel.read() == b"half an ans"
    with pytest.raises(ConnectionResetError):
        await tunnel.read()
    finished = Tunnel()
    Wire(finished)
    finished.eof_received()
    finished.connection_lost(OSError("gone"))
    assert await finished.read() == b""
