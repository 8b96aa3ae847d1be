"""Whether there is room: disk, memory for what the sandbox file asks for, and access to its workspaces."""

import os
import shutil
import tempfile
from pathlib import Path

from sandboxfile.cli.checks.check import Check, check
from sandboxfile.cli.views.text import roughly
from sandboxfile.host.capacity import available_memory
from sandboxfile.host.layout import Layout
from sandboxfile.model.desired import DesiredState

DISK_WANTED = 5 << 30  # bytes: kernel, tools, one image while it is built, one sandbox in use
OVERHEAD = 200 << 20  # bytes of host memory per sandbox besides its own: QEMU, supervisor, file server


def check_room(layout: Layout, desired: DesiredState | None) -> list[Check]:
    """Room in general, and for the project here when there is one."""
    found = [
        _disk("disk for sandboxes", layout.state, ": `sbx prune --kept` and `sbx checkpoint --rm` help"),
        _disk("disk for images", layout.cache),
        _disk("disk for builds", Path(tempfile.gettempdir()), ", or set TMPDIR to a place that has it"),
        _memory(desired),
    ]
    if desired is not None:
        found += [
            _workspace(workspace.source, workspace.mode)
            for workspace in {
                each.source: each for sandbox in desired.sandboxes for each in sandbox.workspaces
            }.values()
        ]
    return found


def _disk(name: str, place: Path, otherwise: str = "") -> Check:
    existing = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    fix = f"free {roughly(DISK_WANTED)} there{otherwise or ': `sbx prune` helps'}"
    return check(name, free >= DISK_WANTED, f"{roughly(free)} free at {existing}", fix, "warning")


def _memory(desired: DesiredState | None) -> Check:
    """Starting more than fits takes the host down: the kernel kills what it likes."""
    available = available_memory()
    sandboxes = desired.sandboxes if desired is not None else ()
    needed = sum(sandbox.resources.memory + OVERHEAD for sandbox in sandboxes)
    detail = f"{roughly(available)} available"
    if sandboxes:
        detail += f"; all sandboxes of this project ({len(sandboxes)}) take up to {roughly(needed)}"
    fix = "lower resources.memory, or start fewer at once: sbx up NAME"
    return check("memory", needed <= available, detail, fix, "warning")


def _workspace(source: str, mode: str) -> Check:
    wanted = os.R_OK | os.X_OK | (os.W_OK if mode == "rw" else 0)
    name = f"workspace {source}"
    if not os.path.isdir(source):  # noqa: PTH112 - a plain string, as the file has it
        return Check(name, "missing", "no such directory", f"mkdir -p {source}")
    allowed = os.access(source, wanted)
    detail = f"{mode}, accessible" if allowed else f"this user may not {'write' if mode == 'rw' else 'read'} there"
    return check(name, allowed, detail, f"sudo chown -R $USER {source}, or mount it `ro`")
