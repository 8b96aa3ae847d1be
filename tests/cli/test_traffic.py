"""Records of network logs: what is one, what is skipped, and which are chosen."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from sandboxfile.cli import traffic
from sandboxfile.cli.tail import Tail
from sandboxfile.errors import SandboxfileError
from sandboxfile.names import SandboxId

WEB, DB = SandboxId("shop", "web"), SandboxId("shop", "db")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def record(**fields):
    return json.dumps({"time": "2026-11-21T11:00:00.000Z", "verdict": "allowed", "host": "a.example.com", **fields})


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        record()[:-5],
        "[]",
        "3",
        "null",
        '{"verdict": "allowed"}',
        record(time="yesterday"),
        record(time=5),
        "[" * 10000,
        record(path="x" * (1 << 17)),
    ],
)
def test_what_is_no_record_is_skipped(line):
    assert traffic.parse(WEB, line) is None


def test_values_of_a_wrong_type_are_missing():
    entry = traffic.parse(WEB, record(host={"a": 1}, port="443", sent=-5, received=True, seconds=float("inf"), count=0))
    assert (entry.target, entry.number("sent"), entry.number("received"), entry.number("seconds")) == ("?", 0, 0, 0)
    assert entry.requests == 1


def test_what_is_not_plainly_allowed_is_blocked():
    assert not traffic.parse(WEB, record()).blocked
    for verdict in ("blocked", "", None, ["allowed"], "Allowed"):
        assert traffic.parse(WEB, record(verdict=verdict)).blocked


def test_a_target_is_written_as_a_rule_is():
    assert traffic.parse(WEB, record(port=443)).target == "a.example.com:443"
    assert traffic.parse(WEB, record(host="2001:db8::1", port=443)).target == "[2001:db8::1]:443"
    assert traffic.parse(WEB, record()).target == "a.example.com"
    assert traffic.parse(WEB, record(protocol="dns", port=53)).target == "a.example.com"


def test_several_logs_are_one_by_time_with_what_was_rotated(tmp_path):
    times = [f"2026-11-21T11:00:0{second}.000Z" for second in range(4)]
    for path, which in (("web.log.1", [0]), ("web.log", [3]), ("db.log", [1, 2])):
        lines = [record(time=times[index]) for index in which]
        (tmp_path / path).write_text("\n".join(["{cut", *lines, '{"unfinished": ']))
    tails = {WEB: Tail(tmp_path / "web.log"), DB: Tail(tmp_path / "db.log")}
    found = traffic.read(tails, whole=True)
    for tail in tails.values():
        tail.close()
    assert [(entry.id, entry.fields["time"]) for entry in found] == list(zip([WEB, DB, DB, WEB], times, strict=True))


def test_a_time_is_an_age_or_a_moment():
    assert traffic.parse_since(None, NOW) is None
    assert traffic.parse_since("90s", NOW) == NOW - timedelta(seconds=90)
    assert traffic.parse_since("2d", NOW) == NOW - timedelta(days=2)
    assert traffic.parse_since("2026-11-21T12:00:00+01:00", NOW) == datetime(2026, 11, 21, 11, tzinfo=UTC)
    assert traffic.parse_since("2026-11-21", NOW).tzinfo is not None
    for wrong in ("", "10", "10w", "-5m", "soon", "999999999d"):
        with pytest.raises(SandboxfileError, match="no time"):
            traffic.parse_since(wrong, NOW)


def test_filters_choose():
    old = traffic.parse(WEB, record(time="2026-11-21T10:00:00Z", verdict="blocked"))
    new, allowed = traffic.parse(WEB, record(verdict="blocked")), traffic.parse(WEB, record())
    assert traffic.chosen([old, new, allowed], since=NOW - timedelta(hours=1), blocked=True) == [new]
    assert traffic.chosen([old, new, allowed]) == [old, new, allowed]
