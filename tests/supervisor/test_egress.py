"""The registration with the gateway, against a process that speaks as the gateway does: real sockets, real kills."""

import os
import shutil
import signal
import socket
import tempfile
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from sandboxfile.errors import HostError, MachineError, SandboxfileError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, is_locked, try_lock
from sandboxfile.host.tasks import beside
from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.names import SandboxId
from sandboxfile.supervisor import egress, link
from sandboxfile.supervisor.egress import Egress, proxies

WEB = SandboxId("shop", "web")


def allowing(*patterns):
    """A policy with these rules; those with a port other than 443 are for raw TCP."""
    rules = tuple(Rule(p, "tcp" if ":" in p and not p.endswith(":443") else "http") for p in patterns)
    return Policy((Layer("policy web", allow=rules),))


class Network:
    """Listening sockets on loopback in place of a jail's."""

    def __init__(self):
        self.sockets = {("proxy", 3128): listener(), ("names", 53): listener(socket.SOCK_DGRAM)}
        self.broken = False

    async def listen(self, port):
        if self.broken:
            raise MachineError("the opener died")
        return self.sockets.setdefault(("transparent", port), listener())

    def close(self):
        for sock in self.sockets.values():
            sock.close()


def listener(kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    sock.setblocking(False)
    return sock


class Home:
    """A state directory, and what the gateways in it were told."""

    def __init__(self, layout):
        self.layout = layout

    def behave(self, text):
        (self.layout.state / "behaviour").write_text(text)

    @property
    def told(self):
        """Pid and words of each message."""
        path = self.layout.state / "told"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def kinds(self):
        return [" ".join(words[1:4] if words[1] == "Listen" else words[1:2]) for words in self.told]

    @asynccontextmanager
    async def kept(self, policy=NO_POLICY, environ=None):
        """An Egress at work, with its network."""
        way, network = Egress(self.layout, WEB, policy, environ or {}), Network()
        try:
            await way.prepare()
            async with beside(way.keep):
                way.serve(network)
                yield way, network
        finally:
            network.close()

    def pids(self):
        """Of gateways that were told something, the oldest first."""
        return list(dict.fromkeys(int(words[0]) for words in self.told))

    def end(self):
        for pid in self.pids():
            if (Path(f"/proc/{pid}/cmdline").exists()) and b"fake_gateway" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def home(monkeypatch):
    root = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
    monkeypatch.setenv("SBX_HOME", str(root))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])]))
    monkeypatch.setattr(egress, "_MODULE", "fake_gateway")
    layout = Layout.from_environment(os.environ, Path.home(), os.getuid())
    ensure_directories(layout)
    layout.sandbox(WEB).root.mkdir(parents=True)
    home = Home(layout)
    yield home
    home.end()
    shutil.rmtree(root)


def during(home, work, *arguments, **options):
    """Run `work(way, network)` while the registration is kept."""

    async def main():
        with anyio.fail_after(50):
            async with home.kept(*arguments, **options) as (way, network):
                return await work(way, network)

    return anyio.run(main)


async def until(true):
    while not true():  # noqa: ASYNC110 - other processes send us no event
        await anyio.sleep(0.01)


async def server_of(sock):
    """Who answers on a listening socket: a pid."""
    stream = await anyio.connect_tcp(*sock.getsockname())
    async with stream:
        return int(await stream.receive())


def dead(pid):
    """Gone and buried: no zombie is left of it."""
    return not Path(f"/proc/{pid}").exists()


# --- registering -------------------------------------------------------------------------------------------------


def test_a_gateway_is_started_told_everything_and_given_every_socket(home):
    async def work(way, network):
        assert way.confirmed == ""
        await way.settled()
        assert way.confirmed == fingerprint(NO_POLICY)
        pid = await server_of(network.sockets["proxy", 3128])
        assert home.pids() == [pid]
        assert os.getsid(pid) == pid

    during(home, work, environ={"HTTPS_PROXY": "http://proxy.example.com:3128"})
    assert home.kinds() == ["Register", "Listen proxy 3128", "Listen names 53"]
    (register, *_) = (" ".join(words) for words in home.told)
    for part in (
        "shop/web",
        "BEGIN CERTIFICATE",
        str(home.layout.sandbox(WEB).network_log),
        "'https_proxy': 'http://pro",
    ):
        assert part in register


def test_the_gateway_that_is_there_is_used(home):
    async def main():
        async with home.kept() as (first, _), home.kept() as (second, _):
            await first.settled()
            await second.settled()

    anyio.run(main)
    assert len(home.pids()) == 1


def test_many_that_start_at_once_share_one_gateway_and_bury_those_that_came_too_late(home):
    settled, alone = [], anyio.Event()

    async def main():
        with anyio.fail_after(50):
            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(one)

    async def one():
        async with home.kept() as (way, _):
            await way.settled()
            settled.append(way.confirmed)
            if len(settled) == 6:
                await until(lambda: [pid for pid in children() if pid not in before] == home.pids())
                alone.set()
            await alone.wait()

    before = children()
    anyio.run(main)
    assert settled == [fingerprint(NO_POLICY)] * 6


def children():
    """Pids of this process's own, zombies included."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_a_gateway_that_cannot_start_is_told_at_once_with_its_last_words(home):
    home.behave("dies")

    async def work(way, _):
        with anyio.fail_after(20), pytest.raises(HostError, match="the gateway did not start") as caught:
            await way.settled()
        assert "the gateway is broken" in caught.value.output
        assert str(home.layout.gateway_log) in caught.value.hint

    during(home, work)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("refuse", "refuses the policy: rule 3 is nonsense"),
        ("refuse-Listen", "does not serve port 3128: rule 3"),
        ("wrong", "confirms another policy"),
        ("wrong-Listen", "answered with Confirmed"),
        ("hangs-up", "hung up"),
        ("silent", "no answer within"),
        ("dies", "the gateway did not start"),
    ],
)
def test_one_that_does_not_do_its_part_keeps_the_sandbox_from_being_ready(home, monkeypatch, behaviour, words):
    async def registered(way, _):
        await way.settled()

    async def refused(way, _):
        with pytest.raises(SandboxfileError, match=words):
            await way.settled()
        assert way.confirmed == ""

    during(home, registered)  # it is there, and need not be waited for
    home.behave(behaviour)
    if behaviour == "dies":
        home.end()
    else:
        for module, name in ((egress, "_LISTEN_TIMEOUT"), (egress, "_AWAY"), (link, "_ANSWER_TIMEOUT")):
            monkeypatch.setattr(module, name, 0.5)
    during(home, refused)


def test_one_that_never_listens_is_given_up(home, monkeypatch):
    monkeypatch.setattr(egress, "_LISTEN_TIMEOUT", 0.5)
    monkeypatch.setattr(egress, "_AWAY", 0.5)
    lock = try_lock(home.layout.gateway_lock)  # as a gateway does that hangs at its start

    async def work(way, _):
        with pytest.raises(HostError, match="the gateway does not answer"):
            await way.settled()

    during(home, work)
    os.close(lock)
    assert home.told == []


def test_one_that_recovers_before_patience_ends_is_good_enough(home):
    home.behave("hangs-up")

    async def work(way, _):
        await until(lambda: len(home.told) >= 2)
        home.behave("")
        await way.settled()
        assert way.confirmed == fingerprint(NO_POLICY)

    during(home, work)


# --- losing it ---------------------------------------------------------------------------------------------------


def test_a_killed_gateway_lets_nothing_out_and_another_one_gets_the_same_policy_and_sockets(home):
    async def work(way, network):
        await way.settled()
        await way.set_policy(allowing("db.example.com:5432"))
        (first,) = home.pids()
        home.behave("silent-Register")
        os.kill(first, signal.SIGKILL)
        await until(lambda: way.confirmed == "")
        await until(lambda: len(home.pids()) == 2)
        client = await anyio.connect_tcp(*network.sockets["proxy", 3128].getsockname())  # the kernel takes it
        with anyio.move_on_after(0.3) as waited:
            await client.receive()
        assert waited.cancelled_caught
        assert way.confirmed == ""
        home.behave("")
        os.kill(home.pids()[1], signal.SIGKILL)
        await until(lambda: way.confirmed != "")
        assert way.confirmed == fingerprint(allowing("db.example.com:5432"))
        last = home.pids()[2]
        assert int(await client.receive()) == last
        await client.aclose()
        assert await server_of(network.sockets["transparent", 5432]) == last
        await until(lambda: dead(first))

    during(home, work)
    registered = [words[3] for words in home.told if words[1] == "Register"]
    assert registered == [fingerprint(NO_POLICY), *[fingerprint(allowing("db.example.com:5432"))] * 2]


def test_values_of_credentials_are_told_at_once_and_again_to_the_next_gateway(home):
    async def work(way, network):
        await way.provide((("early", "1"),))
        await way.settled()
        await way.provide((("key", "2"),))
        first = home.pids()[0]
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(home.pids()) == 2 and home.kinds()[-1].startswith("Listen names"))

    during(home, work)
    told = [(words[0], " ".join(words[1:])) for words in home.told if words[1] == "Provide"]
    pids = [str(pid) for pid in home.pids()]
    assert told == [
        (pids[0], "Provide {'early': '1'}"),
        (pids[0], "Provide {'key': '2'}"),
        (pids[1], "Provide {'early': '1', 'key': '2'}"),
    ]


def test_a_value_does_not_go_on_for_another_source_under_the_same_name(home):
    def held(*credentials):
        return Policy((Layer("policy web"),), credentials=credentials)

    key, other = (Credential("key", SecretSource("env", name)) for name in ("ONE", "TWO"))
    kept = Credential("kept", SecretSource("env", "KEPT"))

    async def work(way, network):
        await way.settled()
        await way.provide((("gone", "1"), ("kept", "2"), ("key", "3")))
        await way.set_policy(held(other, kept))
        assert [name for name, _ in way.tags] == ["kept"]
        os.kill(home.pids()[0], signal.SIGKILL)
        await until(lambda: len(home.pids()) == 2 and home.kinds()[-1].startswith("Listen names"))

    during(home, work, held(Credential("gone", SecretSource("env", "GONE")), key, kept))
    told = [" ".join(words[2:]) for words in home.told if words[1] == "Provide"]
    assert told == ["{'gone': '1', 'kept': '2', 'key': '3'}", "{'kept': '2'}"]


def test_a_gateway_that_refuses_values_is_an_error_in_words(home):
    async def work(way, network):
        await way.settled()
        home.behave("refuse-Provide")
        with pytest.raises(HostError, match="refuses credentials"):
            await way.provide((("key", "hunter2"),))

    during(home, work)


def test_the_end_of_the_sandbox_ends_the_registration(home):
    async def work(way, _):
        await way.settled()
        return way

    way = during(home, work)
    assert way.confirmed == ""


def test_a_gateway_that_speaks_unasked_is_left(home):
    home.behave("twice")

    async def work(way, _):
        await until(lambda: home.kinds().count("Register") > 1)
        home.behave("")
        await way.settled()

    during(home, work)


# --- another policy ----------------------------------------------------------------------------------------------


def test_a_policy_is_in_force_when_the_change_returns_and_new_ports_are_listened_on(home):
    async def work(way, network):
        await way.settled()
        wider = allowing("db.example.com:5432", "api.example.com:443")
        await way.set_policy(wider)
        assert (way.policy, way.confirmed) == (wider, fingerprint(wider))
        assert await server_of(network.sockets["transparent", 5432]) == home.pids()[0]
        before = len(home.told)
        await way.set_policy(NO_POLICY)
        assert home.kinds()[before:] == ["SetPolicy"]

    during(home, work)
    assert [f"Listen transparent {port}" in home.kinds() for port in (5432, 3128)] == [True, False]


def test_the_port_of_the_proxy_itself_needs_no_listener(home):
    async def work(way, network):
        await way.settled()
        await way.set_policy(allowing("proxy.example.com:3128"))
        assert ("transparent", 3128) not in network.sockets

    during(home, work)


def test_a_refused_policy_changes_nothing(home):
    async def work(way, _):
        await way.settled()
        home.behave("refuse")
        with pytest.raises(HostError, match="refuses the policy: rule 3 is nonsense") as caught:
            await way.set_policy(allowing("api.example.com"))
        assert "nothing was changed" in caught.value.hint
        assert (way.policy, way.confirmed) == (NO_POLICY, fingerprint(NO_POLICY))
        home.behave("")
        await way.set_policy(allowing("api.example.com"))
        assert way.confirmed == fingerprint(allowing("api.example.com"))

    during(home, work)
    assert len(home.pids()) == 1


def test_one_that_confirms_another_policy_is_left_and_asked_again(home):
    async def work(way, _):
        await way.settled()
        home.behave("wrong-SetPolicy")
        async with anyio.create_task_group() as group:
            group.start_soon(way.set_policy, allowing("api.example.com"))
            await until(lambda: home.kinds().count("Register") == 2)
            home.behave("")
        assert way.confirmed == fingerprint(allowing("api.example.com"))

    during(home, work)


def test_a_port_that_cannot_be_opened_changes_nothing(home):
    async def work(way, network):
        await way.settled()
        network.broken = True
        with pytest.raises(MachineError, match="the opener died"):
            await way.set_policy(allowing("db.example.com:5432"))
        assert (way.policy, way.confirmed) == (NO_POLICY, fingerprint(NO_POLICY))

    during(home, work)
    assert "SetPolicy" not in home.kinds()


def test_a_change_while_the_gateway_is_away_waits_for_it(home):
    async def work(way, _):
        await way.settled()
        os.kill(home.pids()[0], signal.SIGKILL)
        await way.set_policy(allowing("api.example.com"))
        assert way.confirmed == fingerprint(allowing("api.example.com"))

    during(home, work)
    assert len(home.pids()) == 2


def test_a_gateway_killed_instead_of_answering_is_asked_again_when_it_is_back(home):
    async def work(way, _):
        await way.settled()
        home.behave("silent-SetPolicy")
        async with anyio.create_task_group() as group:
            group.start_soon(way.set_policy, allowing("api.example.com"))
            await until(lambda: home.kinds()[-1] == "SetPolicy")
            home.behave("")
            os.kill(home.pids()[0], signal.SIGKILL)
        assert way.confirmed == fingerprint(allowing("api.example.com"))

    during(home, work)
    assert len(home.pids()) == 2


def test_a_change_gives_up_in_the_end_and_the_old_policy_stays(home, monkeypatch):
    monkeypatch.setattr(egress, "_AWAY", 0.7)

    async def work(way, _):
        await way.settled()
        home.behave("dies")
        os.kill(home.pids()[0], signal.SIGKILL)
        await until(lambda: "broken" in home.layout.gateway_log.read_text())
        with pytest.raises(HostError, match="the gateway does not answer") as caught:
            await way.set_policy(allowing("api.example.com"))
        assert "nothing gets out meanwhile" in caught.value.hint
        assert "the gateway is broken" in caught.value.output
        home.behave("")
        await until(lambda: way.confirmed != "")
        assert way.confirmed == fingerprint(NO_POLICY)

    during(home, work)


def test_a_change_that_is_given_up_in_the_middle_leaves_no_answer_for_the_next(home):
    async def work(way, _):
        await way.settled()
        home.behave("silent-SetPolicy")
        with anyio.move_on_after(0.5):
            await way.set_policy(allowing("a.example.com"))
        home.behave("")
        await way.set_policy(allowing("b.example.com"))
        assert way.confirmed == fingerprint(allowing("b.example.com"))

    during(home, work)
    assert home.kinds().count("Register") == 2


def test_changes_at_the_same_time_come_one_after_the_other(home):
    async def work(way, _):
        await way.settled()
        policies = [allowing(f"{name}.example.com") for name in "abcdef"]
        async with anyio.create_task_group() as group:
            for policy in policies:
                group.start_soon(way.set_policy, policy)
        assert way.confirmed == fingerprint(way.policy)
        assert home.told[-1][2] == way.confirmed

    during(home, work)


def test_a_policy_that_no_message_can_carry_is_refused_in_words(home, monkeypatch):
    monkeypatch.setattr(link, "LINE_LIMIT", 3000)

    async def work(way, _):
        await way.settled()
        with pytest.raises(HostError, match="too large"):
            await way.set_policy(allowing(*(f"host{number}.example.com" for number in range(30))))
        assert way.confirmed == fingerprint(NO_POLICY)

    during(home, work)


def test_nobody_holds_the_lock_of_the_gateway_but_the_gateway(home):
    async def work(way, _):
        await way.settled()
        assert is_locked(home.layout.gateway_lock)
        os.kill(home.pids()[0], signal.SIGKILL)
        await until(partial(dead, home.pids()[0]))

    during(home, work)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ()),
        ({"HTTPS_PROXY": "http://a"}, (("https_proxy", "http://a"),)),
        ({"https_proxy": "http://b", "HTTPS_PROXY": "http://a"}, (("https_proxy", "http://b"),)),
        ({"http_proxy": "", "NO_PROXY": "example.com"}, (("no_proxy", "example.com"),)),
        ({"ALL_PROXY": "http://a"}, ()),
    ],
)
def test_the_hosts_own_proxies_are_passed_on_by_lower_case_name(environ, expected):
    assert proxies(environ) == expected
