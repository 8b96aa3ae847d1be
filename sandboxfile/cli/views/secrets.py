"""Secrets as tables and JSON objects: where they are, who uses them, which hosts may get them. Pure, without values.

The JSON's keys are public surface.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandboxfile.cli.views.diagnostics import visible
from sandboxfile.cli.views.text import table
from sandboxfile.host.approvals import Approval
from sandboxfile.model.credential import SecretSource

STORED = ("NAME", "KEPT IN", "USED BY", "MAY GO TO")
USED = ("SECRET", "SOURCE", "SANDBOXES", "MAY GO TO")
APPROVED = ("APPROVED SOURCE", "MAY GO TO")
_NONE = "-"
_PLACES = {"keyring": "the desktop's keyring", "file": "a file that only you can read"}


@dataclass(frozen=True, slots=True)
class Host:
    """A place that a secret is bound to. `approved`: it may get it; `known`: nobody had to say so."""

    place: str
    approved: bool
    known: bool = False

    @property
    def text(self) -> str:
        return self.place if self.approved else f"{self.place} (not approved)"


@dataclass(frozen=True, slots=True)
class Stored:
    """A secret that `sbx secret set` keeps. `users`: `secret tracker (web)` of the file here."""

    name: str
    place: str
    users: tuple[str, ...]
    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class Used:
    """A secret of the sandbox file here. `origin`: `secret tracker`, `agent claude`."""

    name: str
    origin: str
    source: SecretSource
    sandboxes: tuple[str, ...]
    hosts: tuple[Host, ...]


def source_text(source: SecretSource) -> str:
    """Whole, on one line, and in a spelling that nothing else has."""
    if source.kind == "command":
        return visible(f"command {shlex.join(source.command)}")
    return visible(f"{source.kind} {source.name}")


def place_text(place: str) -> str:
    """Where a stored secret is, for people."""
    return _PLACES[place]


def listing(stored: Sequence[Stored], used: Sequence[Used], approved: Sequence[Approval]) -> str:
    """The tables that have rows; what is stored first. Empty when there is nothing at all."""
    tables: list[tuple[tuple[str, ...], list[tuple[str, ...]]]] = [
        (STORED, [(each.name, each.place, _listed(each.users), _hosts(each.hosts)) for each in stored]),
        (USED, [_used_cells(each) for each in used]),
        (APPROVED, [(visible(each.source_key), visible(each.place)) for each in approved]),
    ]
    return "\n\n".join(table(header, rows) for header, rows in tables if rows)


def _used_cells(used: Used) -> tuple[str, ...]:
    return _title(used), source_text(used.source), _listed(used.sandboxes), _hosts(used.hosts)


def _title(used: Used) -> str:
    return used.name if used.origin == f"secret {used.name}" else f"{used.name} ({used.origin})"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) or _NONE


def _hosts(hosts: Sequence[Host]) -> str:
    return visible(_listed([host.text for host in hosts]))


def listing_object(stored: Sequence[Stored], used: Sequence[Used], approved: Sequence[Approval]) -> dict[str, Any]:
    """`secret ls --format json`."""
    return {
        "stored": [
            {
                "name": each.name,
                "kept_in": each.place,
                "used_by": list(each.users),
                "hosts": [_host_object(host) for host in each.hosts],
            }
            for each in stored
        ],
        "used": [
            {
                "name": each.name,
                "origin": each.origin,
                "source": _source_object(each.source),
                "sandboxes": list(each.sandboxes),
                "hosts": [_host_object(host) for host in each.hosts],
            }
            for each in used
        ],
        "approved": [{"source": each.source_key, "host": each.host, "port": each.port} for each in approved],
    }


def _host_object(host: Host) -> dict[str, Any]:
    return {"host": host.place, "approved": host.approved, "known": host.known}


def _source_object(source: SecretSource) -> dict[str, Any]:
    if source.kind == "command":
        return {"kind": "command", "command": list(source.command)}
    return {"kind": source.kind, "name": source.name}
