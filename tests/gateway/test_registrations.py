"""Registrations and their end, policies that change under open connections, what fails closed, and all the bounds."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.control.egress import Accepted, Confirmed, Listen, Provide, Refused, Register, SetPolicy
from sandboxfile.gateway import slots
from sandboxfile.gateway.values import Unavailable
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import Policy, Rule
from sandboxfile.policy.compiled import Compiled

pytestmark = pytest.mark.anyio

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
CONNECT = b"CONNECT db.example.com:5432 HTTP/1.1\r\n\r\n"


@pytest.fixture
def database(gateway: Any, make_policy: Callable[..., Policy]) -> Callable[[], Awaitable[Policy]]:
    """A server that echoes, and the policy that lets raw TCP through to it."""

    async def start() -> Policy:
        gateway.override(resolve={"db.example.com:5432": f"127.0.0.1:{await gateway.origin()}"})
        return make_policy(Rule("db.example.com:5432", protocol="tcp"))

    return start


async def open_tunnel(talk: Callable[..., Awaitable[Any]], proxy: tuple[str, int]) -> Any:
    client = await talk(proxy)
    await client.say(CONNECT)
    assert await client.head() == CONNECTED
    await client.say(b"ping")
    assert await client.hear(4) == b"ping"
    return client


async def test_a_tightened_policy_has_cut_what_it_denies_when_it_is_confirmed(
    gateway: Any, make_policy: Callable[..., Policy], database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    client = await open_tunnel(talk, proxy := await sandbox.proxy())
    tighter = make_policy("api.example.com")
    assert await sandbox.ask(SetPolicy(tighter)) == Confirmed(fingerprint(tighter))
    assert await client.rest() == b""
    (record,) = await gateway.recorded()
    assert "the policy no longer allows it" in record["error"]
    again = await talk(proxy)
    await again.say(CONNECT)
    assert (await again.rest()).startswith(b"web explicit\n")


async def test_a_policy_that_still_allows_it_leaves_a_connection_alone(
    gateway: Any, make_policy: Callable[..., Policy], database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    client = await open_tunnel(talk, await sandbox.proxy())
    wider = make_policy(Rule("db.example.com:5432", protocol="tcp"), "api.example.com")
    await sandbox.ask(SetPolicy(wider))
    await client.say(b"pong")
    assert await client.hear(4) == b"pong"


async def test_a_range_that_is_blocked_later_cuts_a_connection_to_an_address_in_it(
    gateway: Any, make_policy: Callable[..., Policy], database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    client = await open_tunnel(talk, await sandbox.proxy())
    await sandbox.ask(SetPolicy(make_policy(Rule("db.example.com:5432", protocol="tcp"), block=("127.0.0.0/8",))))
    assert await client.rest() == b""


async def test_a_tunnel_that_must_be_looked_into_by_a_new_policy_is_cut(
    gateway: Any, make_policy: Callable[..., Policy], talk: Callable[..., Awaitable[Any]], hello: Callable[..., bytes]
) -> None:
    gateway.override(resolve={"api.example.com": f"127.0.0.1:{await gateway.origin()}"})
    sandbox = await gateway.sandbox(make_policy("api.example.com"))
    client = await talk(await sandbox.proxy())
    await client.say(b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n")
    await client.head()
    await client.say(first := hello("api.example.com"))
    assert await client.hear(len(first)) == first
    await sandbox.ask(SetPolicy(make_policy(Rule("api.example.com", methods=("GET",)))))
    assert await client.rest() == b""


async def test_an_invalid_policy_is_refused_and_the_old_one_stays(
    gateway: Any, make_policy: Callable[..., Policy], database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    client = await open_tunnel(talk, proxy := await sandbox.proxy())
    answer = await sandbox.ask(SetPolicy(make_policy("http://not a pattern", mode="allow")))
    assert isinstance(answer, Refused)
    await client.say(b"pong")
    assert await client.hear(4) == b"pong"
    await open_tunnel(talk, proxy)
    other = await talk(proxy)
    await other.say(b"CONNECT mail.example.com:25 HTTP/1.1\r\n\r\n")
    assert (await other.rest()).startswith(b"HTTP/1.1 403 ")


async def test_when_the_supervisor_hangs_up_everything_of_its_sandbox_ends(
    gateway: Any, database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    client = await open_tunnel(talk, proxy := await sandbox.proxy())
    waiting = await talk(proxy)
    sandbox.leave()
    assert await client.rest() == b""
    assert await waiting.rest() == b""
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(*proxy)
    (record,) = await gateway.recorded()
    assert "no longer registered" in record["error"]


async def test_a_second_registration_replaces_the_first_and_others_go_on(
    gateway: Any, make_policy: Callable[..., Policy], database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    policy = await database()
    first = await gateway.sandbox(policy)
    other = await gateway.sandbox(policy, "other")
    client = await open_tunnel(talk, await first.proxy())
    untouched = await open_tunnel(talk, await other.proxy())
    second = await gateway.sandbox(policy)
    assert await client.rest() == b""
    assert await first.wire.receive() is None
    await untouched.say(b"pong")
    assert await untouched.hear(4) == b"pong"
    await open_tunnel(talk, await second.proxy())


async def test_a_socket_handed_over_again_takes_the_place_of_the_former(
    gateway: Any, database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    await sandbox.proxy()
    await open_tunnel(talk, await sandbox.proxy())


async def test_sandboxes_have_their_own_policies_and_logs(
    gateway: Any, make_policy: Callable[..., Policy], database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    allowed = await gateway.sandbox(await database())
    denied = await gateway.sandbox(make_policy(), "other")
    await open_tunnel(talk, await allowed.proxy())
    client = await talk(await denied.proxy())
    await client.say(b"CONNECT db.example.com:22 HTTP/1.1\r\n\r\n")
    assert (await client.rest()).startswith(b"HTTP/1.1 403 ")
    (record,) = await gateway.recorded(1, "other")
    assert record["sandbox"] == "shop/other"


@pytest.mark.parametrize("broken", ["decide", "resolvable"])
async def test_an_exception_of_ours_while_deciding_denies(
    gateway: Any,
    make_policy: Callable[..., Policy],
    database: Any,
    talk: Callable[..., Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    broken: str,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("deciding went wrong")

    sandbox = await gateway.sandbox(await database())
    monkeypatch.setattr(Compiled, broken, fail)
    tenant = gateway.registrations._current["shop/web"].tenant
    assert not tenant.resolvable("db.example.com") or broken == "decide"
    client = await talk(await sandbox.proxy())
    await client.say(CONNECT.replace(b"5432", b"22"))
    assert (answer := await client.rest()).startswith(b"HTTP/1.1 403 ")
    if broken == "decide":
        assert b"a bug in sandboxfile" in answer
    assert "deciding went wrong" in capfd.readouterr().err


async def test_an_open_connection_is_cut_when_deciding_about_it_again_fails(
    gateway: Any, database: Any, talk: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = await database()
    sandbox = await gateway.sandbox(policy)
    client = await open_tunnel(talk, await sandbox.proxy())

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Compiled, "decide", fail)
    assert isinstance(await sandbox.ask(SetPolicy(policy)), Confirmed)
    assert await client.rest() == b""


# --- values of credentials ---------------------------------------------------------------------------------------


async def test_values_are_kept_for_the_sandbox_they_were_given_for(
    gateway: Any, make_policy: Callable[..., Policy]
) -> None:
    tracker = Credential("tracker", SecretSource("env", "TRACKER"), (Injection("api.example.com", name="x-key"),))
    policy = replace(make_policy("api.example.com"), credentials=(tracker,))
    sandboxes = [await gateway.sandbox(policy, name) for name in ("web", "other")]
    assert await sandboxes[0].ask(Provide((("tracker", "the value"),))) == Accepted()
    web, other = (gateway.registrations._current[f"shop/{name}"].tenant for name in ("web", "other"))
    assert await web.values.get(tracker) == "the value"
    with pytest.raises(Unavailable):
        await other.values.get(tracker)
    await gateway.sandbox(policy)  # takes the place of the first
    with pytest.raises(Unavailable):
        await web.values.get(tracker)
    with pytest.raises(Unavailable):
        await gateway.registrations._current["shop/web"].tenant.values.get(tracker)


async def test_values_before_a_registration_or_with_a_descriptor_are_refused_and_not_shown(
    gateway: Any, make_policy: Callable[..., Policy], capfd: pytest.CaptureFixture[str]
) -> None:
    supervisor = await gateway.connect()
    values = Provide((("tracker", "the value"),))
    answers = [await supervisor.ask(values)]
    await supervisor.ask(gateway.register(make_policy()))
    with socket.socket() as sock:
        answers.append(await supervisor.ask(values, sock.fileno()))
    assert all(isinstance(answer, Refused) and "the value" not in answer.message for answer in answers)
    assert "the value" not in repr(values) + capfd.readouterr().err


# --- what a supervisor may say -----------------------------------------------------------------------------------


async def test_the_first_message_must_be_a_valid_registration_and_may_be_tried_again(
    gateway: Any, make_policy: Callable[..., Policy]
) -> None:
    sandbox = await gateway.connect()
    good = gateway.register(make_policy())
    bad: list[Any] = [
        SetPolicy(make_policy()),
        Register("no slash", make_policy(), "", "", good.log),
        Register("shop/web", make_policy(), "", "", "relative.log"),
        Register("shop/web", make_policy(), "", "", "/nonexistent/directory/web.log"),
        Register("shop/web", make_policy("*.*.x"), "", "", good.log),
    ]
    for message in bad:
        assert isinstance(await sandbox.ask(message), Refused), message
    assert isinstance(await sandbox.ask(good), Confirmed)
    assert isinstance(await sandbox.ask(good), Refused)


async def test_only_listening_sockets_of_the_internet_are_taken(
    gateway: Any, make_policy: Callable[..., Policy], tmp_path: Path
) -> None:
    sandbox = await gateway.sandbox(make_policy())
    unix, datagram, idle = (
        socket.socket(socket.AF_UNIX),
        socket.socket(type=socket.SOCK_DGRAM),
        socket.socket(socket.AF_INET),
    )
    with unix, datagram, idle, (tmp_path / "file").open("w") as file:
        for descriptor in (unix.fileno(), datagram.fileno(), idle.fileno(), file.fileno()):
            assert isinstance(await sandbox.ask(Listen("proxy", 3128), descriptor), Refused)
        assert isinstance(await sandbox.ask(Listen("names", 53), idle.fileno()), Refused)
        assert isinstance(await sandbox.ask(Listen("proxy", 3128)), Refused)
        assert isinstance(await sandbox.ask(SetPolicy(make_policy()), idle.fileno()), Refused)
        assert await sandbox.ask(Listen("names", 53), datagram.fileno()) == Accepted()


async def test_nonsense_on_a_registered_connection_is_refused_and_changes_nothing(
    gateway: Any, database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    sandbox = await gateway.sandbox(await database())
    client = await open_tunnel(talk, await sandbox.proxy())
    for line in (b"{}\n", b'{"v":99,"kind":"SetPolicy"}\n', b"\xff\n"):
        await sandbox.wire.send(line)
        assert b'"Refused"' in await sandbox.wire.receive()
    await client.say(b"pong")
    assert await client.hear(4) == b"pong"


# --- bounds ------------------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(fulfilled: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not fulfilled():  # noqa: ASYNC110 - sockets of others send no event
            await anyio.sleep(0.01)


async def test_ten_thousand_connections_are_refused_beyond_the_limit_and_leave_nothing(
    gateway: Any, database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    async def ended(sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
        sock.close()

    sandbox = await gateway.sandbox(await database())
    proxy = await sandbox.proxy()
    before = descriptors()
    kept: dict[asyncio.Task[None], socket.socket] = {}
    for round in range(10):
        batch = [socket.create_connection(proxy) for _ in range(1000)]
        for sock in batch:
            sock.setblocking(False)
        waiting = {asyncio.ensure_future(ended(sock)): sock for sock in batch}
        kept |= waiting
        await until(lambda kept=kept: sum(task.done() for task in kept) == len(kept) - slots.OF_ONE)
        kept = {task: sock for task, sock in kept.items() if not task.done() or task.result()}
        assert descriptors() <= before + 2 * slots.OF_ONE, round
    for task, sock in kept.items():
        task.cancel()
        sock.close()
    await until(lambda: gateway.registrations._total.taken == 0)
    await open_tunnel(talk, proxy)
    records = await gateway.recorded()
    assert records[0]["reason"] == "too many connections at a time"
    assert len(records) < 3


async def test_no_descriptor_outlives_its_connection_or_its_registration(
    gateway: Any, database: Any, talk: Callable[..., Awaitable[Any]]
) -> None:
    policy = await database()
    await gateway.sandbox(policy, "other")  # whatever is made once is made
    before = descriptors()
    for _ in range(3):
        sandbox = await gateway.sandbox(policy)
        proxy = await sandbox.proxy()
        for end in (b"CONNECT x", CONNECT, CONNECT + b"data", b"GET / HTTP/1.1\r\n\r\n", b"CONNECT bad\r\n\r\n"):
            client = await talk(proxy)
            await client.say(end)
            if end.startswith(CONNECT):
                assert await client.head() == CONNECTED
            client.writer.close()
        sandbox.leave()
        await until(lambda: "shop/web" not in gateway.registrations._current)
    await until(lambda: descriptors() <= before)
