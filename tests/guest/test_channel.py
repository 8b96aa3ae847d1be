"""The way into a guest, against an acted one: the real handshake, a real SSH server, this host's shell as its shell.

What a real guest does (users, ptys, sudo) is shown by the scenarios.
"""
# ruff: noqa: ASYNC110

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import asyncssh
import pytest

from sandboxfile.errors import GuestError
from sandboxfile.guest import channel
from sandboxfile.guest.channel import Guest
from sandboxfile.guest.keys import Keys, make_keys
from sandboxfile.guest.process import Terminal
from sandboxfile.guest.tunnel import NothingListensError, Tunnel
from sandboxfile.host.tasks import together

pytestmark = pytest.mark.anyio
PORTS = ("sbx.0", "sbx.1", "sbx.2", "sbx.3")
USERS = ("root", "agent", "node", "db", "web")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Login(asyncssh.SSHServer):
    def __init__(self, keys: Keys, dialed: Callable[[str], Any]) -> None:
        self.keys = keys
        self.dialed = dialed

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username in USERS and key == asyncssh.import_public_key(self.keys.client_public)

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        return self.dialed(dest_host)


class ActedGuest:
    """Serves each port as the guest's `serve` does: handshake, then one SSH session, then handshake again.

    `deaf` ports read and do not answer for so many knocks. `dials` are the addresses that connections were asked for;
    while `mute` is set, they are not answered.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.logins: list[tuple[str, str]] = []
        self.deaf = 0
        self.dials: list[str] = []
        self.mute: asyncio.Event | None = None
        self.host_key = keys.host_private
        self.sessions: dict[str, asyncssh.SSHServerConnection] = {}

    async def serve(self, name: str, port: socket.socket) -> None:
        port.setblocking(False)
        loop = asyncio.get_running_loop()
        pending, nonce = b"", b""
        while data := await loop.sock_recv(port, 1):
            pending += data
            if not pending.endswith(b"\n"):
                continue
            line, pending = pending[:-1], b""
            if b"SBX " in line:
                if self.deaf:
                    self.deaf -= 1
                    continue
                nonce = line.rpartition(b"SBX ")[2]
                await loop.sock_sendall(port, b"\nSBX-OK " + nonce + b"\n")
            elif nonce and line == b"GO " + nonce:
                nonce = b""
                with suppress(asyncssh.Error, OSError):
                    await self._session(name, port)

    async def _session(self, name: str, port: socket.socket) -> None:
        connection = await asyncssh.run_server(
            port.dup(),
            server_factory=lambda: Login(self.keys, self._dialed),
            server_host_keys=[asyncssh.import_private_key(self.host_key)],
            process_factory=self._process,
            encoding=None,
            config=None,
        )
        self.sessions[name] = connection
        self.logins.append((name, connection.get_extra_info("username")))
        await connection.wait_closed()

    def _dialed(self, address: str) -> Any:
        self.dials.append(address)
        return address in ("127.0.0.1", "::1") if self.mute is None else self._answer_late(self.mute)

    async def _answer_late(self, heard: asyncio.Event) -> asyncssh.SSHTCPSession[bytes]:
        await heard.wait()
        return asyncssh.SSHTCPSession()

    async def _process(self, process: "asyncssh.SSHServerProcess[bytes]") -> None:
        line = (process.command or "").replace("PATH=/run/sbx/bin", "PATH=/usr/bin:/bin").replace("/run/sbx/bin/", "")
        env = {**os.environ, **process.env}
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", line, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        feeding = asyncio.create_task(_pump(process.stdin.read, child.stdin))
        try:
            outputs = (_pump(child.stdout.read, process.stdout), _pump(child.stderr.read, process.stderr))
            code, *_ = await asyncio.gather(child.wait(), *outputs)
            if code < 0:
                process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                process.exit(code)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.communicate()


async def _pump(read: Callable[[int], Awaitable[bytes]], sink: Any) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await read(1 << 16):
            sink.write(data)
            await sink.drain()
        if isinstance(sink, asyncio.StreamWriter):
            sink.close()


@asynccontextmanager
async def guests() -> AsyncIterator[tuple[Guest, ActedGuest, dict[str, socket.socket]]]:
    keys = make_keys()
    acted = ActedGuest(keys)
    ends = {name: socket.socketpair() for name in PORTS}
    tasks = [asyncio.create_task(acted.serve(name, theirs)) for name, (_, theirs) in ends.items()]
    ours = {name: end for name, (end, _) in ends.items()}
    guest = Guest(ours, keys)
    try:
        with anyio.fail_after(60):
            yield guest, acted, ours
        await guest.close()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pair in ends.values():
            for end in pair:
                end.close()


async def test_a_command_runs_with_its_words_variables_and_code() -> None:
    async with guests() as (guest, acted, _):
        ended = await guest.run(
            ["sh", "-c", 'echo "$A"; pwd; cat; exit 7'], env=[("A", "x y")], cwd="/usr", stdin=b"in\n"
        )
        assert (ended.code, ended.output) == (7, "x y\n/usr\nin\n")
        assert acted.logins == [("sbx.0", "root")]
        assert not await guest.has_directory("/no/such", "agent")
        assert await guest.has_directory("/usr", "agent")


async def test_much_data_goes_both_ways_unharmed() -> None:
    data = os.urandom(1 << 16) * 48
    async with guests() as (guest, _, _):
        process = await guest.start(["cat"], user="agent")
        received = bytearray()

        async def read() -> None:
            while chunk := await process.read_stdout():
                received.extend(chunk)

        async def write() -> None:
            await process.write(data)
            process.write_eof()

        await together(read, write)
        assert await process.wait() == 0
        assert bytes(received) == data


async def test_a_guest_that_is_slow_to_open_its_port_is_knocked_at_again() -> None:
    async with guests() as (guest, acted, _):
        acted.deaf = 3
        await guest.connect("agent")
        assert acted.deaf == 0


async def test_old_bytes_on_the_port_are_skipped() -> None:
    keys = make_keys()
    acted = ActedGuest(keys)
    ours, theirs = socket.socketpair()
    theirs.send(b"\x00\xff\nSBX-OK 0123456789abcdef\nhalf a packet of an old session")
    task = asyncio.create_task(acted.serve("sbx.0", theirs))
    with anyio.fail_after(20):
        guest = Guest({"sbx.0": ours}, keys)
        assert (await guest.run(["echo", "hello"])).output == "hello\n"
        await guest.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    ours.close()
    theirs.close()


async def test_an_sshd_that_was_killed_is_noticed_and_the_same_port_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells: the port stays connected."""
    monkeypatch.setattr(channel, "_ALIVE_INTERVAL", 0.2)
    monkeypatch.setattr(channel, "_ALIVE_COUNT", 2)
    async with guests() as (guest, acted, _):
        process = await guest.start(["sleep", "100"], user="agent")
        acted.sessions["sbx.1"].abort()
        with pytest.raises(GuestError, match="broke"):
            await process.wait()
        assert (await guest.run(["true"], user="agent")).code == 0
        assert acted.logins == [("sbx.1", "agent"), ("sbx.1", "agent")]


async def test_each_user_has_a_port_root_keeps_its_own_and_the_idle_one_gives_way() -> None:
    async with guests() as (guest, acted, _):
        for user in ("agent", "node", "db"):
            assert (await guest.run(["true"], user=user)).code == 0
        busy = [await guest.start(["sleep", "100"], user=user) for user in ("agent", "db")]
        assert (await guest.run(["true"], user="web")).code == 0, "node's port is free for web"
        assert acted.logins[-1] == ("sbx.2", "web")
        busy.append(await guest.start(["sleep", "100"], user="web"))
        with pytest.raises(GuestError, match="no more users fit"):
            await guest.run(["true"], user="node")
        assert (await guest.run(["true"])).code == 0, "root always gets in"
        for process in busy:
            process.close()


async def test_two_that_need_the_same_user_at_once_share_one_connection() -> None:
    async with guests() as (guest, acted, _):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(lambda: guest.run(["true"], user="agent"))
        assert acted.logins == [("sbx.1", "agent")]


async def test_an_unknown_user_and_a_foreign_host_key_are_refused() -> None:
    async with guests() as (guest, acted, _):
        with pytest.raises(GuestError, match="no user nobody"):
            await guest.run(["true"], user="nobody")
        acted.host_key = make_keys().host_private
        with pytest.raises(GuestError, match="cannot log in"):
            await guest.run(["true"], user="agent")


async def test_a_signal_reaches_the_whole_group_and_the_code_says_so() -> None:
    async with guests() as (guest, _, _):
        process = await guest.start(["sh", "-c", "sleep 100 & sleep 100"], user="agent")
        await anyio.sleep(0.3)
        ended = await guest.run(
            ["sh", "-c", "pgrep -g $(pgrep -f '^sh -c sleep 100 & sleep 100$' | tail -n 1) | wc -l"]
        )
        assert ended.output.strip() == "3"
        await guest.end(process, grace=0.2)
        ended = await guest.run(["sh", "-c", "pgrep -f '^sh -c sleep 100 & sleep 100$' || echo none"])
        assert ended.output == "none\n"


async def test_cancelling_a_start_leaves_no_process() -> None:
    async with guests() as (guest, _, _):
        await guest.connect("agent")
        await guest.connect("root")
        for delay in (0.0, 0.002, 0.005, 0.01, 0.02):
            with anyio.move_on_after(delay):
                process = await guest.start(["sleep", "98765"], user="agent")
                await guest.end(process, grace=0)
        ended = await guest.run(["sh", "-c", "pgrep -x -f 'sleep 98765' || echo none"])
        assert ended.output == "none\n"


async def test_a_command_of_ours_that_hangs_is_an_error() -> None:
    async with guests() as (guest, _, _):
        with pytest.raises(GuestError, match=r"did not end within 0\.3 s"):
            await guest.run(["sleep", "100"], timeout=0.3)


async def test_the_machines_end_is_told_to_whoever_waits() -> None:
    keys = make_keys()
    ours, theirs = socket.socketpair()
    guest = Guest({"sbx.0": ours}, keys)

    async def die() -> None:
        await anyio.sleep(0.1)
        theirs.close()

    async with anyio.create_task_group() as group:
        group.start_soon(die)
        with pytest.raises(GuestError, match="machine is gone"):
            await guest.connect("root")
    ours.close()


async def test_a_guest_that_never_stops_talking_stops_nobody_else() -> None:
    ours, theirs = socket.socketpair()
    guest = Guest({"sbx.0": ours}, make_keys())
    stop = threading.Event()

    def talk() -> None:
        with suppress(OSError):
            while not stop.is_set():
                theirs.send(b"lorem ipsum\n" * 5000)

    talker = threading.Thread(target=talk)
    talker.start()
    with anyio.move_on_after(0.5) as scope:
        await guest.connect("root")
    stop.set()
    ours.close()
    talker.join()
    theirs.close()
    assert scope.cancelled_caught


async def test_a_terminal_is_asked_for() -> None:
    async with guests() as (guest, _, _):
        process = await guest.start(["true"], user="agent", terminal=Terminal("xterm", 31, 97))
        assert await process.wait() == 0


# --- ports inside ------------------------------------------------------------------------------------------------


async def _read_all(tunnel: Tunnel) -> bytes:
    received = bytearray()
    while data := await tunnel.read():
        received.extend(data)
    return bytes(received)


@asynccontextmanager
async def service(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A TCP service where the acted guest looks for one; gives its port."""
    server = await asyncio.start_server(answer, host, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _echo_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(-1))
    await writer.drain()
    writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _pump(reader.read, writer)


async def test_a_service_inside_hears_and_answers_after_half_a_close() -> None:
    async with guests() as (guest, _, _), service(_echo_after_the_end) as port:
        tunnel = await guest.open_port(port, user="agent")
        await tunnel.write(b"all of it")
        tunnel.write_eof()
        assert await _read_all(tunnel) == b"all of it"
        tunnel.close()


async def test_many_connections_at_once_carry_much_data_each_its_own() -> None:
    async with guests() as (guest, _, _), service(_echo) as port:

        async def exchange(number: int) -> None:
            data = os.urandom(1 << 10) * 256 + bytes([number])
            tunnel = await guest.open_port(port, user="agent")
            received: list[bytes] = []

            async def read() -> None:
                received.append(await _read_all(tunnel))

            async def write() -> None:
                await tunnel.write(data)
                tunnel.write_eof()

            await together(read, write)
            tunnel.close()
            assert received == [data]

        await together(*(partial(exchange, number) for number in range(30)))


async def test_a_service_on_the_other_loopback_address_is_found() -> None:
    async with guests() as (guest, acted, _), service(_echo_after_the_end, "::1") as port:
        tunnel = await guest.open_port(port, user="agent")
        tunnel.write_eof()
        assert await _read_all(tunnel) == b""
        assert acted.dials == ["127.0.0.1", "::1"]
        tunnel.close()


async def test_nobody_at_a_port_is_told_and_frees_the_lane() -> None:
    async with guests() as (guest, acted, _):
        async with service(_echo) as port:
            pass  # and now nobody listens there
        with pytest.raises(NothingListensError, match=f"nothing listens on port {port} inside"):
            await guest.open_port(port, user="agent")
        assert acted.dials == ["127.0.0.1", "::1", "10.0.2.15"]
        assert [lane.claims for lane in guest._lanes] == [0, 0, 0, 0]


async def test_an_open_connection_keeps_its_lane_until_it_is_closed() -> None:
    async with guests() as (guest, _, _), service(_echo) as port:
        tunnel = await guest.open_port(port, user="agent")
        assert sum(lane.claims for lane in guest._lanes) == 1
        over = anyio.Event()
        forget = tunnel.on_closed
        tunnel.on_closed = lambda: (forget(), over.set())
        tunnel.abort()
        await over.wait()
        assert sum(lane.claims for lane in guest._lanes) == 0


async def test_a_guest_that_does_not_answer_dials_is_given_up_and_its_late_answer_hung_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(channel, "_DIAL_TIMEOUT", 0.2)
    monkeypatch.setattr(channel, "_LATE_DIALS", 2)
    async with guests() as (guest, acted, _):
        acted.mute = asyncio.Event()
        for _ in range(2):
            with pytest.raises(GuestError, match="does not answer"):
                await guest.open_port(80, user="agent")
        with pytest.raises(GuestError, match="when it is asked to connect"):
            await guest.open_port(80, user="agent")
        assert len(acted.dials) == 2
        lane = next(lane for lane in guest._lanes if lane.user == "agent")
        assert (lane.late, lane.claims) == (2, 0)
        acted.mute.set()
        while lane.late:
            await anyio.sleep(0.01)
        acted.mute = None
        assert (await guest.run(["echo", "well"], user="agent")).output == "well\n"


async def test_a_service_that_does_not_read_makes_the_writer_wait_and_no_one_else() -> None:
    deaf = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await deaf.wait()
        writer.close()

    async with guests() as (guest, _, _), service(ignore) as port:
        tunnel = await guest.open_port(port, user="agent")
        sent = 0
        with anyio.move_on_after(1):
            while True:
                await tunnel.write(b"x" * (1 << 16))
                sent += 1 << 16
        assert sent < 16 << 20  # windows and buffers of both sides, and of this host's loopback
        assert (await guest.run(["echo", "well"], user="agent")).output == "well\n"
        deaf.set()
        tunnel.abort()


async def test_a_port_that_takes_no_bytes_makes_writers_wait_whatever_windows_the_guest_grants() -> None:
    async with guests() as (guest, acted, _), service(_echo) as port:
        tunnel = await guest.open_port(port, user="agent")
        lane = next(lane for lane in guest._lanes if lane.user == "agent")
        connection = lane.connection
        assert connection is not None
        acted.sessions[lane.name]._transport.pause_reading()
        next(iter(connection._channels.values()))._send_window = 1 << 40
        sent = 0
        with anyio.move_on_after(1):
            while True:
                await tunnel.write(b"x" * (1 << 16))
                sent += 1 << 16
        assert lane.full
        assert sent < 4 << 20
        acted.sessions[lane.name]._transport.resume_reading()
        while lane.full:
            await anyio.sleep(0.01)
        tunnel.abort()


async def test_a_lost_lane_resets_its_connections() -> None:
    async with guests() as (guest, acted, _), service(_echo) as port:
        tunnel = await guest.open_port(port, user="agent")
        lane = next(lane for lane in guest._lanes if lane.user == "agent")
        acted.sessions[lane.name]._transport.write(b"\nSBX-END %064d\n" % 0)  # as the guest does when sshd has ended
        with pytest.raises(ConnectionResetError):
            await tunnel.read()
        with pytest.raises(BrokenPipeError):
            await tunnel.write(b"anybody?")
        assert lane.claims == 0
