"""Which sandboxes have a directory. Light: programs that only look at things load it, and little else."""

from pathlib import Path

from sandboxfile.host.layout import CHECKPOINTS, Layout
from sandboxfile.names import UNMANAGED, is_name


def sandbox_directories(layout: Layout) -> list[tuple[str, str]]:
    """Every `(project, name)` that has a directory, sorted. What is not a name is not ours, or half made."""
    found = []
    for project in _directories(layout.sandboxes):
        found += [(project.name, sandbox.name) for sandbox in _directories(project)]
    return sorted(found)


def checkpoint_owners(layout: Layout) -> list[tuple[str, str]]:
    """Every `(project, name)` that has checkpoints, sorted; a sandbox of that name need not be there any more."""
    found = []
    for project in _directories(layout.sandboxes):
        owners = _directories(project / CHECKPOINTS)
        found += [(project.name, owner.name) for owner in owners if checkpoint_labels(owner)]
    return sorted(found)


def checkpoint_labels(place: Path) -> list[str]:
    """Those in the directory `SandboxPaths.checkpoints`, which need not be there. What is half made has no label."""
    try:
        return [entry.name for entry in place.iterdir() if is_name(entry.name)]
    except FileNotFoundError:
        return []


def _directories(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if _is_ours(entry.name) and entry.is_dir()]
    except FileNotFoundError:  # also: deleted while we looked
        return []


def _is_ours(name: str) -> bool:
    return is_name(name) or name == UNMANAGED
