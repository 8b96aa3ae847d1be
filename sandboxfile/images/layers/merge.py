"""Layers become one flat, normalised tar, and the list of everything in it with its content digest.

Nothing of a layer is ever unpacked here: names and attributes are merged in memory (`layering`), then the data of what
is left is copied from the layers into the tar. There every directory stands before what is in it, each name once and
real, so whoever unpacks it meets no link on the way. Left out: device nodes, what is in the directories that are
the guest's own at every boot, and identities that no two machines may share.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import anyio.from_thread
import anyio.to_thread

from sandboxfile.errors import BuildError
from sandboxfile.images.layers import tar_writer, tars
from sandboxfile.images.layers.layering import Data, Node, Root, Unusable
from sandboxfile.images.layers.tar_reader import Contents, members
from sandboxfile.images.layers.tars import PIECE
from sandboxfile.images.layers.tree import Entry, Tree, content_digest

OWN = ("dev/", "proc/", "run/", "sys/")  # directories that the guest mounts over
IDENTITIES = ("etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id")
MACHINE_ID = "etc/machine-id"  # empty: made at the first boot
LATEST = 0xFFFF_FFFF  # seconds since 1970 that every file system can hold
SECONDS_BETWEEN_REPORTS = 1.0
OFTEN = 256  # members between two looks at whether the caller gave up


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge found: the content digest, the tree, bytes of file data (hard links once), number of entries."""

    content: str
    tree: Tree
    size: int
    entries: int


async def merge_layers(layers: Sequence[Path], target: Path, *, epoch: int, report: Callable[[str], None]) -> Merged:
    """`merge` in a thread; cancelled, it stops within a moment."""

    def work() -> Merged:
        return merge(
            layers,
            target,
            epoch=epoch,
            report=lambda text: anyio.from_thread.run_sync(report, text),
            cancelled=anyio.from_thread.check_cancelled,
        )

    return await anyio.to_thread.run_sync(work)


def merge(
    layers: Sequence[Path],
    target: Path,
    *,
    epoch: int,
    report: Callable[[str], None],
    cancelled: Callable[[], None],
) -> Merged:
    """Write the tar that the layers, the lowest first, amount to.

    `epoch`: seconds since 1970 that nothing in it may be younger than, or 0: times stay. `cancelled` is called now and
    then and raises to stop. Raises BuildError, which names the layer, and OSError when `target` cannot be written;
    it is gone then.
    """
    root = _laid(layers, report, cancelled)
    _drop_identities(root)
    nodes = dict(_left(root))
    contents = _contents(nodes)
    size = sum(content.size for content in contents)
    try:
        with target.open("wb", buffering=PIECE) as out:
            tree = _Writing(out, nodes, epoch, cancelled).write(layers, contents, _Progress(report, size))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return Merged(content_digest(tree), tree, size, len(tree))


def _laid(layers: Sequence[Path], report: Callable[[str], None], cancelled: Callable[[], None]) -> Root:
    root = Root()
    for number, layer in enumerate(layers):
        report(f"reading layer {number + 1} of {len(layers)}")
        with tars.opened(layer) as stream:
            try:
                for count, member in enumerate(members(stream, str(layer))):
                    if count % OFTEN == 0:
                        cancelled()
                    root.put(member, number)
            except Unusable as exc:
                raise BuildError(f"cannot use the layer {layer}: {exc}") from exc
    return root


def _drop_identities(root: Root) -> None:
    for path in IDENTITIES:
        if (found := root.find(path)) and found[0].inside[found[1]].kind != "directory":
            del found[0].inside[found[1]]
    if (found := root.find(MACHINE_ID)) and (node := found[0].inside[found[1]]).kind != "directory":
        emptied = Node(node.layer, "file", 0o444, mtime=node.mtime, data=Data(node.layer, 0, 0))
        found[0].inside[found[1]] = emptied


def _left(root: Root) -> Iterator[tuple[str, Node]]:
    """What goes into the image, sorted by path. Raises BuildError."""
    try:
        entries = sorted(root.entries())
    except Unusable as exc:
        raise BuildError(f"cannot make an image of these layers: {exc}") from exc
    for path, node in entries:
        if node.kind is not None and not path.startswith(OWN):
            yield path, node


def _contents(nodes: Mapping[str, Node]) -> list[Data]:
    """The content of all files, in the order in which the layers have them. Each learns its names, the first first."""
    contents: dict[int, Data] = {}
    for path, node in nodes.items():
        if node.data is not None:
            contents[id(node.data)] = node.data
            node.data.names.append(path)
    return sorted(contents.values(), key=lambda content: (content.layer, content.offset))


class _Writing:
    """Writes the tar and finds the tree: directories, then the files as the layers have them, then all links."""

    def __init__(self, out: BinaryIO, nodes: Mapping[str, Node], epoch: int, cancelled: Callable[[], None]) -> None:
        self._out = out
        self._nodes = nodes
        self._epoch = epoch
        self._cancelled = cancelled
        self._tree: dict[str, Entry] = {}

    def write(self, layers: Sequence[Path], contents: Sequence[Data], progress: "_Progress") -> Tree:
        self._out.write(tar_writer.header(Entry("", "directory", 0o755, mtime=self._time(self._epoch))))
        for path, node in self._nodes.items():
            if node.kind == "directory":
                self._write(path)
        for number, group in groupby(contents, lambda content: content.layer):
            with tars.opened(layers[number]) as stream:
                source = Contents(stream, str(layers[number]))
                for content in group:
                    self._write_file(content, source)
                    progress.add(content.size)
        for path in self._nodes:
            if path not in self._tree:
                self._write(path)
        self._out.write(tar_writer.END)
        return self._tree

    def _write(self, path: str) -> None:
        entry = self._tree[path] = self._entry(path)
        self._out.write(tar_writer.header(entry))

    def _write_file(self, content: Data, source: Contents) -> None:
        self._cancelled()
        path = content.names[0]
        self._out.write(tar_writer.header(self._entry(path)))
        digest = hashlib.sha256()
        for piece in source.pieces(content.offset, content.size, content.segments) if content.size else ():
            self._cancelled()
            digest.update(piece)
            self._out.write(piece)
        self._out.write(tar_writer.padding(content.size))
        content.digest = digest.hexdigest()
        self._tree[path] = self._entry(path)

    def _entry(self, path: str) -> Entry:
        node = self._nodes[path]
        assert node.kind is not None
        content = node.data
        return Entry(
            path=path,
            kind=node.kind,
            mode=node.mode,
            uid=node.uid,
            gid=node.gid,
            mtime=self._time(node.mtime),
            size=content.size if content else 0,
            digest=content.digest if content else "",
            link=content.names[0] if content and content.names[0] != path else node.link,
            xattrs=node.xattrs,
        )

    def _time(self, time: int) -> int:
        return max(0, min(time, self._epoch or LATEST, LATEST))


class _Progress:
    """Says how much of the data is written, about once a second."""

    def __init__(self, report: Callable[[str], None], total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        self._said = time.monotonic()

    def add(self, size: int) -> None:
        self._done += size
        if time.monotonic() - self._said >= SECONDS_BETWEEN_REPORTS:
            self._said = time.monotonic()
            self._report(f"merging layers: {self._done >> 20} of {self._total >> 20} MiB")
