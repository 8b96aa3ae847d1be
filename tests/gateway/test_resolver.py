"""Names to addresses: the operator's overrides, bounds in time and number, and that a hanging server harms nobody."""

import json
import os
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.gateway import resolver as module
from sandboxfile.gateway.overrides import Overrides
from sandboxfile.gateway.resolver import Resolver

pytestmark = pytest.mark.anyio

Write = Callable[..., Overrides]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(content: Any, mode: int = 0o600) -> Overrides:
        path = tmp_path / "resolver.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(mode)
        return Overrides(path)

    return make


def texts(overrides: Overrides, host: str, port: int) -> list[tuple[str, int | None]]:
    return [(str(target.address), target.port) for target in overrides.targets(host, port)]


def test_an_override_says_address_and_port_for_a_name_or_for_one_of_its_ports(write: Write) -> None:
    found = write(
        {
            "resolve": {
                "API.example.com:443": "127.0.0.1:8443",
                "api.example.com": "192.0.2.1",
                "two.example.com": ["203.0.113.9", "10.0.0.1"],
                "six.example.com": ["[2001:db8::1]:8080", "2001:db8::2"],
                "203.0.113.5:80": "127.0.0.1:8080",
            },
            "authorities": "/etc/extra.pem",
        }
    )
    assert texts(found, "api.example.com", 443) == [("127.0.0.1", 8443)]
    assert texts(found, "api.example.com", 80) == [("192.0.2.1", None)]
    assert texts(found, "two.example.com", 1) == [("203.0.113.9", None), ("10.0.0.1", None)]
    assert texts(found, "six.example.com", 1) == [("2001:db8::1", 8080), ("2001:db8::2", None)]
    assert texts(found, "203.0.113.5", 80) == [("127.0.0.1", 8080)]
    assert texts(found, "other.example.com", 443) == []
    assert found.authorities == Path("/etc/extra.pem")


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "[]",
        '{"resolve": []}',
        '{"resolve": {"a.example.com": "b.example.com"}}',
        '{"resolve": {"a.example.com": "192.0.2.1:0"}}',
        '{"resolve": {"a.example.com": []}}',
        '{"resolve": {"a.example.com": 1}}',
        '{"resolve": {"not a name": "192.0.2.1"}}',
        '{"authorities": "relative.pem"}',
        "[" * 100_000,
    ],
)
def test_a_malformed_file_is_ignored_as_a_whole_and_said_so(
    write: Write, content: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = write(content)
    assert texts(found, "a.example.com", 443) == []
    assert found.authorities is None
    assert "is ignored" in capfd.readouterr().err


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_ignored(write: Write, mode: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert texts(write({"resolve": {"a.example.com": "192.0.2.1"}}, mode), "a.example.com", 1) == []
    assert "others may write it" in capfd.readouterr().err


def test_a_link_or_a_pipe_or_somebody_elses_file_is_ignored(write: Write, tmp_path: Path) -> None:
    write({"resolve": {"a.example.com": "192.0.2.1"}})
    (tmp_path / "link").symlink_to(tmp_path / "resolver.json")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe"):
        assert texts(Overrides(tmp_path / name), "a.example.com", 1) == []
    if os.geteuid() == 0:
        os.chown(tmp_path / "resolver.json", 12345, 12345)
        assert texts(Overrides(tmp_path / "resolver.json"), "a.example.com", 1) == []


def test_a_changed_file_is_read_again_and_a_deleted_one_forgotten(write: Write, tmp_path: Path) -> None:
    found = write({"resolve": {"a.example.com": "192.0.2.1"}})
    write({"resolve": {"a.example.com": ["192.0.2.2", "192.0.2.3"]}})
    assert texts(found, "a.example.com", 1) == [("192.0.2.2", None), ("192.0.2.3", None)]
    (tmp_path / "resolver.json").unlink()
    assert texts(found, "a.example.com", 1) == []


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The system's resolver: name to addresses, or to an event that it waits for."""
    answers: dict[str, Any] = {"asked": []}

    def getaddrinfo(host: str, *_: Any, **__: Any) -> list[Any]:
        answers["asked"].append(host)
        answer = answers.get(host, socket.gaierror(-2, "Name or service not known"))
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, threading.Event):
            answer.wait(20)
            return []
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 0)) for text in answer]

    monkeypatch.setattr(module.socket, "getaddrinfo", getaddrinfo)
    return answers


async def test_names_are_asked_of_the_system_once_in_a_while(write: Write, system: dict[str, Any]) -> None:
    resolver, slots = Resolver(write({})), anyio.CapacityLimiter(8)
    system["api.example.com"] = ["192.0.2.1", "2001:db8::1", "192.0.2.1", "fe80::1%eth0"]
    wanted = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    assert await resolver.resolve("api.example.com", 443, slots) == wanted
    assert await resolver.resolve("api.example.com", 80, slots) == wanted
    assert system["asked"] == ["api.example.com"]
    resolver.close()


async def test_neither_addresses_nor_localhost_nor_overrides_are_asked_of_anybody(
    write: Write, system: dict[str, Any]
) -> None:
    resolver, slots = Resolver(write({"resolve": {"a.example.com": "10.9.8.7"}})), anyio.CapacityLimiter(8)
    assert await resolver.resolve("a.example.com", 1, slots) == (ip_address("10.9.8.7"),)
    assert await resolver.resolve("203.0.113.9", 1, slots) == (ip_address("203.0.113.9"),)
    assert await resolver.resolve("localhost", 1, slots) == (ip_address("127.0.0.1"), ip_address("::1"))
    assert system["asked"] == []
    resolver.close()


@pytest.mark.parametrize("answer", [socket.gaierror(-2, "unknown"), [], ["fe80::1%eth0"], UnicodeError("label")])
async def test_a_name_without_a_usable_address_is_an_os_error(
    write: Write, system: dict[str, Any], answer: Any
) -> None:
    resolver = Resolver(write({}))
    system["bad.example.com"] = answer
    with pytest.raises(OSError):  # noqa: PT011 - each says it in its own words
        await resolver.resolve("bad.example.com", 1, anyio.CapacityLimiter(8))
    resolver.close()


async def test_a_name_server_that_hangs_costs_its_sandbox_and_no_other(
    write: Write, system: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 1.0)
    resolver, hostile, other = Resolver(write({})), anyio.CapacityLimiter(8), anyio.CapacityLimiter(8)
    answering = threading.Event()
    system["api.example.com"] = ["192.0.2.1"]
    failed = 0

    async def hang(number: int) -> None:
        nonlocal failed
        system[f"{number}.example.com"] = answering
        try:
            await resolver.resolve(f"{number}.example.com", 1, hostile)
        except TimeoutError:
            failed += 1

    try:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(hang, number)
            await anyio.wait_all_tasks_blocked()
            assert await resolver.resolve("api.example.com", 1, other)
        assert failed == 20
        assert len(system["asked"]) == 9  # eight of the one, one of the other
    finally:
        answering.set()
        resolver.close()
