"""Which host ids stand for the guest's users in a workspace, and which user QEMU runs as for a root caller.

    guest 0..999  -> subordinate ids      1000 (agent) -> the caller      1001.. -> subordinate ids

So the agent's files are the caller's, and guest root is nobody on the host. An ordinary user's subordinate ids are in
/etc/subuid and /etc/subgid; root needs no entry there: it takes its own entry or a range that nobody uses, chosen once.
"""

import grp
import json
import pwd
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandboxfile.errors import HostError, StateError
from sandboxfile.host.durable import write_atomic
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import locked_shortly

AGENT = 1000
RECORD_VERSION = 1
_COUNT = 65536
_MINIMUM = 2 * AGENT
# Above what useradd (to 600100000) and systemd's containers (to 1879048191) hand out: UIDS-GIDS of systemd.
_FREE_FROM, _FREE_TO = 0x70000000, 0x7FFE0000


@dataclass(frozen=True, order=True, slots=True)
class IdRange:
    """`count` ids from `start` on."""

    start: int
    count: int

    def overlaps(self, other: "IdRange") -> bool:
        return self.start < other.start + other.count and other.start < self.start + self.count


@dataclass(frozen=True, slots=True)
class Extent:
    """A line of /proc/PID/uid_map: `count` ids from `inside` on are those from `outside` on."""

    inside: int
    outside: int
    count: int


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user that QEMU becomes when root calls."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class IdMap:
    """The maps of a file server. `run_as` only for a root caller, who also writes the maps without newuidmap."""

    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]
    run_as: RunAs | None


def id_map(layout: Layout, uid: int, gid: int) -> IdMap:
    """The maps for this caller. Raises HostError with the exact fix when the host gives it no subordinate ids."""
    if uid == 0:
        return _root_map(layout)
    _require_map_writers()
    account = _account(uid)
    uids = _subordinate(Path("/etc/subuid"), account, uid)
    gids = _subordinate(Path("/etc/subgid"), account, uid)
    return IdMap(extents(uid, uids), extents(gid, gids), None)


def extents(caller: int, subordinate: IdRange) -> tuple[Extent, ...]:
    """The map that makes AGENT the caller and everybody else a subordinate id."""
    start, count = subordinate.start, subordinate.count
    return (Extent(0, start, AGENT), Extent(AGENT, caller, 1), Extent(AGENT + 1, start + AGENT, count - AGENT))


def entries(text: str, owners: Iterable[str]) -> list[IdRange]:
    """The ranges that a text like /etc/subuid gives to any of `owners` (names or ids); others' lines are ignored."""
    wanted = set(owners)
    return [found for owner, found in _lines(text) if owner in wanted]


def free_range(taken: Iterable[IdRange], available: Iterable[IdRange]) -> IdRange | None:
    """The first range that overlaps none of `taken` and lies in one of `available` (our own namespace's ids)."""
    occupied, usable = list(taken), list(available)
    for start in range(_FREE_FROM, _FREE_TO, _COUNT):
        candidate = IdRange(start, _COUNT)
        inside = any(u.start <= start and start + _COUNT <= u.start + u.count for u in usable)
        if inside and not any(candidate.overlaps(other) for other in occupied):
            return candidate
    return None


def _root_map(layout: Layout) -> IdMap:
    ids = _remembered(layout)
    usable = IdRange(ids.start, ids.count - 1)  # the topmost is QEMU's: no file server can be or make it
    top = ids.start + ids.count - 1
    return IdMap(extents(0, usable), extents(0, usable), RunAs(top, top))


def _remembered(layout: Layout) -> IdRange:
    """The range in the host record, chosen and written on first use; never changed, since files on disk carry it."""
    with locked_shortly(layout.state / "host.lock"):
        record = _read_record(layout.host_record)
        if "root_ids" not in record:
            chosen = _choose()
            record |= {"version": RECORD_VERSION, "root_ids": {"start": chosen.start, "count": chosen.count}}
            write_atomic(layout.host_record, json.dumps(record, indent=1).encode())
        return IdRange(**record["root_ids"])


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise StateError(f"the record {path} cannot be read: {exc}", hint="remove it: it is made anew") from exc
    if not isinstance(record, dict) or record.get("version") != RECORD_VERSION:
        raise StateError(f"the record {path} is not of version {RECORD_VERSION}", hint="use the sbx that wrote it")
    return record


def _choose() -> IdRange:
    """Root's own range when it has one for both users and groups, else one that nobody has."""
    users, groups = _read(Path("/etc/subuid")), _read(Path("/etc/subgid"))
    own = set(entries(users, ("root", "0"))) & set(entries(groups, ("root", "0")))
    large = [found for found in own if found.count >= _MINIMUM]
    if large:
        return max(large, key=lambda found: (found.count, -found.start))
    taken = [found for text in (users, groups) for _, found in _lines(text)]
    taken += [IdRange(entry.pw_uid, 1) for entry in pwd.getpwall()] + [IdRange(g.gr_gid, 1) for g in grp.getgrall()]
    chosen = free_range(taken, _own_namespace())
    if chosen is None:
        raise HostError(
            f"this user namespace has no {_COUNT} unused user ids from {_FREE_FROM} on",
            hint="give root subordinate ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root",
        )
    return chosen


def _own_namespace() -> list[IdRange]:
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return [IdRange(int(inside), int(count)) for inside, _, count in (line.split() for line in lines)]


def _subordinate(path: Path, account: str, uid: int) -> IdRange:
    found = [entry for entry in entries(_read(path), (account, str(uid))) if entry.count >= _MINIMUM]
    if not found:
        raise HostError(
            f"{account} has no subordinate ids in {path}: files of the sandbox's root would have no owner",
            hint=f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {account}"
            " (another range where these are taken)",
        )
    return max(found, key=lambda entry: (entry.count, -entry.start))


def _require_map_writers() -> None:
    missing = [program for program in ("newuidmap", "newgidmap") if shutil.which(program) is None]
    if missing:
        raise HostError(f"{' and '.join(missing)} not installed", hint="install them: apt install uidmap")


def _account(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _lines(text: str) -> list[tuple[str, IdRange]]:
    found = []
    for line in text.splitlines():
        owner, *numbers = line.strip().split(":")
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):
            found.append((owner, IdRange(int(numbers[0]), int(numbers[1]))))
    return found
