"""Volumes that sandboxes name: do they exist. Called by `validate`."""

from collections.abc import Iterator

from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.language.explain import did_you_mean
from sandboxfile.language.tree import Table, keys
from sandboxfile.model.spec import Path, Sandbox, SandboxFile


def check_volumes(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """Names that no volume of the file has. Known are those of the whole tree, also of what has errors of its own."""
    known = set(keys(root, "volumes"))
    for path, sandbox in _places(file):
        for index, mount in enumerate(sandbox.volumes):
            if mount.volume not in known:
                listed = f"the volumes are {', '.join(sorted(known))}" if known else "describe it under `volumes`"
                hint = did_you_mean(mount.volume, known) or listed
                span = file.span(*path, "volumes", index, "volume")
                yield error("Unknown volume", f"There is no volume `{mount.volume}`.", span, hint)


def _places(file: SandboxFile) -> Iterator[tuple[Path, Sandbox]]:
    yield ("defaults",), file.defaults
    for name, sandbox in file.sandboxes.items():
        yield ("sandboxes", name), sandbox
