"""Which secret may go to which host, as the person at this host said: once per source and place. No file of a project
can say it, and no `--yes`.

What cannot be read approves nothing, and stops whoever asks.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import locked_shortly, private_directory
from sandboxfile.model.credential import Credential, SecretSource

VERSION = 1
_PORTS = range(1, 1 << 16)


@dataclass(frozen=True, slots=True, order=True)
class Approval:
    """`source_key`: `env NAME`, `file /absolute`, `store NAME`, `command sha256:...`; `host` is canonical."""

    source_key: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """`tracker.example.com:443`, `[2001:db8::1]:443`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def source_key(source: SecretSource) -> str:
    """What is approved of a source: a command by its content."""
    if source.kind == "file":  # the file that a link leads to now, not whatever it may lead to later
        return f"file {os.path.realpath(source.name)}"
    if source.kind != "command":
        return f"{source.kind} {source.name}"
    words = json.dumps(source.command).encode()
    return f"command sha256:{hashlib.sha256(words).hexdigest()}"


def approvals_needed(credentials: Iterable[Credential]) -> tuple[Approval, ...]:
    """What somebody has to have approved, without repeats: nothing of what is known to belong together."""
    needed = (
        Approval(source_key(credential.source), host, port)
        for credential in credentials
        if not credential.known
        for host, port in credential.bound
    )
    return tuple(dict.fromkeys(needed))


def read_approvals(layout: Layout) -> frozenset[Approval]:
    """All that was approved. Raises StateError when the file is anything but one of ours: then nothing is."""
    path = layout.approvals
    hint = f"look at it; without it (rm {path}) nothing is approved"
    try:
        fields = json.loads(read_file(path, owners=frozenset({os.geteuid()})))
        version, entries = fields["version"], fields["approved"]
        if version != VERSION:
            raise StateError(f"{path} has version {version}; this program knows {VERSION}", hint=hint)
        return frozenset(_approval(**entry) for entry in entries)
    except NotFoundError:
        return frozenset()
    except (HostError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        raise StateError(f"the approvals of secrets cannot be read: {path}: {exc}", hint=hint) from exc


def approve(layout: Layout, items: Iterable[Approval]) -> None:
    """Add these. Raises StateError when what is there cannot be read."""
    added = frozenset(items)
    _change(layout, lambda approved: approved | added)


def revoke(layout: Layout, items: Iterable[Approval]) -> None:
    """Take these back; those that are not there do not matter. Raises StateError likewise."""
    gone = frozenset(items)
    _change(layout, lambda approved: approved - gone)


def _change(layout: Layout, change: Callable[[frozenset[Approval]], frozenset[Approval]]) -> None:
    private_directory(layout.state)
    with locked_shortly(layout.approvals.with_suffix(".lock")):
        before = read_approvals(layout)
        after = change(before)
        if after != before:
            fields = {"version": VERSION, "approved": [asdict(item) for item in sorted(after)]}
            write_atomic(layout.approvals, json.dumps(fields, indent=1).encode())


def _approval(source_key: str, host: str, port: int) -> Approval:
    right = isinstance(source_key, str) and isinstance(host, str) and type(port) is int and port in _PORTS
    if not right or not source_key or not host:
        raise ValueError("an entry that is none")
    return Approval(source_key, host, port)
