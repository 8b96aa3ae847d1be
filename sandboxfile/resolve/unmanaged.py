"""The file of a sandbox that a command makes (`sbx run`), as text: read like every other, and shown by `adopt`."""

from collections.abc import Mapping, Sequence
from typing import Any

from sandboxfile.model.desired import Mode
from sandboxfile.resolve.render import escaped, to_yaml


def unmanaged_text(
    name: str,
    agent: str,
    workspaces: Sequence[tuple[str, Mode]],
    template: str = "",
    policy: str = "",
    extra: Mapping[str, Any] | None = None,
) -> str:
    """A whole sandbox file with one sandbox, and without a name of the project: the caller knows that.

    `workspaces` are absolute paths with their modes. Empty means not given. `extra` are further fields of the sandbox
    as plain data. No text of a caller is taken for YAML or for an interpolation.
    """
    fields: dict[str, Any] = {
        "agent": agent,
        "template": template,
        "workspaces": [{"source": source, "mode": mode} for source, mode in workspaces],
        "policy": policy,
        **(extra or {}),
    }
    given = {field: value for field, value in fields.items() if value not in ("", [], {})}
    return to_yaml(escaped({"sandboxes": {name: given}}))
