"""Network logs as lines and as a summary, for people and as JSON. Pure; the JSON's keys are public surface."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sandboxfile.cli.traffic import Entry
from sandboxfile.cli.views.text import duration, one_line, roughly, table

HEADER = ("TIME", "SANDBOX", "VERDICT", "REQUEST", "STATUS", "RULE", "SENT", "RECEIVED", "DURATION")
SUMMARY_HEADER = ("SANDBOX", "VERDICT", "TARGET", "REQUESTS", "SENT", "RECEIVED", "LAST", "RULE")
_WIDTH = 100  # characters of a cell: what is longer is cut; `--format json` has it whole


def cells(entry: Entry) -> list[str]:
    """One record, a text for each column of HEADER."""
    status = int(entry.number("status"))
    return [
        moment(entry.time),
        str(entry.id),
        "blocked" if entry.blocked else "allowed",
        one_line(request(entry), _WIDTH),
        str(status) if status else one_line(entry.get("error"), 40) or "-",
        rule(entry),
        roughly(int(entry.number("sent"))),
        roughly(int(entry.number("received"))),
        duration(entry.number("seconds")),
    ]


def moment(time: datetime) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def request(entry: Entry) -> str:
    """`GET https://api.example.com:443/v1`, `tcp://db.example.com:5432`, `dns evil.example.com (3 times)`."""
    protocol, method = entry.get("protocol") or "?", entry.get("method")
    notes = f" ({entry.requests} times)" if entry.requests > 1 else ""
    if dropped := int(entry.number("dropped")):
        notes += f" ({dropped} records before this one are lost)"
    if protocol == "dns":
        return f"dns {entry.target}{notes}"
    return f"{method} {protocol}://{entry.target}{entry.get('path')}{notes}".lstrip()


def rule(entry: Entry) -> str:
    """`api.example.com:443 (policy web, sandbox.yaml:12:9)`."""
    whose = ", ".join(filter(None, (entry.get("layer"), entry.get("place"))))
    return one_line(f"{entry.get('rule')} ({whose})" if whose else entry.get("rule"), _WIDTH) or "-"


class Columns:
    """Lines that come one after the other, with columns that grow as they must and never shrink."""

    def __init__(self) -> None:
        self._widths = [0] * len(HEADER)

    def lines(self, entries: Sequence[Entry], *, header: bool = False) -> list[str]:
        """Some records, with the header above."""
        rows: list[Sequence[str]] = [HEADER] if header else []
        rows += [cells(entry) for entry in entries]
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        return ["  ".join(f"{c:<{w}}" for c, w in zip(row, self._widths, strict=True)).rstrip() for row in rows]


def json_line(entry: Entry) -> str:
    """The record as it was written, on one line, with the sandbox's id; nothing but ASCII, so that it prints."""
    return json.dumps({**entry.fields, "sandbox": str(entry.id)}, separators=(",", ":"))


def summaries(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """An object for each sandbox, target and verdict: what is blocked first, then what is used most."""
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        verdict = "blocked" if entry.blocked else "allowed"
        groups.setdefault((str(entry.id), verdict, entry.target), []).append(entry)
    found = [_group(*key, group) for key, group in groups.items()]
    return sorted(found, key=lambda each: (each["verdict"] == "allowed", -each["requests"], each["target"]))


def _group(sandbox: str, verdict: str, target: str, entries: Sequence[Entry]) -> dict[str, Any]:
    last = max(entries, key=lambda entry: entry.time)
    return {
        "sandbox": sandbox,
        "verdict": verdict,
        "target": target,
        "requests": sum(entry.requests for entry in entries),
        "sent": sum(int(entry.number("sent")) for entry in entries),
        "received": sum(int(entry.number("received")) for entry in entries),
        "last": moment(last.time),
        "rule": last.get("rule"),
        "layer": last.get("layer"),
        "place": last.get("place"),
        "reason": last.get("reason"),
    }


def summary_table(found: Sequence[dict[str, Any]]) -> str:
    """The objects of `summaries` for people."""
    rows = []
    for each in found:
        whose = ", ".join(filter(None, (each["layer"], each["place"])))
        rule = f"{each['rule']} ({whose})" if whose else each["rule"]
        texts = (each["sandbox"], each["verdict"], each["target"], str(each["requests"]))
        amounts = (roughly(each["sent"]), roughly(each["received"]))
        rows.append([one_line(text, _WIDTH) for text in (*texts, *amounts, each["last"], rule or "-")])
    return table(SUMMARY_HEADER, rows)
