"""Which policy a command is about: the one applied to a sandbox, or the file's for one that is not created yet."""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from sandboxfile.cli.project import (
    find_file,
    find_sandboxes,
    find_upward,
    known_sandboxes,
    load_file,
    show_problems,
    this_layout,
)
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import NotFoundError
from sandboxfile.host.statedir import read_record
from sandboxfile.model.observed import Applied
from sandboxfile.model.policy import Policy
from sandboxfile.names import SandboxId


@dataclass(frozen=True, slots=True)
class Held:
    """A sandbox and the policy that it is held to, or will be."""

    id: SandboxId
    policy: Policy
    source: Literal["record", "file"]
    file: Path

    @property
    def words(self) -> str:
        """Whence the policy is."""
        if self.source == "record":
            return f"{self.id}, as applied"
        return f"{self.id}, as {self.file} asks for it; the sandbox does not exist yet"


def today() -> str:
    """The day that `until` is compared with: 2026-11-21, in UTC."""
    return datetime.now(UTC).date().isoformat()


def applied_policy(id: SandboxId, applied: Applied) -> Held:
    """What is held to according to the record."""
    return Held(id, applied.spec.policy, "record", Path(applied.source))


def held(name: str, args: argparse.Namespace, console: Console) -> Held:
    """The policy of the sandbox that a name means. Raises NotFoundError when there is none, here or in the file."""
    layout = this_layout()
    planned = None if "/" in name else _planned(name, args, console)
    if planned is not None and planned.id not in known_sandboxes(layout):
        return planned
    [id] = find_sandboxes([name], args)
    return applied_policy(id, read_record(layout.sandbox(id)))


def _planned(name: str, args: argparse.Namespace, console: Console) -> Held | None:
    if args.file is None and find_upward() is None:
        return None
    path = find_file(args.file)
    loaded = load_file(args)
    if loaded.desired is None:
        if not any(id.name == name for id in known_sandboxes(this_layout())):
            show_problems(loaded, console)
            raise NotFoundError(f"there is no sandbox {name}, and the file has errors", hint="sbx validate")
        return None
    found = next((spec for spec in loaded.desired.sandboxes if spec.id.name == name), None)
    return Held(found.id, found.policy, "file", path) if found else None
