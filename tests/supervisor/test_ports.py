"""Ports of this host and what they lead to, with services in this process as those inside: all or nothing, no leaks."""

import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from sandboxfile.errors import GuestError, HostError
from sandboxfile.host.tasks import beside, together
from sandboxfile.model.desired import Port
from sandboxfile.supervisor import ports as module
from sandboxfile.supervisor.ports import Ports, listen

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Reached:
    """A connection inside: really one to a service of this process's."""

    def __init__(self, stream: SocketStream, ends: list[str]) -> None:
        self.stream = stream
        self.ends = ends

    async def read(self) -> bytes:
        try:
            return await self.stream.receive()
        except anyio.EndOfStream:
            return b""
        except anyio.BrokenResourceError as exc:
            raise ConnectionResetError from exc

    async def write(self, data: bytes) -> None:
        try:
            await self.stream.send(data)
        except anyio.BrokenResourceError as exc:
            raise BrokenPipeError from exc

    def write_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.ends.append("close")

    def abort(self) -> None:
        self.ends.append("abort")
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    @property
    def _socket(self) -> Any:
        return self.stream.extra(anyio.abc.SocketAttribute.raw_socket)


class Sandbox:
    """`services` by their port inside: which port of this host plays them. `dials` are those that were asked for."""

    def __init__(self) -> None:
        self.services: dict[int, int] = {}
        self.dials: list[int] = []
        self.ends: list[str] = []
        self._streams: list[SocketStream] = []

    async def connect(self, port: int) -> Reached:
        self.dials.append(port)
        if port not in self.services:
            raise GuestError(f"nothing listens on port {port} inside the sandbox")
        stream = await anyio.connect_tcp("127.0.0.1", self.services[port])
        self._streams.append(stream)
        return Reached(stream, self.ends)

    async def close(self) -> None:
        for stream in self._streams:
            await stream.aclose()


@asynccontextmanager
async def listening(*ports: Port) -> AsyncIterator[tuple[Ports, Sandbox]]:
    sandbox = Sandbox()
    subject = Ports(sandbox.connect)
    with anyio.fail_after(30):
        async with beside() as group:
            subject.start(group)
            await subject.set(ports)
            yield subject, sandbox
        await sandbox.close()


@asynccontextmanager
async def service(serve: Callable[[SocketStream], Any]) -> AsyncIterator[int]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, beside(partial(listener.serve, serve)):
        yield listener.extra(anyio.abc.SocketAttribute.local_port)


async def echo_after_the_end(stream: SocketStream) -> None:
    async with stream:
        received = bytearray()
        async for data in stream:
            received.extend(data)
        await stream.send(bytes(received))


async def greet(stream: SocketStream) -> None:
    async with stream:
        await stream.send(b"hello")
        async for _ in stream:
            pass


def free_port(address: str = "127.0.0.1") -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


async def answer_of(port: int, data: bytes = b"") -> bytes:
    """Everything that comes back after `data` and the end."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        received = bytearray()

        async def write() -> None:
            await stream.send(data)
            await stream.send_eof()

        async def read() -> None:
            async for part in stream:
                received.extend(part)

        await together(write, read)
        return bytes(received)


def is_open(port: int, address: str = "127.0.0.1") -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(5)
        return sock.connect_ex((address, port)) == 0


async def test_bytes_go_both_ways_and_half_a_close_is_passed_on() -> None:
    port = Port(free_port(), 80)
    data = os.urandom(1 << 20) * 3
    async with service(echo_after_the_end) as inside, listening(port) as (ports, sandbox):
        sandbox.services[80] = inside
        assert await answer_of(port.host, data) == data
        assert ports.listening == (port,)
        assert sandbox.ends == ["close"]
    assert not is_open(port.host)


async def test_many_callers_at_once_get_each_their_own_answer() -> None:
    port = Port(free_port(), 80)
    async with service(echo_after_the_end) as inside, listening(port) as (_, sandbox):
        sandbox.services[80] = inside

        async def ask(number: int) -> None:
            assert await answer_of(port.host, f"caller {number}".encode() * 1000) == f"caller {number}".encode() * 1000

        await together(*(partial(ask, number) for number in range(100)))


async def test_each_connection_is_told_as_long_as_it_lasts_and_listening_is_not() -> None:
    told: list[str] = []
    over = anyio.Event()

    @contextmanager
    def during() -> Iterator[None]:
        told.append("begun")
        yield
        told.append("over")
        over.set()

    port, sandbox = Port(free_port(), 80), Sandbox()
    subject = Ports(sandbox.connect, during)
    with anyio.fail_after(30):
        async with service(echo_after_the_end) as sandbox.services[80], beside() as group:
            subject.start(group)
            await subject.set([port])
            assert told == []
            assert await answer_of(port.host, b"data") == b"data"
            await over.wait()
            await subject.set([])
        await sandbox.close()
    assert told == ["begun", "over"]


async def test_at_most_so_many_connections_are_relayed_and_the_next_one_waits(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "CONNECTIONS", 2)
    port = Port(free_port(), 80)
    async with service(greet) as inside, listening(port) as (_, sandbox):
        sandbox.services[80] = inside
        first, second, third = [await anyio.connect_tcp("127.0.0.1", port.host) for _ in range(3)]
        assert await first.receive() == b"hello"
        assert await second.receive() == b"hello"
        with anyio.move_on_after(0.2):
            raise AssertionError(await third.receive())
        await first.aclose()
        assert await third.receive() == b"hello"
        assert len(sandbox.dials) == 3
        for stream in (second, third):
            await stream.aclose()


async def test_a_caller_is_reset_while_nothing_inside_listens() -> None:
    port = Port(free_port(), 80)
    async with listening(port) as (_, sandbox):
        async with await anyio.connect_tcp("127.0.0.1", port.host) as stream:
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await stream.receive()
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        assert sandbox.dials == [80]


async def test_a_caller_that_is_gone_hangs_up_inside() -> None:
    port = Port(free_port(), 80)
    over = anyio.Event()

    async def wait_for_the_end(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"hello")
            try:
                await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                over.set()

    async with service(wait_for_the_end) as inside, listening(port) as (_, sandbox):
        sandbox.services[80] = inside
        stream = await anyio.connect_tcp("127.0.0.1", port.host)
        assert await stream.receive() == b"hello"
        raw: Any = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        while "abort" not in sandbox.ends:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        await sandbox.close()
        await over.wait()


async def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    port = Port(free_port(), 80)

    class Torn(Reached):
        async def read(self) -> bytes:
            if data := await super().read():
                return data
            raise ConnectionResetError

    async def break_off(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"half an ans")
            await stream.receive()

    async with service(break_off) as inside, listening(port) as (ports, sandbox):
        sandbox.services[80] = inside

        async def torn(number: int) -> Torn:
            reached = await sandbox.connect(number)
            return Torn(reached.stream, reached.ends)

        ports._connect = torn
        forwarded = Port(free_port(), 80)
        async with ports.forward(forwarded), await anyio.connect_tcp("127.0.0.1", forwarded.host) as stream:
            assert await stream.receive() == b"half an ans"
            await stream.send(b"go on")
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()


async def test_a_port_that_stays_keeps_its_connections_and_one_that_goes_loses_them() -> None:
    staying, going, coming = (Port(free_port(), number) for number in (80, 81, 82))
    async with service(greet) as inside, listening(staying, going) as (ports, sandbox):
        sandbox.services |= {80: inside, 81: inside, 82: inside}
        kept = await anyio.connect_tcp("127.0.0.1", staying.host)
        lost = await anyio.connect_tcp("127.0.0.1", going.host)
        assert await kept.receive() == await lost.receive() == b"hello"
        await ports.set([coming, staying])
        assert ports.listening == tuple(sorted([staying, coming]))
        assert not is_open(going.host)
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await lost.receive()
        await kept.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await kept.receive()
        assert await answer_of(coming.host) == b"hello"
        for stream in (kept, lost):
            await stream.aclose()


async def test_the_same_port_can_be_led_elsewhere_without_a_moment_in_which_nobody_listens() -> None:
    number = free_port()
    services = service(greet), service(echo_after_the_end)
    async with services[0] as greeting, services[1] as echoing, listening(Port(number, 80)) as (ports, sandbox):
        sandbox.services |= {80: greeting, 81: echoing}
        assert await answer_of(number) == b"hello"
        await ports.set([Port(number, 81)])
        assert await answer_of(number, b"echo") == b"echo"
        assert ports.listening == (Port(number, 81),)


async def test_a_port_that_is_taken_changes_nothing() -> None:
    present, free = Port(free_port(), 80), Port(free_port(), 81)
    async with service(greet) as inside, listening(present) as (ports, sandbox):
        sandbox.services[80] = inside
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            with pytest.raises(HostError, match=rf"port 127\.0\.0\.1:{taken} of this host is in use") as caught:
                await ports.set([free, Port(taken, 82)])
            assert f"sport = :{taken}" in str(caught.value.hint)
        assert ports.listening == (present,)
        assert not is_open(free.host)
        assert await answer_of(present.host) == b"hello"


async def test_a_wider_address_replaces_a_narrower_one_and_back() -> None:
    number = free_port()
    narrow, wide = Port(number, 80), Port(number, 80, "0.0.0.0")
    async with service(greet) as inside, listening(narrow) as (ports, sandbox):
        sandbox.services[80] = inside
        for port in (wide, narrow):
            await ports.set([port])
            assert ports.listening == (port,)
            assert await answer_of(number) == b"hello"


async def test_what_gave_way_to_a_port_that_could_not_be_had_is_back() -> None:
    number = free_port()
    narrow, wide = Port(number, 80), Port(number, 80, "0.0.0.0")
    async with service(greet) as inside, listening(narrow) as (ports, sandbox):
        sandbox.services[80] = inside
        with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(HostError, match="in use"):
            await ports.set([wide, Port(other.getsockname()[1], 81)])
        assert ports.listening == (narrow,)
        assert await answer_of(number) == b"hello"


async def test_a_forward_listens_during_its_block_only_and_is_not_among_the_ports() -> None:
    port, forwarded = Port(free_port(), 80), Port(free_port(), 80)
    async with service(greet) as inside, listening(port) as (ports, sandbox):
        sandbox.services[80] = inside
        async with ports.forward(forwarded):
            assert await answer_of(forwarded.host) == b"hello"
            assert ports.listening == (port,)
            with pytest.raises(HostError, match="in use"):
                async with ports.forward(forwarded):
                    pass
        assert not is_open(forwarded.host)
        assert is_open(port.host)


async def test_a_restart_does_not_wait_for_connections_that_linger() -> None:
    port = Port(free_port(), 80)
    for _ in range(2):
        async with service(greet) as inside, listening(port) as (ports, sandbox):
            sandbox.services[80] = inside
            stream = await anyio.connect_tcp("127.0.0.1", port.host)
            assert await stream.receive() == b"hello"
            await ports.set([])  # we hang up first: this side lingers
            await stream.aclose()


def test_ipv6_is_listened_on_by_its_address_alone() -> None:
    number = free_port("::1")
    with listen(Port(number, 80, "::1")):
        assert is_open(number, "::1")
        assert not is_open(number)
    with listen(Port(number, 80, "::")), listen(Port(number, 80, "0.0.0.0")):
        assert is_open(number, "::1")
        assert is_open(number)


def test_what_cannot_be_had_is_said_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match=r"no address 192\.0\.2\.1 to listen on") as caught:
        listen(Port(8080, 80, "192.0.2.1"))
    assert "ip address" in str(caught.value.hint)
    with pytest.raises(HostError, match="localhost is not an address"):
        listen(Port(8080, 80, "localhost"))

    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(HostError, match=r"port \[::1\]:80 of this host is only for privileged users") as caught:
        listen(Port(80, 80, "::1"))
    assert "ip_unprivileged_port_start=80" in str(caught.value.hint)
