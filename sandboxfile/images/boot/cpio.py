"""Writes the cpio archive (`newc`) that the kernel unpacks as its initramfs. Equal entries give equal bytes."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_ALIGN = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """`path` is relative. `mode` holds type and permissions; `data` is the content, or a link's target."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, data: bytes, *, executable: bool = False) -> Entry:
    return Entry(path, stat.S_IFREG | (0o755 if executable else 0o644), data)


def link(path: str, target: str) -> Entry:
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int) -> Entry:
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The whole archive, sorted by path (parents first), owned by root, without times."""
    parts = [_member(number, entry) for number, entry in enumerate(sorted(entries, key=lambda entry: entry.path), 1)]
    return b"".join([*parts, _member(0, Entry("TRAILER!!!", 0))])


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGN)
