"""Reads the members of a tar, strictly: ustar, GNU and pax, sparse files included.

Python's `tarfile` takes a damaged header for the end of the archive, and several times as long. Here whatever is not
understood is an error, and what a hostile archive can make us keep in memory is bounded. Names are given as they
stand: nothing here knows of paths, and nothing is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from sandboxfile.errors import BuildError
from sandboxfile.images.layers import tar_sparse
from sandboxfile.images.layers.tar_sparse import Segments
from sandboxfile.images.layers.tars import PIECE
from sandboxfile.images.layers.tree import Attributes

MemberKind = Literal["file", "directory", "symlink", "hardlink", "fifo", "device"]

BLOCK = 512
ZERO = bytes(BLOCK)
LARGEST_HEADER = 1 << 20  # bytes of one extended header
MOST_HEADERS = 8  # extended headers before one member
KINDS: dict[bytes, MemberKind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"S": "file", b"1": "hardlink", b"2": "symlink",
    b"3": "device", b"4": "device", b"5": "directory", b"D": "directory", b"6": "fifo",
}  # fmt: skip
WITH_DATA = (b"0", b"\0", b"7", b"S", b"D")  # of all others GNU tar reads no data, whatever size they claim
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, VOLUME = b"L", b"K", b"x", b"g", b"V"
GLOBAL_KEYS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"))
XATTR = b"SCHILY.xattr."

type Records = list[tuple[bytes, bytes]]
type Headers = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Member:
    """One member. `offset` is where its data lies in the stream, `size` what it is when holes are filled.

    Numbers are what the archive says, within no bounds but those of `size` (>= 0). `segments` of a sparse file are
    (offset, length) of what is stored, in this order from `offset` on; all else is zeros. None: it is not sparse.
    """

    name: str
    kind: MemberKind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: str
    xattrs: Attributes
    offset: int
    segments: Segments | None = None


def members(stream: BinaryIO, what: str) -> Iterator[Member]:
    """All members in order, and then the rest of the stream is read, for what a decompressor has to say of it.

    Raises BuildError, which names `what`: damaged, cut short, or of a kind that is not known.
    """
    reader = _Reader(stream)
    try:
        while (member := reader.next()) is not None:
            yield member
        while stream.read(PIECE):
            pass
    except (ValueError, IndexError) as exc:
        raise BuildError(f"cannot read {what}: it is not a tar, or damaged ({exc})") from exc


class Contents:
    """The data of members of one stream, which has not been read from. Only forwards: by rising offsets."""

    def __init__(self, stream: BinaryIO, what: str) -> None:
        self._stream = stream
        self._what = what
        self._position = 0

    def pieces(self, offset: int, size: int, segments: Segments | None = None) -> Iterator[bytes]:
        """What the member with this `offset`, `size` and `segments` holds, piece by piece. Raises BuildError."""
        if segments is None:
            yield from self._stored(offset, size)
            return
        end = 0
        for begin, length in segments:
            yield from _zeros(begin - end)
            yield from self._stored(offset, length)
            offset += length
            end = begin + length
        yield from _zeros(size - end)

    def _stored(self, offset: int, size: int) -> Iterator[bytes]:
        _skip(self._stream, self._position, offset)
        self._position = offset
        while size:
            piece = self._stream.read(min(size, PIECE))
            if not piece:
                raise BuildError(f"cannot read {self._what}: it is shorter than it was")
            size -= len(piece)
            self._position += len(piece)
            yield piece


class _Reader:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0  # where the stream stands
        self._next = 0  # where the next header begins
        self._global: Headers = {}

    def next(self) -> Member | None:
        """The next member, or None at the end of the archive. Raises ValueError."""
        records: Records = []
        long: Headers = {}
        for _ in range(MOST_HEADERS):
            header = self._header()
            if header is None:
                if records or long:
                    raise ValueError("it ends after a header that belongs to a member")
                return None
            kind = header[156:157]
            if kind == PAX:
                records = _records(self._extension(header))
            elif kind == PAX_GLOBAL:
                found = _records(self._extension(header))
                self._global.update((key, value) for key, value in found if key in GLOBAL_KEYS)
            elif kind in (LONG_NAME, LONG_LINK):
                long[b"path" if kind == LONG_NAME else b"linkpath"] = _text(self._extension(header))
            elif kind != VOLUME:
                return self._member(header, kind, records, {**self._global, **long, **dict(records)})
        raise ValueError("too many headers before one member")

    def _read(self, count: int) -> bytes:
        block = self._stream.read(count)
        if len(block) != count:
            raise ValueError("it ends too early")
        self._position += count
        return block

    def _header(self) -> bytes | None:
        _skip(self._stream, self._position, self._next)
        self._position = self._next
        header = self._read(BLOCK)
        if header == ZERO:
            return None
        if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 256:
            raise ValueError(f"a checksum is wrong at byte {self._next}")
        self._next = self._position
        return header

    def _extension(self, header: bytes) -> bytes:
        size = _number(header[124:136])
        if not 0 <= size <= LARGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        self._next = self._position + _blocks(size)
        return self._read(size)

    def _member(self, header: bytes, flag: bytes, records: Records, headers: Headers) -> Member:
        if flag not in KINDS:
            raise ValueError(f"a member of the unknown kind {flag!r}")
        kind = KINDS[flag]
        name = headers.get(b"path") or _name(header)
        if kind == "file" and name.endswith(b"/"):
            kind = "directory"  # as archives older than ustar say it
        stored = _size(headers.get(b"size"), header[124:136]) if flag in WITH_DATA else 0
        self._next = self._position + _blocks(stored)
        segments, size = None, stored
        if flag == b"S" or (kind == "file" and any(key.startswith(b"GNU.sparse.") for key, _ in records)):
            name, size, segments = self._sparse(header, flag, records, name, stored)
        return Member(
            name=_decoded(name),
            kind=kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=_integer(headers.get(b"uid"), header[108:116]),
            gid=_integer(headers.get(b"gid"), header[116:124]),
            mtime=_integer(headers.get(b"mtime"), header[136:148]),
            size=size if kind == "file" else 0,
            link=_decoded(headers.get(b"linkpath") or _text(header[157:257])),
            xattrs=_xattrs(records) if records else (),
            offset=self._position,
            segments=segments,
        )

    def _sparse(
        self, header: bytes, flag: bytes, records: Records, name: bytes, stored: int
    ) -> tuple[bytes, int, Segments]:
        if flag == b"S":
            size, segments = tar_sparse.old(header, self._read)
            # The blocks of the map stand before the data and do not count as such.
            self._next = self._position + _blocks(stored)
        else:
            begin = self._position
            size, segments, real = tar_sparse.pax(records, self._read)
            name = real or name
            stored -= self._position - begin
        tar_sparse.check(size, segments, stored)
        return name, size, segments


def _skip(stream: BinaryIO, position: int, target: int) -> None:
    """Go forwards from `position` to `target`; what ends before that shows when it is read."""
    if position < target and stream.seekable():
        stream.seek(target)
        return
    while position < target:
        piece = stream.read(min(target - position, PIECE))
        if not piece:
            return
        position += len(piece)


def _zeros(size: int) -> Iterator[bytes]:
    whole, rest = divmod(size, PIECE)
    if whole:
        zeros = bytes(PIECE)
        for _ in range(whole):
            yield zeros
    yield bytes(rest)


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _decoded(name: bytes) -> str:
    if b"\0" in name:
        raise ValueError("a name with a zero byte")
    return name.decode("utf-8", "surrogateescape")


def _name(header: bytes) -> bytes:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        return _text(header[345:500]) + b"/" + name
    return name


def _number(field: bytes) -> int:
    """Octal digits; or, marked by the first bit, a signed number of as many bits as there are."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field) & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    text = field.partition(b"\0")[0].strip()
    return int(text, 8) if text else 0


def _size(record: bytes | None, field: bytes) -> int:
    size = _integer(record, field)
    if size < 0:
        raise ValueError("a negative size")
    return size


def _integer(record: bytes | None, field: bytes) -> int:
    """A pax record (decimal, its fraction dropped) before the header's own field."""
    if not record:
        return _number(field)
    whole, _, fraction = record.partition(b".")
    value = int(whole)
    return value - 1 if whole.startswith(b"-") and fraction.strip(b"0") else value


def _records(extension: bytes) -> Records:
    """What a pax header says: `LENGTH KEY=VALUE\\n` again and again, LENGTH being that of the whole record."""
    found = []
    position = 0
    while position < len(extension):
        space = extension.index(b" ", position, position + 20)
        end = position + int(extension[position:space])
        if not space < end <= len(extension) or extension[end - 1] != 0x0A:
            raise ValueError("a broken pax header")
        key, equals, value = extension[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise ValueError("a broken pax header")
        found.append((key, value))
        position = end
    return found


def _xattrs(records: Records) -> Attributes:
    # GNU tar writes the two characters so that mean something in a record.
    found = {
        _decoded(key.removeprefix(XATTR).replace(b"%3D", b"=").replace(b"%25", b"%")): value
        for key, value in records
        if key.startswith(XATTR)
    }
    return tuple(sorted(found.items()))
