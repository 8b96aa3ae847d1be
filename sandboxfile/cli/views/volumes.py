"""Volumes as table and JSON objects. Pure; the JSON's keys are public surface."""

from collections.abc import Sequence
from typing import Any

from sandboxfile.cli.views.text import roughly, table
from sandboxfile.model.observed import ObservedVolume
from sandboxfile.model.sizes import size

HEADER = ("ID", "NAME", "SIZE", "USED", "SANDBOX")


def listing(found: Sequence[tuple[ObservedVolume, int]]) -> str:
    """A line per volume; each with what it occupies on this host, in bytes."""
    return table(HEADER, [_cells(volume, used) for volume, used in found])


def _cells(volume: ObservedVolume, used: int) -> list[str]:
    shown = size(volume.size) if volume.size else "unreadable"
    return [str(volume.id), volume.id.name, shown, roughly(used), volume.holder.name if volume.holder else "-"]


def summary(volume: ObservedVolume, used: int) -> dict[str, Any]:
    """One object of `volume ls --format json`; sizes in bytes, `size` as a sandbox sees it, null when unreadable."""
    return {
        "id": str(volume.id),
        "project": volume.id.project,
        "name": volume.id.name,
        "size": volume.size or None,
        "used": used,
        "holder": str(volume.holder) if volume.holder else None,
    }
