"""The files of an image that is kept in a directory or in a tar, by name; their contents checked before use.

For containers of blobs (image layouts, `docker save`), whose members are few and plain: nothing is extracted by its
own name, so no name in a tar can lead anywhere. What is inside a layer is not looked at.
"""

import hashlib
import json
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sandboxfile.errors import BuildError
from sandboxfile.images.layers import tar_reader, tars
from sandboxfile.images.layers.tar_reader import Contents, Member

MEMBERS = 20_000
BYTES = 256 << 30  # of all members together; a disk is full before
JSON_BYTES = 8 << 20  # registries take manifests of up to 4 MiB
LINKS = 8
CHUNK = 1 << 20

type Cancelled = Callable[[], None]  # raises when nobody waits for the result any more


def never() -> None:
    """A `Cancelled` that does not."""


@dataclass(frozen=True, slots=True)
class Members:
    """Files by name: those below `root`, or those taken out of a tar. `origin` is what messages call it."""

    origin: str
    root: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Path | None:
        """The regular file of this name, or None. Links of a tar are followed inside it; those of a directory never."""
        if self.root is not None:
            path = self.root / name
            return path if _is_regular(path) else None
        for _ in range(LINKS):
            if name not in self.links:
                break
            name = self.links[name]
        return self.files.get(name)

    def get(self, name: str) -> Path:
        """The same, raising BuildError where there is none."""
        if found := self.find(name):
            return found
        raise BuildError(f"{self.origin} is not whole: it has no {name}")

    def json(self, name: str, *, digest: str = "", size: int | None = None) -> Any:
        """What the JSON file says; with `digest` only if it has that one. Raises BuildError."""
        path = self.get(name)
        with path.open("rb") as stream:
            data = stream.read(JSON_BYTES + 1)
        if len(data) > JSON_BYTES:
            raise BuildError(f"{self.origin}: {name} is larger than {JSON_BYTES >> 20} MiB")
        if digest and (f"sha256:{hashlib.sha256(data).hexdigest()}" != digest or size not in (None, len(data))):
            raise BuildError(f"{self.origin} is damaged: {name} is not what its digest says")
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise BuildError(f"{self.origin}: {name} is not JSON that can be read") from exc


def open_directory(root: Path) -> Members:
    """Its files, read in place: for directories that nobody else can change."""
    return Members(str(root), root)


def open_tar(tar: Path, work: Path, *, cancelled: Cancelled = never) -> Members:
    """Its files, copied into the directory `work`, which is made. Raises BuildError, also for what no image holds."""
    with tars.opened(tar) as stream:
        listed = list(_bounded(tar_reader.members(stream, str(tar)), tar, cancelled))
    found = Members(str(tar))
    work.mkdir()
    with tars.opened(tar) as stream:
        contents = tar_reader.Contents(stream, str(tar))
        for number, member in enumerate(listed):
            _take(found, contents, member, work / str(number), cancelled)
    return found


def _bounded(listed: Iterable[Member], tar: Path, cancelled: Cancelled) -> Iterator[Member]:
    left = BYTES
    for number, member in enumerate(listed):
        cancelled()
        left -= member.size
        if number >= MEMBERS or left < 0:
            raise BuildError(f"{tar} holds more than an image may")
        yield member


def plain_name(name: str) -> str:
    """The name of a member without a leading slash or dot; one that climbs out keeps its dots, and nothing finds it."""
    return posixpath.normpath(name).lstrip("/")


def _take(found: Members, contents: Contents, member: Member, path: Path, cancelled: Cancelled) -> None:
    """Take in one member. Of several with one name the last counts, as everywhere with tars."""
    name = plain_name(member.name)
    found.files.pop(name, None)
    found.links.pop(name, None)
    if member.kind == "file" and member.segments is None:
        with path.open("xb") as target:
            for piece in contents.pieces(member.offset, member.size):
                cancelled()
                target.write(piece)
        found.files[name] = path
    elif member.kind == "hardlink":
        found.links[name] = plain_name(member.link)
    elif member.kind == "symlink":
        found.links[name] = plain_name(posixpath.join(posixpath.dirname(name), member.link))
    elif member.kind != "directory":
        raise BuildError(f"{found.origin} holds something that no image does: {shown(member.name)}")


def copy(source: IO[bytes], target: IO[bytes] | None, *, cancelled: Cancelled = never) -> tuple[str, int]:
    """Copy to the end (only read when `target` is None). Gives `sha256:…` and the number of bytes."""
    digest = hashlib.sha256()
    size = 0
    while chunk := source.read(CHUNK):
        cancelled()
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return f"sha256:{digest.hexdigest()}", size


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def as_object(value: object, origin: str) -> Mapping[str, Any]:
    """A JSON object, or BuildError: `origin` is damaged."""
    if not isinstance(value, Mapping):
        raise BuildError(f"{origin} is damaged: it has something else where its description should be")
    return value


def as_list(value: object) -> list[Any]:
    """A JSON array; anything else counts as an empty one."""
    return value if isinstance(value, list) else []


def shown(value: object) -> str:
    """Something of a stranger's in a message of ours: short, and with nothing that a terminal obeys."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])
