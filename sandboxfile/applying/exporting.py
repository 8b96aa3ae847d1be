"""What has changed in a running sandbox's root becomes a layer: listed inside, packed inside, cleaned here.

One `Exporter` follows one machine: what it exports next is what changed since it exported last. The tar that a guest
makes is not looked into; who merges it does that. Raises GuestError when the guest does not do its part.
"""

import io
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast

from anyio import to_thread

from sandboxfile.applying import inside
from sandboxfile.errors import GuestError
from sandboxfile.guest import cleaning
from sandboxfile.guest.changes import LIST_COMMAND, LISTING_LIMIT, Changes, Known, Listing, Stat, compare, parse
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.images.layers.tree import Tree

_TAR_LIMIT = 64 << 30  # bytes; the disk of a build machine is smaller
_TOOL = (
    "/run/sbx/lib64/ld-linux-x86-64.so.2", "--library-path", "/run/sbx/lib/x86_64-linux-gnu", "/run/sbx/usr/bin/tar",
)  # fmt: skip
_PACK = (
    *_TOOL, "--create", "--file=-", "--directory=/", "--format=pax", "--pax-option=delete=atime,delete=ctime",
    "--blocking-factor=1", "--null", "--no-recursion", "--numeric-owner", "--xattrs", "--xattrs-include=*",
    "--ignore-failed-read", "--warning=no-file-changed", "--files-from=-",
)  # fmt: skip
_UNPACK = (
    *_TOOL,
    "--extract",
    "--file=-",
    "--directory=/",
    "--numeric-owner",
    "--same-owner",
    "--preserve-permissions",
)
_CHANGED = 1  # tar's exit code when files changed or went while it read them
_END = bytes(1024)  # what ends a tar
_LAST = "-----END CERTIFICATE-----\n"
_REPORT_EVERY = 16 << 20  # bytes
Report = Callable[[str], None]


@dataclass
class Exporter:
    """`known` is what the root was like, `since` the time from which a change counts; both move on with each export.

    `digests` are those of the content of files that a boot writes into; `authority` are the certificates (PEM) that are
    the sandbox's own.
    """

    control: Path
    known: Known
    since: float
    authority: str
    digests: dict[str, str] = field(default_factory=dict)

    async def export(self, target: Path, report: Report) -> None:
        """Write a tar of what has changed to the new file `target`."""
        listing = await self._list()
        changes = compare(self.known, listing, self.since)
        packed = [path for path in changes.taken if path not in changes.cleaned]
        with target.open("xb") as file:
            await self._pack(packed, file, report)
            tail = await self._tail(changes, listing)
            await to_thread.run_sync(_append, file, tail)
        self.known, self.since = listing.stats, listing.taken_at

    async def put(self, tar: Path) -> None:
        """Unpack a tar of ours in the root."""
        with tar.open("rb") as file:
            ran = await inside.read(self.control, _UNPACK, lambda _: None, limit=1 << 16, stdin=file)
        if ran.code != 0:
            raise GuestError("files cannot be put into the sandbox", output=ran.tail)

    async def _list(self) -> Listing:
        data = bytearray()
        ran = await inside.read(self.control, LIST_COMMAND, data.extend, limit=LISTING_LIMIT)
        if ran.code != 0:
            raise GuestError("the sandbox's files cannot be listed", output=ran.tail)
        return await to_thread.run_sync(parse, bytes(data))

    async def _pack(self, paths: list[str], file: BinaryIO, report: Report) -> None:
        written = told = 0

        def take(data: bytes) -> None:
            nonlocal written, told
            file.write(data)
            written += len(data)
            if written - told >= _REPORT_EVERY:
                told = written
                report(f"taking out what changed: {written >> 20} MiB")

        with _names(paths) as names:
            ran = await inside.read(self.control, _PACK, take, limit=_TAR_LIMIT, stdin=names)
        if ran.code not in (0, _CHANGED):
            raise GuestError("what changed in the sandbox cannot be packed", output=ran.tail)

    async def _tail(self, changes: Changes, listing: Listing) -> bytes:
        """Members that come after the guest's: files without what a boot wrote into them, and marks of what is gone."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in changes.cleaned:
                content = cleaning.cleaned(path, await self._content(path), self.authority)
                if self._is_news(path, content):
                    tar.addfile(_member(path, listing.stats[path], len(content)), io.BytesIO(content))
            for path in changes.vanished:
                directory, _, name = path.rpartition("/")
                tar.addfile(tarfile.TarInfo(f"{directory}/.wh.{name}".lstrip("/")))
        return buffer.getvalue()

    def _is_news(self, path: str, content: bytes) -> bool:
        digest, before = sha256(content).hexdigest(), self.digests.get(path)
        if digest == before or (before is None and not content):
            return False
        self.digests[path] = digest
        return True

    async def _content(self, path: str) -> bytes:
        data = bytearray()
        command = ("/run/sbx/bin/busybox", "cat", f"/{path}")
        ran = await inside.read(self.control, command, data.extend, limit=cleaning.CLEANED_LIMIT)
        if ran.code != 0:
            raise GuestError(f"/{path} cannot be read in the sandbox", output=ran.tail)
        return bytes(data)


def certificates(*sandboxes: SandboxPaths) -> str:
    """The certificates of these sandboxes' own authorities, PEM; of one that never ran there is none."""
    texts = []
    for paths in sandboxes:
        with suppress(FileNotFoundError):
            text, end, _ = paths.authority.read_text().partition(_LAST)
            texts.append(text + end)  # what follows is the key
    return "".join(texts)


def known_of(tree: Tree) -> Known:
    """A root as the list of an image has it."""
    return {
        path: Stat(entry.kind, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime, _link(entry.kind, entry.link))
        for path, entry in tree.items()
    }


def digests_of(tree: Tree) -> dict[str, str]:
    """The digests of files that a boot writes into."""
    return {path: tree[path].digest for path in cleaning.CLEANED if path in tree}


def _link(kind: str, link: str) -> str:
    return link if kind == "symlink" else ""


def _names(paths: list[str]) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    for path in paths:
        file.write(f"./{path}".encode("utf-8", "surrogateescape") + b"\0")
    file.seek(0)
    return cast(BinaryIO, file)


def _member(path: str, stat: Stat, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mode, member.uid, member.gid, member.mtime, member.size = stat.mode, stat.uid, stat.gid, stat.modified, size
    return member


def _append(file: BinaryIO, tail: bytes) -> None:
    """Continue a guest's tar, in the place of its end."""
    file.flush()
    size = file.seek(0, 2)
    if size % 512 == 0 and size >= len(_END):
        with Path(f"/proc/self/fd/{file.fileno()}").open("rb") as reader:
            reader.seek(size - len(_END))
            if reader.read() == _END:
                file.seek(size - len(_END))
    file.write(tail)
    file.truncate()
