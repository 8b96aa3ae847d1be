"""What this host has: memory, processors, free disk, programs, and what runs on it. Looks, in a few milliseconds.

Starts no process and never fails: what cannot be found out is taken for plenty, and whoever needs it says so then.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from sandboxfile.errors import StateError
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import is_locked, read_record
from sandboxfile.names import SandboxId
from sandboxfile.planning.fit import Capacity, Room
from sandboxfile.planning.tools import TOOLS, Tool

SYSTEM_DIRECTORIES = "/usr/sbin:/sbin"  # mke2fs, depmod: not on the PATH of an ordinary Debian user
_MEMORY = Path("/proc/meminfo")
_PLENTY = 1 << 62  # bytes


def measure(layout: Layout, environ: Mapping[str, str], copied: Iterable[SandboxId] = ()) -> Capacity:
    """All of it, as it is now. `copied`: whose disks are to be copied."""
    memory = _memory(_MEMORY)
    return Capacity(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory.get("MemTotal", _PLENTY),
        available=memory.get("MemAvailable", _PLENTY) + memory.get("SwapFree", 0),
        cache=room(layout.cache),
        state=room(layout.state),
        scratch=room(Path(tempfile.gettempdir())),
        tools=frozenset(tool for tool in TOOLS if has(tool, environ)),
        running=_running(layout),
        root=os.geteuid() == 0,
        disks={id: size for id in copied if (size := _taken(layout.sandbox(id).disk))},
    )


def available_memory() -> int:
    """Bytes that new processes can have without swapping, MemAvailable of proc(5); 0 when that is not known."""
    return _memory(_MEMORY).get("MemAvailable", 0)


def room(place: Path) -> Room:
    """The file system that something is, or would be made, on. `free` is what an ordinary user can have of it."""
    for path in (place, *place.parents):
        try:
            found = os.statvfs(path)
            return Room(str(place), path.stat().st_dev, found.f_bavail * found.f_frsize)
        except FileNotFoundError:
            continue
        except OSError:
            break
    return Room(str(place), 0, _PLENTY)


def has(tool: Tool, environ: Mapping[str, str]) -> bool:
    """Whether one of a tool's programs is installed."""
    path = f"{environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}"
    return any(
        os.access(program, os.R_OK) if program.startswith("/") else shutil.which(program, path=path)
        for program in tool.programs
    )


def _memory(path: Path) -> dict[str, int]:
    """Bytes by the names of proc(5)."""
    try:
        lines = path.read_text().splitlines()
        return {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
    except (OSError, ValueError, IndexError):
        return {}


def _taken(path: Path) -> int:
    """Bytes on disk; holes count nothing."""
    try:
        return path.stat().st_blocks * 512  # in these units whatever the file system: stat(2)
    except OSError:
        return 0


def _running(layout: Layout) -> dict[SandboxId, int]:
    """The memory of every sandbox whose lock is held. One whose record cannot be read counts nothing."""
    found = {}
    for project, name in sandbox_directories(layout):
        id = SandboxId(project, name)
        try:
            if is_locked(layout.sandbox(id).lock):
                found[id] = read_record(layout.sandbox(id)).spec.resources.memory
        except (OSError, StateError):
            continue
    return found
