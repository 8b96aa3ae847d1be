"""A root in memory, while layers are laid one upon another. Pure: names and attributes only, no file is touched.

Follows the layers of OCI images: a later entry replaces an earlier one, `.wh.NAME` hides what lower layers have under
that name, `.wh..wh..opq` all that they have in that directory; what its own layer has is never hidden.
Symbolic links above an entry are followed inside the root and nowhere else: `bin/x` goes where `bin` leads, and no
number of `..` leads out. What a hostile layer can make of this is bounded; `Unusable` says which entry and why.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sandboxfile.images.layers.tar_reader import Member
from sandboxfile.images.layers.tar_sparse import Segments
from sandboxfile.images.layers.tree import Attributes, Kind

MOST_ENTRIES = 2_000_000  # members of all layers
MOST_BYTES = 128 << 30  # of the data of all layers, holes filled
MOST_HOLES = 4 << 30  # of that, what is not in the archives
MOST_NAMES = 512 << 20  # bytes of names, links and extended attributes
MOST_WORK = 100_000_000  # steps to find and to hide; an honest root needs ten an entry
LONGEST_NAME = 255  # bytes, as ext4 has it
LONGEST_PATH = 4095  # bytes, as Linux has it; a link's target too
DEEPEST = 256  # directories: mke2fs keeps each of them open on its way down
MOST_LINKS = 40  # followed on one path, as in Linux
LARGEST_XATTRS = 64 << 10
HOSTS = ("security.selinux", "trusted.overlay.")  # what the host that packed it used itself
LARGEST_ID = 0xFFFF_FFFE  # the next one means "leave it" to chown(2)
HIDES = ".wh."
HIDES_ALL = ".wh..wh..opq"
OTHER_MARKS = ".wh..wh."  # of AUFS, for itself


class Unusable(ValueError):
    """A layer that no root can be made of."""


@dataclass(slots=True, eq=False)
class Data:
    """The content of a file: where it lies. Names that share one are hard links of each other. `digest` comes later."""

    layer: int
    offset: int
    size: int
    segments: Segments | None = None
    digest: str = ""
    names: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Node:
    """One name. `layer` put it there. `children` of a directory, else None; `data` of a file, else None.

    A device is known (it replaces what was there) but takes no part in the result.
    """

    layer: int
    kind: Kind | None  # None: a device
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: str = ""
    xattrs: Attributes = ()
    children: "dict[str, Node] | None" = None
    data: Data | None = None

    @property
    def inside(self) -> "dict[str, Node]":
        """What is in this directory, by name."""
        assert self.children is not None
        return self.children


class Root:
    """Holds what the layers laid so far amount to."""

    def __init__(self) -> None:
        self.top = Node(0, "directory", children={})
        # Neighbours in an archive mostly are in one directory: the last one, until any directory or link goes.
        self._last: tuple[tuple[str, ...], Node] = ((), self.top)
        self._entries = self._bytes = self._holes = self._names = self._work = 0

    def put(self, member: Member, layer: int) -> None:
        """Lay one member of layer number `layer` (from 0; they only rise) upon what is there. Raises Unusable."""
        self._count(member)
        parts = _parts(member.name)
        if not parts:
            if member.kind != "directory":
                raise Unusable("the root itself is not a directory")
            return
        if any(part.startswith(HIDES) for part in parts[:-1]):
            if any(part.startswith(OTHER_MARKS) for part in parts[:-1]):
                return
            raise Unusable(f"{shown(member.name)} lies below the mark of something hidden")
        if parts[-1].startswith(HIDES):
            self._mark(parts, layer)
            return
        self._place(member, parts, layer)

    def entries(self) -> Iterator[tuple[str, Node]]:
        """Everything that is there, sorted within each directory, a directory before what is in it."""
        waiting = [("", self.top)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, node in sorted(directory.inside.items()):
                path = prefix + name
                if _length(path) > LONGEST_PATH:
                    raise Unusable(f"the path {shown(path)} is too long")
                yield path, node
                if node.children is not None:
                    waiting.append((f"{path}/", node))

    def find(self, path: str) -> tuple[Node, str] | None:
        """The directory in which `path` stands (links above it followed) and its name there. None: it is not there."""
        parts = _parts(path)
        parent = self._directory(parts[:-1]) if parts else None
        return (parent, parts[-1]) if parent is not None and parts[-1] in parent.inside else None

    def _count(self, member: Member) -> None:
        self._entries += 1
        self._bytes += member.size
        if member.segments is not None:
            self._holes += member.size - sum(length for _, length in member.segments)
        xattrs = sum(len(name) + len(value) for name, value in member.xattrs)
        self._names += len(member.name) + len(member.link) + xattrs
        for count, most, what in (
            (self._entries, MOST_ENTRIES, "entries"),
            (self._bytes, MOST_BYTES, "bytes of data"),
            (self._holes, MOST_HOLES, "bytes of holes in sparse files"),
            (self._names, MOST_NAMES, "bytes of names"),
            (xattrs, LARGEST_XATTRS, "bytes of extended attributes in one entry"),
        ):
            if count > most:
                raise Unusable(f"more than {most} {what}")

    def _step(self, count: int = 1) -> None:
        self._work += count
        if self._work > MOST_WORK:
            raise Unusable("its names lead through too many links and directories")

    def _place(self, member: Member, parts: tuple[str, ...], layer: int) -> None:
        name = parts[-1]
        parent = self._made(parts[:-1], layer)
        old = parent.inside.get(name)
        node = self._linked(member, layer) if member.kind == "hardlink" else _node(member, layer)
        if node.children is not None and old is not None and old.children is not None:
            node.children = old.children
        parent.inside[name] = node
        if old is not None and (old.children is not None or old.kind == "symlink"):
            self._forget()

    def _forget(self) -> None:
        self._last = ((), self.top)

    def _linked(self, member: Member, layer: int) -> Node:
        found = self.find(member.link)
        if found is None:
            raise Unusable(f"{shown(member.name)} is a link to {shown(member.link)}, which is not there")
        parent, name = found
        target = parent.inside[name]
        if target.children is not None:
            raise Unusable(f"{shown(member.name)} is a hard link to the directory {shown(member.link)}")
        return Node(
            layer, target.kind, target.mode, target.uid, target.gid, target.mtime, target.link, target.xattrs, None,
            target.data,
        )  # fmt: skip

    def _mark(self, parts: tuple[str, ...], layer: int) -> None:
        mark = parts[-1]
        hidden = mark.removeprefix(HIDES)
        if hidden in ("", ".", ".."):
            raise Unusable(f"the mark {shown('/'.join(parts))} hides nothing that can be hidden")
        if mark.startswith(OTHER_MARKS) and mark != HIDES_ALL:
            return
        parent = self._directory(parts[:-1])
        if parent is None:
            return
        for name in [*parent.inside] if mark == HIDES_ALL else [hidden]:
            child = parent.inside.get(name)
            if child is not None and self._hide(child, layer):
                del parent.inside[name]
        self._forget()

    def _hide(self, node: Node, layer: int) -> bool:
        """Take away what lower layers have at and below `node`. True: nothing is left of it."""
        self._step()
        if node.children is None:
            return node.layer < layer
        for name in [name for name, child in node.children.items() if self._hide(child, layer)]:
            del node.children[name]
        if node.layer < layer and node.children:  # it is only there for what this layer has in it
            node.layer, node.mode, node.uid, node.gid, node.mtime, node.xattrs = layer, 0o755, 0, 0, 0, ()
        return node.layer < layer

    def _made(self, parts: tuple[str, ...], layer: int) -> Node:
        """The directory, made where it is missing."""
        if parts == self._last[0]:
            return self._last[1]
        found = self._directory(parts, layer)
        if found is None:
            raise Unusable(f"something lies below {shown('/'.join(parts))}, which is not a directory")
        self._last = (parts, found)
        return found

    def _directory(self, parts: tuple[str, ...], make: int | None = None) -> Node | None:
        """The directory where `parts` lead, links followed; missing ones are made by layer `make`.

        None: there is none, or something else is in the way.
        """
        way = [self.top]
        left = [*reversed(parts)]
        links = 0
        while left:
            self._step()
            name = left.pop()
            if name in ("", ".", ".."):
                if name == ".." and len(way) > 1:
                    way.pop()
                continue
            child = way[-1].inside.get(name)
            if child is None and make is not None:
                child = way[-1].inside[name] = _made(name, make)
            if child is None:
                return None
            if child.kind == "symlink":
                links += 1
                _follow(child.link, way, left)
            elif child.kind == "directory":
                way.append(child)
            else:
                return None
            if links > MOST_LINKS or len(way) > DEEPEST:
                raise Unusable(f"too many links or directories on the way to {shown('/'.join(parts))}")
        return way[-1]


def shown(name: str) -> str:
    """A name out of an archive, fit for a terminal."""
    return repr(name if len(name) <= 200 else f"{name[:200]}...")


def _follow(link: str, way: list[Node], left: list[str]) -> None:
    """Go on from a link: an absolute one begins at the root, whose own root it is."""
    if link.startswith("/"):
        del way[1:]
    left += reversed(link.split("/"))


def _made(name: str, layer: int) -> Node:
    if _length(name) > LONGEST_NAME:
        raise Unusable(f"the name {shown(name)} is too long")
    return Node(layer, "directory", children={})


def _node(member: Member, layer: int) -> Node:
    if not (0 <= member.uid <= LARGEST_ID and 0 <= member.gid <= LARGEST_ID):
        raise Unusable(f"{shown(member.name)} belongs to user {member.uid} and group {member.gid}, which cannot be")
    if member.kind == "symlink" and not 0 < _length(member.link) <= LONGEST_PATH:
        raise Unusable(f"{shown(member.name)} is a link to a path that is empty or too long")
    kind: Kind | None = None
    if member.kind != "device" and member.kind != "hardlink":
        kind = member.kind
    return Node(
        layer=layer,
        kind=kind,
        mode=0o777 if kind == "symlink" else member.mode,
        uid=member.uid,
        gid=member.gid,
        mtime=member.mtime,
        link=member.link if kind == "symlink" else "",
        xattrs=tuple(pair for pair in member.xattrs if not pair[0].startswith(HOSTS)),
        children={} if kind == "directory" else None,
        data=Data(layer, member.offset, member.size, member.segments) if kind == "file" else None,
    )


def _parts(name: str) -> tuple[str, ...]:
    """The names on the way, as a lexical path from the root: `..` at the root stays there. Raises Unusable."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    if _length(name) > LONGEST_PATH or any(_length(part) > LONGEST_NAME for part in parts):
        raise Unusable(f"the name {shown(name)} is too long")
    return tuple(parts)


def _length(name: str) -> int:
    return len(name) if name.isascii() else len(name.encode("utf-8", "surrogateescape"))
