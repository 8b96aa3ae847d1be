"""The network log: bounded in size and in what a guest can write into it, never in anybody's way."""

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from sandboxfile.gateway import log as log_module
from sandboxfile.gateway.log import NetworkLog
from sandboxfile.gateway.records import Ending, line, name_record, record
from sandboxfile.host import rotating
from sandboxfile.model.policy import Decision, Request

pytestmark = pytest.mark.anyio


def one(path: str = "/", allowed: bool = True, host: str = "api.example.com", error: str = "") -> dict[str, Any]:
    decision = Decision(allowed, host, 443, host, "policy web", "sandbox.yaml:3:4", f"{host} is named by a rule")
    return record(
        "shop/web", Request(host, 443, "https", "GET", path), decision, "proxy", True, 0.0, Ending(200, error)
    )


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines() if text]


def test_a_record_says_what_was_reached_and_why_without_query_or_fragment() -> None:
    found = one("/v1/models?key=secret#x")
    assert found["path"] == "/v1/models"
    assert found["time"] == "1970-01-01T00:00:00.000Z"
    assert (found["verdict"], found["layer"], found["place"]) == ("allowed", "policy web", "sandbox.yaml:3:4")
    assert "secret" not in json.dumps(found)


def test_what_a_guest_says_is_bounded_and_cannot_break_a_line_or_steer_a_terminal() -> None:
    hostile = "\x1b[2J\n\u202e" + "x" * 100_000
    data = line(one(hostile, host=hostile, error=hostile))
    assert data.isascii()
    assert data.count(b"\n") == 1
    assert not any(byte < 32 for byte in data[:-1])
    assert len(data) < 16_000


async def test_denials_are_written_at_once_and_the_rest_soon(tmp_path: Path) -> None:
    log = NetworkLog(tmp_path / "network.log", "shop/web")
    async with anyio.create_task_group() as group:
        group.start_soon(log.run)
        log.write(one(), urgent=False)
        log.write(one(allowed=False), urgent=True)
        with anyio.fail_after(5):
            while len(read(tmp_path / "network.log")) < 2:  # noqa: ASYNC110 - a file sends no event
                await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    log.write(one("/last"), urgent=False)
    log.close()
    assert [found["path"] for found in read(tmp_path / "network.log")] == ["/", "/", "/last"]
    assert (tmp_path / "network.log").stat().st_mode & 0o777 == 0o600


def test_a_full_file_becomes_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.log"
    file = rotating.RotatingFile(path, limit=100)
    for number in range(5):
        file.write(bytes([48 + number]) * 60)
    file.close()
    assert path.read_bytes() == b"4" * 60
    assert path.with_name("network.log.1").read_bytes() == b"3" * 60
    assert len(list(tmp_path.iterdir())) == 2


def test_a_symlink_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        NetworkLog(tmp_path / "link", "shop/web")


def test_a_full_disk_costs_records_which_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = NetworkLog(tmp_path / "network.log", "shop/web")
    written = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.write(one(), urgent=False)
    log.write(one(), urgent=False)
    log._flush(log._taken())
    monkeypatch.setattr(os, "write", written)
    log.write(one("/after"), urgent=False)
    log.close()
    (found,) = read(tmp_path / "network.log")
    assert (found["path"], found["dropped"]) == ("/after", 2)


def test_what_waits_for_a_slow_disk_is_bounded(tmp_path: Path) -> None:
    log = NetworkLog(tmp_path / "network.log", "shop/web")
    for _ in range(10_000):
        log.write(one(), urgent=False)
    assert log._size < (1 << 20) + 20_000
    assert log._dropped > 0
    log.close()


def test_repeats_of_a_denied_name_are_counted_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now)
    log = NetworkLog(tmp_path / "network.log", "shop/web")

    def ask(host: str) -> None:
        log.write_repeated(f"name {host}", name_record("shop/web", host, "no"))

    for _ in range(5):
        ask("evil.example.com")
    now += 61
    ask("other.example.com")
    log.close()
    found = [(each["host"], each["count"], each["protocol"]) for each in read(tmp_path / "network.log")]
    assert found == [("evil.example.com", 1, "dns"), ("evil.example.com", 4, "dns"), ("other.example.com", 1, "dns")]


def test_a_flood_of_names_is_counted_and_not_remembered(tmp_path: Path) -> None:
    log = NetworkLog(tmp_path / "network.log", "shop/web")
    for number in range(3000):
        log.write_repeated(f"name {number}", name_record("shop/web", f"{number}.example.com", "no"))
    assert len(log._repeats) <= 1024
    log.close()
