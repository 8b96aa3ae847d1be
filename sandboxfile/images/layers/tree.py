"""The list of everything in a root: paths, attributes, digests of content. Pure; what a root *is* for comparison.

Its canonical encoding is a text of one line an entry, sorted by path, and the SHA-256 of that is the content digest:
equal roots have equal digests, however many layers they came from and in whichever order a tar held them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import quote_from_bytes, unquote_to_bytes

Kind = Literal["file", "directory", "symlink", "fifo"]
Attributes = tuple[tuple[str, bytes], ...]  # extended attributes: name and value, sorted

KINDS: tuple[Kind, ...] = ("file", "directory", "symlink", "fifo")
FORMAT = b"sandboxfile tree 1\n"
NOTHING = "-"
FIELDS = 10
# Besides letters and digits, what stands for itself in a path: printable ASCII but space and %.
PLAIN = "!\"#$&'()*+,/:;<>?@[\\]^`{|}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a root. `path` has no leading slash; bytes that are not UTF-8 are surrogates, as in `os.fsdecode`.

    `mode` are the permission bits (07777), `mtime` whole seconds, `size` and `digest` (SHA-256, hexadecimal) those of a
    file's content. `link` is a symlink's target; of a file that is also known by names that sort before this one, the
    first of those names (a hard link: all else is the same there).
    """

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    digest: str = ""
    link: str = ""
    xattrs: Attributes = ()


type Tree = Mapping[str, Entry]  # by path; the root directory itself is not in it


def encode(tree: Tree) -> bytes:
    """The canonical text."""
    return FORMAT + b"".join(_line(tree[path]) for path in sorted(tree))


def decode(data: bytes) -> dict[str, Entry]:
    """The tree that `encode` wrote. Raises ValueError for anything else."""
    if not data.startswith(FORMAT) or not data.endswith(b"\n"):
        raise ValueError("not a list of a root, or of another version")
    entries = [_entry(line) for line in data[len(FORMAT) :].decode("ascii").split("\n")[:-1]]
    return {entry.path: entry for entry in entries}


def content_digest(tree: Tree) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return digest_of(encode(tree))


def digest_of(encoded: bytes) -> str:
    """The content digest of a tree that is encoded already."""
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def differences(
    first: Tree, second: Tree, *, names: tuple[str, str] = ("the first", "the second")
) -> list[tuple[str, str]]:
    """What to tell people of two roots: sorted pairs of a path and what differs there, such as `content, mode`.

    `names` say where alone a path is: `only in the locked one`.
    """
    found = []
    for path in sorted(first.keys() | second.keys()):
        one, other = first.get(path), second.get(path)
        if one is None or other is None:
            found.append((path, f"only in {names[other is not None]}"))
        elif one != other:
            found.append((path, ", ".join(_differing(one, other))))
    return found


def _differing(one: Entry, other: Entry) -> Iterator[str]:
    if one.kind != other.kind:
        yield f"{one.kind} or {other.kind}"
        return
    pairs = (
        ("content", (one.size, one.digest), (other.size, other.digest)),
        ("link", one.link, other.link),
        ("mode", one.mode, other.mode),
        ("owner", (one.uid, one.gid), (other.uid, other.gid)),
        ("time", one.mtime, other.mtime),
        ("extended attributes", one.xattrs, other.xattrs),
    )
    yield from (what for what, mine, theirs in pairs if mine != theirs)


def _line(entry: Entry) -> bytes:
    xattrs = ",".join(f"{_quoted_all(_bytes(name))}={_quoted_all(value)}" for name, value in entry.xattrs) or NOTHING
    return (
        f"{entry.kind} {entry.mode:04o} {entry.uid} {entry.gid} {entry.mtime} {entry.size} {entry.digest or NOTHING} "
        f"{_quoted(entry.path)} {_quoted(entry.link)} {xattrs}\n"
    ).encode("ascii")


def _entry(line: str) -> Entry:
    fields = line.split(" ")
    if len(fields) != FIELDS or fields[0] not in KINDS:
        raise ValueError(f"not an entry of a root: {line[:100]!r}")
    kind, mode, uid, gid, mtime, size, digest, path, link, xattrs = fields
    return Entry(
        path=_unquoted(path), kind=cast(Kind, kind), mode=int(mode, 8), uid=int(uid), gid=int(gid), mtime=int(mtime),
        size=int(size), digest="" if digest == NOTHING else digest, link=_unquoted(link), xattrs=_attributes(xattrs),
    )  # fmt: skip


def _attributes(text: str) -> Attributes:
    if text == NOTHING:
        return ()
    pairs = [pair.split("=", 1) for pair in text.split(",")]
    return tuple((_text(unquote_to_bytes(name)), unquote_to_bytes(value)) for name, value in pairs)


def _quoted(text: str) -> str:
    if not text:
        return NOTHING
    quoted = quote_from_bytes(_bytes(text), PLAIN)
    return quoted if quoted != NOTHING else "%2D"


def _quoted_all(value: bytes) -> str:
    return quote_from_bytes(value, "")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _unquoted(text: str) -> str:
    return "" if text == NOTHING else _text(unquote_to_bytes(text))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
