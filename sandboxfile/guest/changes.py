"""What has changed in a guest's root since it was made, told from a listing of all of it. Pure.

A path has changed when it is new, when its inode changed after a moment (ctime, which no program can set), or when what
it is differs from what was known: a renamed directory keeps the inodes of what is in it. What is not there any more has
vanished. What a boot writes into every root is none of it: `left_behind` and `guest.cleaning` know what that is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sandboxfile.errors import GuestError
from sandboxfile.guest.cleaning import CLEANED, is_dropped, is_link_to_authority

LISTING_LIMIT = 512 << 20  # bytes; 200 an entry are usual
_KINDS = {"f": "file", "d": "directory", "l": "symlink", "p": "fifo"}  # others are made anew by each boot, or no files
_LINKS = 40  # symbolic links followed, as the kernel does

# Three strings an entry, each ended by NUL. The clock is the one that file times come from, which is behind `date`.
_LIST = r"""
T=/run/sbx
export PATH=$T/bin LC_ALL=C
find() { $T/lib64/ld-linux-x86-64.so.2 --library-path $T/lib/x86_64-linux-gnu $T/usr/bin/find "$@"; }
: >$T/var/tmp/now
find $T/var/tmp/now -printf 'now\0%C@\0\0'
while IFS= read -r path; do printf 'made\0%s\0\0' "$path"; done 2>/dev/null <$T/var/made
cd / && find . -xdev -printf '%D %C@ %y %m %U %G %s %T@\0%P\0%l\0'
printf 'end\0\0\0'
"""
LIST_COMMAND = ("/run/sbx/bin/sh", "-c", _LIST)


class Stat(NamedTuple):
    """What a path is. `kind`: file, directory, symlink, fifo; `modified`: whole seconds; `link`: a symlink's target."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    modified: int = 0
    link: str = ""


type Known = Mapping[str, Stat]  # by path without a leading slash; the root itself is not in it


@dataclass(frozen=True, slots=True)
class Listing:
    """A root as it is. `taken_at`: the guest's clock before it was listed; all times are seconds since 1970.

    `stats` and `changed` (ctime) are by path. `mounts` are paths at which something else is mounted: what lies beneath
    is not seen. `made`: directories made for mounts.
    """

    taken_at: float
    stats: Mapping[str, Stat]
    changed: Mapping[str, float]
    mounts: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """`taken`: paths as they are now, sorted; `vanished`: the topmost of what is gone.

    `cleaned`: files that a boot writes its own lines into, and that have changed, perhaps by nothing else.
    """

    taken: tuple[str, ...]
    vanished: tuple[str, ...]
    cleaned: tuple[str, ...]


def parse(data: bytes) -> Listing:
    """Read what LIST_COMMAND printed. Raises GuestError for anything else, and when it was cut short."""
    strings = [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")]
    if strings[-4:] != ["end", "", "", ""] or len(strings) % 3 != 1 or strings[0] != "now":
        raise GuestError("the list of the sandbox's files is not whole")
    records = zip(strings[0:-4:3], strings[1:-4:3], strings[2:-4:3], strict=True)
    try:
        return _listing(records)
    except ValueError as exc:
        raise GuestError(f"the list of the sandbox's files cannot be read: {exc}") from exc


def _listing(records: Iterator[tuple[str, str, str]]) -> Listing:
    taken_at = float(next(records)[1])
    stats: dict[str, Stat] = {}
    changed: dict[str, float] = {}
    mounts, made = [], []
    root = ""
    for words, path, link in records:
        if words == "made":
            made.append(path.strip("/"))
            continue
        device, ctime, letter, mode, uid, gid, size, mtime = words.split(" ")
        if not path:
            root = device
        elif device != root:
            mounts.append(path)
        elif letter in _KINDS:
            _check(path)
            modified = int(float(mtime))
            stats[path] = Stat(_KINDS[letter], int(mode, 8) & 0o7777, int(uid), int(gid), int(size), modified, link)
            changed[path] = float(ctime)
    if not root:
        raise ValueError("it has no root")
    return Listing(taken_at, stats, changed, tuple(mounts), tuple(made))


def _check(path: str) -> None:
    if path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path[:100]!r} is no path")


def compare(known: Known, listing: Listing, since: float) -> Changes:
    """What differs from `known`, or changed at `since` or later by the guest's clock."""
    hidden = left_behind(known, listing)
    special = cleaned_paths(listing.stats)
    taken: list[str] = []
    cleaned: list[str] = []
    for path in sorted(listing.stats):
        stat = listing.stats[path]
        if path in hidden or is_dropped(path) or is_link_to_authority(path, stat.link) or _is_mark(path):
            continue
        if listing.changed[path] >= since or path not in known or _differs(stat, known[path]):
            (cleaned if path in special and stat.kind == "file" else taken).append(path)
    return Changes(tuple(taken), tuple(_vanished(known, listing)), tuple(cleaned))


def _is_mark(path: str) -> bool:
    """Whether a layer cannot hold a path: there it would mean that something is gone."""
    return path.startswith(".wh.") or "/.wh." in path


def _differs(now: Stat, before: Stat) -> bool:
    if now[:4] != before[:4]:
        return True
    if now.kind == "file":
        return (now.size, now.modified) != (before.size, before.modified)
    return now.link != before.link


def left_behind(known: Known, listing: Listing) -> frozenset[str]:
    """Directories that were made for something to be mounted on, and hold nothing else."""
    hidden: set[str] = set()
    parents = {_parent(path) for path in listing.stats}
    for path in sorted(set(listing.made), reverse=True):
        # Whatever keeps the directory is listed beneath it, but for those like it.
        if path in listing.stats and path not in known and (path not in parents or _only(path, listing, hidden)):
            hidden.add(path)
    return frozenset(hidden)


def _only(path: str, listing: Listing, hidden: set[str]) -> bool:
    return all(child in hidden for child in listing.stats if _parent(child) == path)


def cleaned_paths(stats: Known) -> frozenset[str]:
    """The files that a boot writes into, wherever links in this root lead from their usual places."""
    return frozenset(_followed(path, stats) for path in CLEANED)


def _followed(path: str, stats: Known) -> str:
    """Where a path leads: only its last component may be a link, as with all of ours."""
    place = path
    for _ in range(_LINKS):
        found = stats.get(place)
        if found is None or found.kind != "symlink":
            return place
        place = _joined(_parent(place), found.link)
    return path


def _joined(directory: str, target: str) -> str:
    parts = [] if target.startswith("/") else [part for part in directory.split("/") if part]
    for part in target.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _vanished(known: Known, listing: Listing) -> Iterable[str]:
    """The topmost of the known paths that are gone.

    Not what is beneath a mount, where nobody can see, nor beneath what is no directory any more: that takes its place.
    """
    covered = set(listing.mounts)
    for path in sorted(known):
        if path in listing.stats or is_dropped(path):
            continue
        parent = _parent(path)
        if path in covered or parent in covered:
            covered.add(path)
        elif not parent or listing.stats.get(parent, _NOTHING).kind == "directory":
            yield path


_NOTHING = Stat("", 0, 0, 0)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
