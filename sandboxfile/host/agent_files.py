"""What lies in workspaces that its agent would look at and does not get to use: a credential, told of as a warning.

Reads files that a guest may have written: regular ones of moderate size, through no link.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from sandboxfile.diagnostics import Diagnostic, warning
from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.files import read_file
from sandboxfile.model.desired import DesiredSandbox, DesiredState

_NAME, _KEY = ".claude.json", "primaryApiKey"
_LIMIT = 4 << 20  # bytes; what an agent keeps there grows
_AGENT = "claude"


def workspace_credentials(desired: DesiredState) -> Iterator[Diagnostic]:
    """A warning for each workspace of an agent that brings a credential along. Never raises."""
    for sandbox in desired.sandboxes:
        for path in _paths(sandbox):
            if _has_key(path):
                yield warning(
                    "Workspace credential",
                    f"`{path}` has `{_KEY}`: the workspace's credential is ignored in favour of the sandbox's.",
                    hint=f"take it out of the file; the key of `{sandbox.id.name}` stays on the host",
                )


def _paths(sandbox: DesiredSandbox) -> list[Path]:
    if sandbox.agent != _AGENT or not sandbox.policy.credentials:
        return []  # without a credential of its own the sandbox ignores none
    return [Path(each.source, _NAME) for each in sandbox.workspaces]


def _has_key(path: Path) -> bool:
    try:
        data = read_file(path, limit=_LIMIT + 1, links=False)
        content = json.loads(data) if len(data) <= _LIMIT else None
    except (HostError, NotFoundError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and bool(content.get(_KEY))
