"""The way into a running guest: processes over SSH over virtio-serial ports. The only door to asyncssh; asyncio only.

Read `Guest` first. One connection per guest user, made when it is first needed and again after it broke; root's port is
kept for root, the others go to whoever needs one, and the least recently used idle one gives way. Nothing inside can
connect to anything out here, no file of the host's user is read, the guest's host key is the one that we gave it.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
import asyncssh
from anyio import get_cancelled_exc_class

from sandboxfile.errors import GuestError
from sandboxfile.guest.commands import (
    NO_DIRECTORY,
    NOT_FOUND,
    command_line,
    detached_line,
    kill_command,
    split_environment,
)
from sandboxfile.guest.handshake import knock
from sandboxfile.guest.keys import Keys
from sandboxfile.guest.network import GUEST_ADDRESS
from sandboxfile.guest.process import Process, Terminal
from sandboxfile.guest.tunnel import WINDOW, NothingListensError, Tunnel

_LOGIN_TIMEOUT = 60.0  # seconds; 0.5 is usual, twenty at once under emulation take ten
_LATE_TRIES, _LATE_PAUSE = 10, 0.2
_OPEN_TIMEOUT = 60.0
_DIAL_TIMEOUT = 10.0
_LATE_DIALS = 64  # attempts that the guest has not answered in time; one that answers none gets no more of them
_ADDRESSES = ("127.0.0.1", "::1", GUEST_ADDRESS)  # where a service inside may listen
_CLOSE_TIMEOUT = 2.0
_ALIVE_INTERVAL, _ALIVE_COUNT = 30.0, 6  # an sshd that was killed inside is noticed after three minutes
_OUTPUT_LIMIT = 1 << 16
_BROKEN = (asyncssh.Error, OSError)

logging.getLogger("asyncssh").setLevel(logging.CRITICAL)  # what it reports is raised as well


@dataclass(frozen=True, slots=True)
class Ended:
    """A command of ours that ran to its end. `output` is stdout and stderr, the first 64 KiB."""

    code: int
    output: str


@dataclass(slots=True)
class _Lane:
    """A port and the connection on it. `claims` counts those who use it or wait for it.

    `full`: what was written to the port has not gone out, so `tunnels` wait. `late`: dials without an answer in time.
    """

    name: str
    socket: socket.socket
    user: str | None = None
    connection: asyncssh.SSHClientConnection | None = None
    claims: int = 0
    used: int = 0
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    tunnels: set[Tunnel] = field(default_factory=set)
    full: bool = False
    late: int = 0


class Guest:
    """One guest, by the connected sockets of its ports, which stay the caller's."""

    def __init__(self, ports: Mapping[str, socket.socket], keys: Keys) -> None:
        for port in ports.values():
            port.setblocking(False)
        self._lanes = [_Lane(name, port) for name, port in ports.items()]
        self._lanes[0].user = "root"
        self._client_key = asyncssh.import_private_key(keys.client_private)
        self._host_key = asyncssh.import_public_key(keys.host_public)
        self._clock = 0
        self._paused = False

    async def connect(self, user: str) -> None:
        """Have a connection for `user`. Waits as long as the guest boots; raises GuestError."""
        async with self._connection(user):
            pass

    async def start(
        self,
        argv: Sequence[str],
        *,
        user: str,
        cwd: str | None = None,
        env: Sequence[tuple[str, str]] = (),
        terminal: Terminal | None = None,
    ) -> Process:
        """Start a command; `end` or `Process.close` it. `cwd` defaults to the user's home. Raises GuestError."""
        process = _Session(secrets.token_hex(8))
        try:
            await self._start(process, argv, user, cwd, env, terminal)
        except get_cancelled_exc_class():
            await self._end_late(process)
            raise
        return process

    async def start_detached(
        self, argv: Sequence[str], *, user: str, cwd: str | None = None, env: Sequence[tuple[str, str]] = ()
    ) -> Ended:
        """Start a command that is connected to nothing. The code is 0 when it could be, else as a shell's."""
        variables, exports = split_environment(env)
        process = _Session("")
        await self._open(process, detached_line(argv, cwd, exports), user, variables, None)
        return await _collect(process, b"")

    async def run(
        self,
        argv: Sequence[str],
        *,
        user: str = "root",
        cwd: str | None = "/",
        env: Sequence[tuple[str, str]] = (),
        stdin: bytes = b"",
        timeout: float = 60.0,
    ) -> Ended:
        """Run a short command of ours to its end. Raises GuestError, also after `timeout` seconds."""
        try:
            with anyio.fail_after(timeout):
                process = _Session(secrets.token_hex(8))
                await self._start(process, argv, user, cwd, env, None)
                return await _collect(process, stdin)
        except TimeoutError as exc:
            raise GuestError(f"{argv[0]} did not end within {timeout:g} s inside the sandbox") from exc

    async def ask(self, path: str, question: bytes, *, limit: int = 4096) -> bytes:
        """Send to a UNIX socket inside as root, and wait for the first of what it answers, at most `limit` bytes.

        Empty when nobody listens there, or hangs up. Raises GuestError when the guest cannot be reached.
        """
        async with self._connection("root") as connection:
            try:
                reader, writer = await connection.open_unix_connection(path)
                try:
                    writer.write(question)
                    return bytes(await reader.read(limit))
                finally:
                    writer.close()
            except _BROKEN:
                return b""

    async def open_port(self, port: int, *, user: str) -> Tunnel:
        """Connect to a TCP port inside, as `user`. Raises NothingListensError, or another GuestError."""
        lane = self._claim(user)
        tunnel = _Tunnel()
        tunnel.on_closed = partial(_forget, lane, tunnel)
        lane.tunnels.add(tunnel)
        try:
            connection = await self._connected(lane)
            for address in _ADDRESSES:
                if await _dial(connection, lane, tunnel, address, port):
                    tunnel.hold(lane.full)
                    return tunnel
            raise NothingListensError(f"nothing listens on port {port} inside the sandbox")
        except BaseException:
            _forget(lane, tunnel)
            raise

    async def signal(self, process: Process, name: str) -> None:
        """Signal a process's group; `name` without SIG. Does nothing when it has ended. Raises GuestError."""
        ended = await self.run(kill_command(process.id, name), timeout=20)
        if ended.code == NOT_FOUND and process.code is None:
            process.send_signal(name)  # it wrote over its environment, where we look for it: sshd knows it, too

    async def end(self, process: Process, grace: float = 2.0) -> None:
        """End a process whatever it does: HUP to its group, KILL after `grace` seconds. Cancellation waits for it."""
        process.discard_output()
        with anyio.CancelScope(shield=True):
            with suppress(GuestError):
                await self.signal(process, "HUP")
                with anyio.move_on_after(grace):
                    await process.closed()
                await self.signal(process, "KILL")
            process.close()

    async def _end_late(self, process: "_Session") -> None:
        """End what was asked for and not waited for: it may have started, or start in the next moments."""
        with anyio.CancelScope(shield=True), suppress(GuestError):
            for _ in range(_LATE_TRIES if process.requested else 0):
                if (await self.run(kill_command(process.id, "KILL"), timeout=20)).code != NOT_FOUND:
                    break
                await anyio.sleep(_LATE_PAUSE)
            process.close()

    async def has_directory(self, path: str, user: str) -> bool:
        """Whether `user` can enter a directory."""
        ended = await self.run(("/run/sbx/bin/true",), user=user, cwd=path)
        return ended.code != NO_DIRECTORY

    def set_paused(self, paused: bool) -> None:
        """A paused guest does not answer, and its connections are to outlive that."""
        self._paused = paused
        for lane in self._lanes:
            if lane.connection is not None:
                lane.connection.set_keepalive(0 if paused else _ALIVE_INTERVAL, _ALIVE_COUNT)

    async def close(self) -> None:
        """Hang up everywhere. What was started goes on inside."""
        for lane in self._lanes:
            await _hang_up(lane)

    async def _start(
        self,
        process: "_Session",
        argv: Sequence[str],
        user: str,
        cwd: str | None,
        env: Sequence[tuple[str, str]],
        terminal: Terminal | None,
    ) -> None:
        variables, exports = split_environment(env)
        await self._open(process, command_line(process.id, argv, cwd, exports), user, variables, terminal)

    async def _open(
        self, process: "_Session", line: str, user: str, variables: Mapping[str, str], terminal: Terminal | None
    ) -> None:
        lane = self._claim(user)
        process.on_closed = lambda: _release(lane)
        try:
            connection = await self._connected(lane)
            with anyio.fail_after(_OPEN_TIMEOUT):
                process.requested = True
                await connection.create_session(
                    lambda: process,
                    line,
                    env=[(name, value) for name, value in variables.items()],
                    request_pty="force" if terminal else False,
                    term_type=terminal.kind if terminal else None,
                    term_size=(terminal.columns, terminal.rows) if terminal else (),
                    encoding=None,
                )
        except BaseException as exc:
            process.abandon()
            if isinstance(exc, _BROKEN):
                raise GuestError(f"cannot start a command inside the sandbox: {exc or type(exc).__name__}") from exc
            raise

    @asynccontextmanager
    async def _connection(self, user: str) -> AsyncIterator[asyncssh.SSHClientConnection]:
        lane = self._claim(user)
        try:
            yield await self._connected(lane)
        finally:
            _release(lane)

    def _claim(self, user: str) -> _Lane:
        """Choose the lane of a user, without waiting: nobody can take it from us any more."""
        self._clock += 1
        lane = next((lane for lane in self._lanes if lane.user == user), None) or self._free_lane()
        lane.claims += 1
        lane.used = self._clock
        if lane.user != user:
            lane.user = user
        return lane

    def _free_lane(self) -> _Lane:
        idle = [lane for lane in self._lanes[1:] if not lane.claims]
        if not idle:
            users = ", ".join(sorted(lane.user for lane in self._lanes if lane.user))
            raise GuestError(
                f"commands of {len(self._lanes)} users ({users}) run in this sandbox, and no more users fit",
                hint="wait until one of them has ended, or run the command as one of these users",
            )
        return min(idle, key=lambda lane: lane.used)

    async def _connected(self, lane: _Lane) -> asyncssh.SSHClientConnection:
        async with lane.turn:
            assert lane.user is not None
            if lane.connection is not None and _serves(lane.connection, lane.user):
                return lane.connection
            await _hang_up(lane)
            await knock(lane.socket)
            lane.connection = await self._login(lane.socket, lane.user)
            _watch_fullness(lane, lane.connection)
            return lane.connection

    async def _login(self, port: socket.socket, user: str) -> asyncssh.SSHClientConnection:
        try:
            with anyio.fail_after(_LOGIN_TIMEOUT):
                return await asyncssh.connect(
                    "sandbox",
                    sock=port.dup(),  # asyncssh closes what it is given
                    username=user,
                    client_keys=[self._client_key],
                    known_hosts=([self._host_key], [], []),
                    server_host_key_algs=["ssh-ed25519"],
                    kex_algs=["curve25519-sha256"],
                    # Its packet length is in clear, so the next knock ends an old sshd at once.
                    encryption_algs=["aes128-gcm@openssh.com"],
                    compression_algs=["none"],
                    preferred_auth=["publickey"],
                    config=None,
                    agent_path=None,
                    gss_host=None,
                    keepalive_interval=0 if self._paused else _ALIVE_INTERVAL,
                    keepalive_count_max=_ALIVE_COUNT,
                    login_timeout=_LOGIN_TIMEOUT,
                )
        except asyncssh.PermissionDenied as exc:
            raise GuestError(f"there is no user {user} inside the sandbox", hint="`-u` takes root or agent") from exc
        except _BROKEN as exc:
            raise GuestError(f"cannot log in to the sandbox as {user}: {exc or type(exc).__name__}") from exc


class _Session(Process, asyncssh.SSHClientSession[bytes]):
    """A process as asyncssh wants it. `requested`: it may run, whether we heard of that or not."""

    requested = False


class _Tunnel(Tunnel, asyncssh.SSHTCPSession[bytes]):
    """A tunnel as asyncssh wants it."""


async def _dial(
    connection: asyncssh.SSHClientConnection, lane: _Lane, tunnel: _Tunnel, address: str, port: int
) -> bool:
    """Whether somebody took the connection. Raises GuestError when the guest does not say."""
    if lane.late >= _LATE_DIALS:
        raise GuestError("the sandbox does not answer when it is asked to connect to its ports")
    dialing = asyncio.ensure_future(
        connection.create_connection(lambda: tunnel, address, port, encoding=None, window=WINDOW)
    )
    try:
        with anyio.fail_after(_DIAL_TIMEOUT):
            await asyncio.shield(dialing)
    except TimeoutError as exc:
        _leave(dialing, lane)
        raise GuestError(f"port {port} inside the sandbox does not answer") from exc
    except _BROKEN as exc:
        refused = isinstance(exc, asyncssh.ChannelOpenError) and exc.code == asyncssh.OPEN_CONNECT_FAILED
        if refused and not connection.is_closed():
            return False
        raise GuestError(f"cannot connect to port {port} inside the sandbox: {exc or type(exc).__name__}") from exc
    except BaseException:
        _leave(dialing, lane)
        raise
    return True


def _leave(dialing: "asyncio.Future[Any]", lane: _Lane) -> None:
    """Nobody wants the answer any more; it comes at the latest with the connection's end."""

    def hang_up(answered: "asyncio.Future[Any]") -> None:
        lane.late -= 1
        if not answered.cancelled() and answered.exception() is None:
            answered.result()[0].abort()

    lane.late += 1
    dialing.add_done_callback(hang_up)


def _watch_fullness(lane: _Lane, connection: asyncssh.SSHClientConnection) -> None:
    """Make tunnels wait while the port takes no more: asyncssh itself goes on writing, as far as the guest's windows
    allow, and a guest can say that they are endless.
    """

    def tell(full: bool) -> None:
        lane.full = full
        for tunnel in lane.tunnels:
            tunnel.hold(full)

    lane.full = False
    connection.pause_writing = partial(tell, True)  # type: ignore[method-assign]
    connection.resume_writing = partial(tell, False)  # type: ignore[method-assign]


def _forget(lane: _Lane, tunnel: Tunnel) -> None:
    """It is over, or was never opened; whichever is told first counts."""
    if tunnel in lane.tunnels:
        lane.tunnels.remove(tunnel)
        _release(lane)


def _serves(connection: asyncssh.SSHClientConnection, user: str) -> bool:
    return not connection.is_closed() and connection.get_extra_info("username") == user


def _release(lane: _Lane) -> None:
    lane.claims -= 1


async def _hang_up(lane: _Lane) -> None:
    """Close a lane's connection, so that none of its bytes come after the next handshake's."""
    connection, lane.connection = lane.connection, None
    if connection is None:
        return
    connection.close()
    with anyio.move_on_after(_CLOSE_TIMEOUT):
        await connection.wait_closed()
        return
    connection.abort()
    await connection.wait_closed()


async def _collect(process: Process, stdin: bytes) -> Ended:
    output = bytearray()

    async def gather(read: Callable[[], Awaitable[bytes]]) -> None:
        while data := await read():
            output.extend(data[: _OUTPUT_LIMIT - len(output)])

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(gather, process.read_stdout)
            group.start_soon(gather, process.read_stderr)
            with suppress(BrokenPipeError):  # it has ended without reading all of it
                await process.write(stdin)
            process.write_eof()
        return Ended(await process.wait(), output.decode(errors="replace"))
    finally:
        process.close()
