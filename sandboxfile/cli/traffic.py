"""Network logs: the records of what sandboxes reached, read from their files, of one sandbox or of several by time.

What a record says was chosen by whoever is inside. Lines that are no record (cut off, malformed) are skipped; values
of the wrong type are taken for missing. Loads nothing heavy: `network log` is called in loops.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandboxfile.cli.tail import Tail
from sandboxfile.errors import SandboxfileError
from sandboxfile.names import SandboxId

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"([0-9]{1,9})([smhd])\Z")
_LINE_LIMIT = 64 << 10  # characters; the gateway writes far shorter ones


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of one sandbox. `fields` is the record as it was written; `get` and `number` read it safely."""

    id: SandboxId
    time: datetime
    fields: Mapping[str, Any]

    def get(self, name: str) -> str:
        """A text, empty when there is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float:
        """A number that is not negative, 0 when there is none."""
        value = self.fields.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1 << 63:
            return 0
        return value

    @property
    def blocked(self) -> bool:
        """Whatever is not plainly allowed counts as blocked."""
        return self.get("verdict") != "allowed"

    @property
    def target(self) -> str:
        """`host:port`, brackets around an IPv6 address; `host` of a name that was only looked up."""
        host, port = self.get("host") or "?", 0 if self.get("protocol") == "dns" else int(self.number("port"))
        host = f"[{host}]" if ":" in host and port else host
        return f"{host}:{port}" if port else host

    @property
    def requests(self) -> int:
        """How many requests this record stands for."""
        return max(int(self.number("count")), 1)


def parse(id: SandboxId, line: str) -> Entry | None:
    """The record of one line, None when it is none."""
    if len(line) > _LINE_LIMIT:
        return None
    try:
        fields = json.loads(line)
        moment = datetime.fromisoformat(fields["time"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Entry(id, moment if moment.tzinfo else moment.replace(tzinfo=UTC), fields)


def read(tails: Mapping[SandboxId, Tail], *, whole: bool = False) -> list[Entry]:
    """What has come since the last time, of all sandboxes, by time; with `whole` everything there is."""
    found = [entry for id, tail in tails.items() for entry in _entries(id, tail.read(whole=whole))]
    return sorted(found, key=lambda entry: entry.time)


def _entries(id: SandboxId, lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        if (entry := parse(id, line)) is not None:
            yield entry


def chosen(entries: Iterable[Entry], *, since: datetime | None = None, blocked: bool = False) -> list[Entry]:
    """Those from `since` on; with `blocked` only what was blocked."""
    return [entry for entry in entries if (since is None or entry.time >= since) and (entry.blocked or not blocked)]


def parse_since(text: str | None, now: datetime) -> datetime | None:
    """`10m` (s, m, h, d) before `now`, or a time as in RFC 3339; without a zone it is this host's."""
    if text is None:
        return None
    try:
        if span := _SPAN.match(text):
            return now - timedelta(seconds=int(span[1]) * _UNITS[span[2]])
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError) as exc:
        hint = "write 30s, 10m, 2h or 1d, or a time: 2026-01-31T12:00:00Z"
        raise SandboxfileError(f"--since {text}: no time", hint=hint) from exc
