"""Healthchecks of one file: each sandbox that has one has a command for it. Called by `validate`.

A command that has an error of its own is no second error: `root` is the whole tree, with what is wrong in it.
"""

from collections.abc import Iterator

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.language.tree import Table, find
from sandboxfile.model.spec import SandboxFile


def check_healthchecks(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """What sandboxes say of their health, upon what the defaults say."""
    for name, own in file.sandboxes.items():
        given = "healthcheck" in own.model_fields_set
        places: list[tuple[str, ...]] = [("defaults", "healthcheck"), ("sandboxes", name, "healthcheck")]
        if (own if given else file.defaults).healthcheck is None:
            continue
        if all(find(root, (*place, "command")) is None for place in places):
            detail = f"The healthcheck of `{name}` says how often to look, and not at what."
            hint = "give it the command: healthcheck: {command: [...]}"
            yield error("Healthcheck without a command", detail, file.span(*places[given]), hint)
