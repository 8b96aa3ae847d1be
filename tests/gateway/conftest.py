"""A gateway in this process with a fake interceptor, a supervisor's end to drive it, origins on loopback, and a jail's
network without a jail: a network namespace whose every address is its own.
"""

import asyncio
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.control import egress
from sandboxfile.control.egress import Listen, Message, Register, Role
from sandboxfile.control.server import listen
from sandboxfile.control.wire import Wire
from sandboxfile.errors import SandboxfileError
from sandboxfile.gateway.overrides import Overrides
from sandboxfile.gateway.registrations import Registrations
from sandboxfile.gateway.resolver import Resolver
from sandboxfile.gateway.streams import Peeked
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.model.credential import SecretSource
from sandboxfile.model.policy import Layer, Policy, Rule

TIMEOUT = 20.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the gateway knows no other


def policy_of(
    *allow: Rule | str, mode: str = "deny", block: tuple[str, ...] = (), bypass: tuple[str, ...] = (), **fields: Any
) -> Policy:
    """A policy of one layer that tunnels what need not be inspected."""
    rules = tuple(Rule(rule) if isinstance(rule, str) else rule for rule in allow)
    return Policy(
        (
            Layer(
                "policy web",
                mode=mode,  # type: ignore[arg-type]
                allow=rules,
                block=tuple(map(Rule, block)),
                bypass=tuple(map(Rule, bypass)),
                **{"inspect": "minimal", **fields},
            ),
        )
    )


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    return policy_of


class FakeInterceptor:
    """Answers with what it was given: `explicit` or `transparent HOST PORT`, and the first bytes."""

    def __init__(self) -> None:
        self.served = 0

    async def explicit(self, tenant: Tenant, client: Peeked) -> None:
        await self._serve(tenant, client, "explicit")

    async def transparent(self, tenant: Tenant, client: Peeked, host: str, port: int) -> None:
        await self._serve(tenant, client, f"transparent {host} {port}")

    async def _serve(self, tenant: Tenant, client: Peeked, what: str) -> None:
        self.served += 1
        data = await client.reader.read(1 << 16)
        client.writer.write(f"{tenant.name} {what}\n".encode() + data)
        await client.writer.drain()


class Supervisor:
    """The other end of a registration."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def ask(self, message: Message, *descriptors: int) -> Message:
        await self.wire.send(egress.encode(message), descriptors)
        line = await self.wire.receive()
        assert line is not None, "the gateway hung up"
        return egress.decode(line)

    async def listen(self, role: Role, port: int, sock: socket.socket) -> Message:
        """Hand over a socket; ours is closed."""
        with sock:
            return await self.ask(Listen(role, port), sock.fileno())

    async def proxy(self) -> tuple[str, int]:
        """Serve an explicit proxy on loopback; gives its address."""
        sock = tcp_listener()
        address: tuple[str, int] = sock.getsockname()
        assert await self.listen("proxy", 3128, sock) == egress.Accepted()
        return address

    def leave(self) -> None:
        self.wire.close()


@dataclass
class Gateway:
    """What a test has: the running gateway, its files, and ways to reach it."""

    directory: Path
    registrations: Registrations
    interceptor: FakeInterceptor
    _stack: AsyncExitStack = field(repr=False)

    @property
    def socket(self) -> Path:
        return self.directory / "gateway.sock"

    def log_of(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def records(self, name: str = "web") -> list[dict[str, Any]]:
        text = self.log_of(name).read_text() if self.log_of(name).exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    async def recorded(self, count: int = 1, name: str = "web") -> list[dict[str, Any]]:
        """The log once it holds so many records."""
        with anyio.fail_after(TIMEOUT):
            while len(found := self.records(name)) < count:  # noqa: ASYNC110 - a file sends no event
                await anyio.sleep(0.01)
        return found

    def override(self, **fields: Any) -> None:
        path = self.directory / "resolver.json"
        path.write_text(json.dumps(fields))
        path.chmod(0o600)

    async def connect(self) -> Supervisor:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(self.socket))
        wire = Wire(sock)
        self._stack.callback(wire.close)
        return Supervisor(wire)

    def register(self, policy: Policy, name: str = "web", **fields: Any) -> Register:
        return Register(f"shop/{name}", policy, "CERTIFICATE", "KEY", str(self.log_of(name)), **fields)

    async def sandbox(self, policy: Policy, name: str = "web", **fields: Any) -> Supervisor:
        """A registered sandbox."""
        supervisor = await self.connect()
        answer = await supervisor.ask(self.register(policy, name, **fields))
        assert isinstance(answer, egress.Confirmed), answer
        return supervisor

    async def origin(self, handle: "Handle | None" = None) -> int:
        """A server on loopback that echoes (or does as told); gives its port."""
        server = await asyncio.start_server(handle or echo, "127.0.0.1", 0)
        self._stack.callback(server.close)
        return int(server.sockets[0].getsockname()[1])


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def no_source(source: SecretSource) -> str:
    raise SandboxfileError(f"there is no {source.text}")


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Gateway]:
    interceptor = FakeInterceptor()

    async def ready() -> FakeInterceptor:
        return interceptor

    resolver = Resolver(Overrides(directory / "resolver.json"))
    registrations = Registrations(resolver, ready, no_source)
    async with AsyncExitStack() as stack, anyio.create_task_group() as group:
        with listen(directory / "gateway.sock") as listener:
            group.start_soon(registrations.serve, listener)
            gateway = Gateway(directory, registrations, interceptor, stack)
            yield gateway
            group.cancel_scope.cancel()
    resolver.close()


@pytest.fixture
async def gateway(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Gateway]:
    with anyio.fail_after(120):
        async with running(tmp_path) as gateway:
            yield gateway


def tcp_listener(address: str = "127.0.0.1", port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(4096)
    return sock


@dataclass
class Talk:
    """A client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count: int) -> bytes:
        with anyio.fail_after(TIMEOUT):
            return await self.reader.readexactly(count)

    async def head(self) -> bytes:
        with anyio.fail_after(TIMEOUT):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """All that comes until the other side ends, by whatever means."""
        data = b""
        with anyio.fail_after(TIMEOUT):
            try:
                while more := await self.reader.read(1 << 16):
                    data += more
            except ConnectionError:
                pass
        return data


@pytest.fixture
async def talk(anyio_backend: str) -> AsyncIterator[Callable[..., Awaitable[Talk]]]:
    """Connects to an address, or takes a connected socket."""
    opened: list[Talk] = []

    async def start(where: tuple[str, int] | socket.socket) -> Talk:
        if isinstance(where, socket.socket):
            where.setblocking(False)
            client = Talk(*await asyncio.open_connection(sock=where))
        else:
            client = Talk(*await asyncio.open_connection(*where))
        opened.append(client)
        return client

    yield start
    for client in opened:
        client.writer.close()


@pytest.fixture
def hello() -> Callable[[str | None], bytes]:
    """The first bytes of a real TLS client."""

    def make(name: str | None) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname = False
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        return outgoing.read()

    return make


class Jail:
    """A network namespace in which every address is local. Sockets made in it work anywhere."""

    def __init__(self) -> None:
        self._inside = ThreadPoolExecutor(1)
        self._inside.submit(self._enter).result()

    @staticmethod
    def _enter() -> None:
        os.unshare(os.CLONE_NEWNET)
        for command in ("link set lo up", "route add local 0.0.0.0/0 dev lo"):
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)

    def listener(self, port: int) -> socket.socket:
        return self._inside.submit(tcp_listener, "0.0.0.0", port).result()

    def names(self) -> socket.socket:
        def bound() -> socket.socket:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("0.0.0.0", 53))
            return sock

        return self._inside.submit(bound).result()

    def udp(self) -> socket.socket:
        return self._inside.submit(socket.socket, socket.AF_INET, socket.SOCK_DGRAM).result()

    def connect(self, address: str, port: int) -> socket.socket:
        return self._inside.submit(socket.create_connection, (address, port), TIMEOUT).result()

    def close(self) -> None:
        self._inside.shutdown()


@pytest.fixture
def jail() -> Iterator[Jail]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces are made by root here")
    try:
        found = Jail()
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"no network namespace: {exc}")
    yield found
    found.close()
