"""Writes the headers of a tar: ustar, with a pax header where that cannot say it. Equal members give equal bytes. Pure.

What stands there GNU tar takes back byte for byte, names that are not UTF-8 and extended attributes included.
"""

from sandboxfile.images.layers.tree import Entry

BLOCK = 512
END = bytes(2 * BLOCK)
TYPES = {"file": b"0", "symlink": b"2", "directory": b"5", "fifo": b"6"}
HARD_LINK = b"1"
LARGEST_ID = 0o7777777
LARGEST_SIZE = LARGEST_TIME = 0o77777777777
LONGEST = 100


def header(entry: Entry) -> bytes:
    """What stands before the data of `entry`; an empty path is the root.

    A file with a link is a hard link to that path, without data of its own.
    """
    linked = entry.kind == "file" and entry.link != ""
    name = _encoded(f"./{entry.path}/" if entry.kind == "directory" else f"./{entry.path}") if entry.path else b"./"
    link = _encoded(f"./{entry.link}" if linked else entry.link)
    size = 0 if linked else entry.size
    records = b"".join(
        _record(key, value)
        for key, value, needed in (
            (b"path", name, len(name) > LONGEST),
            (b"linkpath", link, len(link) > LONGEST),
            (b"size", b"%d" % size, size > LARGEST_SIZE),
            (b"uid", b"%d" % entry.uid, entry.uid > LARGEST_ID),
            (b"gid", b"%d" % entry.gid, entry.gid > LARGEST_ID),
            (b"mtime", b"%d" % entry.mtime, entry.mtime > LARGEST_TIME),
        )
        if needed
    )
    if not linked:
        records += b"".join(_record(_attribute(key), value) for key, value in entry.xattrs)
    kind = HARD_LINK if linked else TYPES[entry.kind]
    before = (
        _block(b"././@PaxHeader", 0o644, 0, 0, len(records), 0, b"x", b"") + records + padding(len(records))
        if records
        else b""
    )
    return before + _block(name, entry.mode, entry.uid, entry.gid, size, entry.mtime, kind, link)


def padding(size: int) -> bytes:
    """The zeros that follow `size` bytes of data."""
    return bytes(-size % BLOCK)


def _block(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes, link: bytes) -> bytes:
    start = name[:LONGEST].ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        mode,
        uid if uid <= LARGEST_ID else 0,
        gid if gid <= LARGEST_ID else 0,
        size if size <= LARGEST_SIZE else 0,
        mtime if mtime <= LARGEST_TIME else 0,
    )
    rest = kind + link[:LONGEST].ljust(100, b"\0") + b"ustar\0" + b"00"
    checksum = sum(start) + sum(rest) + 8 * 0x20
    return (start + b"%06o\0 " % checksum + rest).ljust(BLOCK, b"\0")


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts its own digits too."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _attribute(name: str) -> bytes:
    return b"SCHILY.xattr." + _encoded(name).replace(b"%", b"%25").replace(b"=", b"%3D")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
