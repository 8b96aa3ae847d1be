"""What can go from the cache, and why; and how it goes. Nothing of the state is touched: it is not looked at here.

`survey` looks, `choose` decides (pure), `remove` does it: under the lock of the digest, which a build of it holds, and
by a rename that hides the directory before its first file goes. Removing any of it costs a rebuild and nothing else:
disks of sandboxes stand on hard links of their own.
"""

import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sandboxfile.host.layout import Layout
from sandboxfile.images import cache

Kind = Literal["leftover", "platform", "layer", "image"]
MINUTE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory of the cache.

    `size`: bytes on disk of what is in it; `freed`: what removing it gives back (files with another hard link, on
    which sandboxes stand, give nothing). `used`: when it was last of use, seconds since 1970. `layers`: keys of the
    layers that an image was made of. `busy`: somebody builds it now.
    """

    kind: Kind
    digest: str
    path: Path
    size: int = 0
    freed: int = 0
    used: float = 0.0
    title: str = ""
    layers: tuple[str, ...] = ()
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What has to go. Leftovers, layers without an image and platforms of other versions always have to.

    `unused`: images that were of no use for so many seconds; None: none for that reason. `keep_size`: bytes that
    layers and images may take together. `platform`: digest of the platform of this version. `standing`: digests of
    images that sandboxes were made from, which stay.
    """

    platform: str
    standing: frozenset[str] = frozenset()
    unused: float | None = None
    keep_size: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """An entry that has to go, and why, in words."""

    entry: Entry
    reason: str


# --- what is there -----------------------------------------------------------------------------------------------


def survey(layout: Layout) -> list[Entry]:
    """Everything in the cache, sorted by kind and digest. Files with several names in it count once."""
    roots: tuple[tuple[Kind, Path], ...] = (
        ("platform", layout.platforms),
        ("layer", layout.layers),
        ("image", layout.images),
    )
    seen: set[tuple[int, int]] = set()
    return [_measured(entry, seen) for kind, root in roots for entry in _entries(kind, root)]


def _entries(kind: Kind, root: Path) -> Iterator[Entry]:
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:
        return
    for name in names:
        if owner := cache.owner_of_leftover(name):
            yield Entry("leftover", owner, root / name, busy=cache.is_busy(root, owner))
        elif not name.startswith("."):
            yield _whole(kind, root, name)


def _whole(kind: Kind, root: Path, digest: str) -> Entry:
    """A finished directory; one that is broken is a leftover."""
    found, busy = cache.find(root, digest), cache.is_busy(root, digest)
    if found is None:
        return Entry("leftover", digest, root / digest, busy=busy)
    path, manifest = found
    layers = tuple(map(str, manifest.get("layers", ()))) if kind == "image" else ()
    used = (path / cache.MANIFEST).stat().st_mtime
    return Entry(kind, digest, path, used=used, title=str(manifest.get("title", "")), layers=layers, busy=busy)


def _measured(entry: Entry, seen: set[tuple[int, int]]) -> Entry:
    size, freed = disk_use(entry.path, seen)
    return replace(entry, size=size, freed=freed)


def disk_use(root: Path, seen: set[tuple[int, int]] | None = None) -> tuple[int, int]:
    """Bytes on disk of all files below `root`, and those of them that have no other name. Holes count nothing.

    `seen` has the files counted already (device, inode), and gets these.
    """
    seen = set() if seen is None else seen
    size = freed = 0
    for status in _statuses(root):
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            blocks = status.st_blocks * 512  # st_blocks is in these units whatever the file system: stat(2)
            size += blocks
            freed += blocks if status.st_nlink == 1 else 0
    return size, freed


def _statuses(root: Path) -> Iterator[os.stat_result]:
    for directory, _, files in os.walk(root):
        for name in files:
            try:
                yield os.lstat(os.path.join(directory, name))  # noqa: PTH118 - thousands of them
            except OSError:  # gone meanwhile
                continue


# --- what has to go ----------------------------------------------------------------------------------------------


def choose(entries: Sequence[Entry], rules: Rules, now: float) -> list[Choice]:
    """What has to go, and why. What is being built stays, and then so do layers that no image has yet."""
    chosen = [Choice(entry, "left by a build that did not end") for entry in entries if _is_leftover(entry)]
    chosen += [
        Choice(entry, "of another version of sbx")
        for entry in entries
        if entry.kind == "platform" and entry.digest != rules.platform and not entry.busy
    ]
    images = [entry for entry in entries if entry.kind == "image"]
    layers = [entry for entry in entries if entry.kind == "layer"]
    old = list(_unused(images, rules, now))
    rest = [image for image in images if image not in {choice.entry for choice in old}]
    building = any(entry.busy for entry in entries if entry.kind != "platform")
    orphans = [] if building else list(_orphans(layers, rest))
    chosen += old + orphans
    if rules.keep_size is not None:
        gone = {choice.entry for choice in chosen}
        kept = [entry for entry in layers if entry not in gone]
        chosen += _too_much(rest, kept, rules, rules.keep_size, building)
    return chosen


def _is_leftover(entry: Entry) -> bool:
    return entry.kind == "leftover" and not entry.busy


def _unused(images: Iterable[Entry], rules: Rules, now: float) -> Iterator[Choice]:
    if rules.unused is None:
        return
    for image in images:
        silent = now - image.used
        if silent >= rules.unused and image.digest not in rules.standing and not image.busy:
            yield Choice(image, "no sandbox stands on it" if rules.unused == 0 else f"not used for {_ago(silent)}")


def _orphans(layers: Iterable[Entry], images: Iterable[Entry]) -> Iterator[Choice]:
    """Layers that none of the images was made of."""
    wanted = {key for image in images for key in image.layers}
    return (Choice(layer, "of no image") for layer in layers if layer.digest not in wanted and not layer.busy)


def _too_much(
    images: Sequence[Entry], layers: Sequence[Entry], rules: Rules, limit: int, building: bool
) -> Iterator[Choice]:
    """What was not used for longest, until the rest fits: images with the layers of no other, and then layers."""
    reason = "not used for longest, and the cache is too large"
    total = sum(entry.size for entry in (*images, *layers))
    kept, left = sorted(layers, key=_by_use), sorted(images, key=_by_use)
    for image in [image for image in left if image.digest not in rules.standing and not image.busy]:
        if total <= limit:
            return
        left.remove(image)
        going = [] if building else [choice.entry for choice in _orphans(kept, left)]
        kept = [layer for layer in kept if layer not in going]
        total -= image.size + sum(layer.size for layer in going)
        yield from (Choice(entry, reason) for entry in (image, *going))
    for layer in kept:
        if total <= limit or building:
            return
        if not layer.busy:
            total -= layer.size
            yield Choice(layer, reason)


def _by_use(entry: Entry) -> tuple[float, str]:
    return entry.used, entry.digest


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


# --- doing it ----------------------------------------------------------------------------------------------------


async def remove(entry: Entry) -> bool:
    """Remove it, unless somebody builds it by now: then False. Gone already is removed.

    Raises OSError when the cache cannot be written.
    """
    from sandboxfile.images.packages import mmdebstrap  # here, because choosing must stay cheap

    root = entry.path.parent
    lock = cache.try_lock(root, entry.digest)
    if lock is None:
        return False
    try:
        hidden = root / cache.leftover_name(entry.digest, secrets.token_hex(4))
        if cache.owner_of_leftover(entry.path.name):
            hidden = entry.path
        elif entry.path.exists():
            entry.path.rename(hidden)  # killed from here on: the next build or prune sweeps it
        await mmdebstrap.remove_tree(hidden)
    finally:
        os.close(lock)
    return True


def exclusive_layers(image: Entry, entries: Collection[Entry]) -> list[Entry]:
    """The layers that no other image was made of. None while something is built: it may need them."""
    if any(entry.busy for entry in entries if entry.kind != "platform"):
        return []
    others = [entry for entry in entries if entry.kind == "image" and entry.digest != image.digest]
    layers = [entry for entry in entries if entry.kind == "layer" and entry.digest in image.layers]
    return [choice.entry for choice in _orphans(layers, others)]
