"""The files of a project as they were at a revision of the git repository that they are in: read, never checked out.

Git is asked for objects alone, by plumbing, and whatever the repository's configuration says, nothing runs: no hook,
filter, helper or monitor, and nothing is fetched. Symlinks of the tree are followed inside it and nowhere else.

What an object holds is checked against its id. So the full id of a commit stands for its files, whoever may write to
the repository; names of branches and tags, and short ids, are worth what the repository is.

A file that the revision does not have is missing, also when the disk has one, and git ignores it: whoever may write
there could hide what he changed by making it the same on both sides. A directory of the disk counts as there, as
workspaces need not be checked in; nothing of it is read, and it is where the revision has it: a link that stands there
now does not stand for what was there then.
"""

import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

from sandboxfile.errors import HostError, NotFoundError, SandboxfileError
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.files import ENOUGH, read_file
from sandboxfile.host.git_clone import git_environment
from sandboxfile.host.git_entries import object_hash
from sandboxfile.host.inputs import look
from sandboxfile.host.layout import Layout
from sandboxfile.host.template_sources import (
    CONTEXT_DEPTH,
    CONTEXT_ENTRIES,
    CONTEXT_LIMIT,
    PLACED_FILE_LIMIT,
    context_digest,
    source_facts,
)
from sandboxfile.language.document import FILE_LIMIT
from sandboxfile.resolve.inputs import PathFact, Source, SourceFact

_PATIENCE = 60.0  # seconds, for one short question
_LINK_LIMIT = 40  # as the kernel's
_TREE_LIMIT = 64 << 20  # bytes of one directory
_LINE_LIMIT = 256  # bytes: of the line of a commit that names its tree
_CHUNK = 1 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SETTINGS = (
    *("protocol.allow=never", "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.alternateRefsCommand=false"),
    *("core.attributesFile=/dev/null", "submodule.recurse=false", "gc.auto=0", "maintenance.auto=false"),
)
_DIRECTORY, _FILE, _PROGRAM, _LINK = "40000", "100644", "100755", "120000"


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    id: str


@dataclass(slots=True)
class GitTree:
    """Answers as the disk does, for paths below `top`; all other paths are those of the disk. Made by `git_tree`."""

    top: str
    commit: str
    _questions: IO[bytes]
    _answers: IO[bytes]
    _directories: dict[str, Mapping[str, _Entry]] = field(default_factory=dict)

    def read(self, path: Path) -> bytes:
        """The beginning of a file, as `host.files.read_file` gives it. Raises NotFoundError and HostError."""
        place, entry = self._find(os.path.abspath(path))  # noqa: PTH100 - links are ours to follow
        if self._relative(place) is None:
            return read_file(path)
        if entry is None:
            raise NotFoundError(f"there is no file {path}")
        if not _is_file(entry):
            raise HostError(f"cannot read {path}: it is not a regular file")
        return b"".join(self._content(entry.id, ENOUGH))

    def exists(self, path: Path) -> bool:
        """Whether something is there, be it a link to nowhere."""
        place, entry = self._find(os.path.abspath(path), last=False)  # noqa: PTH100
        return entry is not None if self._relative(place) is not None else os.path.lexists(path)

    def look(self, path: str, *, read: bool = False) -> PathFact:
        """What stands at an absolute path. Never raises."""
        links: list[str] = []
        try:
            place, entry = self._find(path, links)
            if self._relative(place) is None:
                return look(path, read=read)
            if entry is None:
                there = os.path.isdir(place)  # noqa: PTH112 - a link of now is followed for this, and told by nobody
                return PathFact("directory" if there else "missing", place, tuple(links))
            if entry.mode == _DIRECTORY or not _is_file(entry):
                return PathFact("directory", place, tuple(links))
            content = b"".join(self._content(entry.id, ENOUGH)) if read else None
        except (HostError, NotFoundError) as exc:
            return PathFact("missing", path, problem=exc.message)
        if content is not None and len(content) > FILE_LIMIT:
            return PathFact("file", place, tuple(links), problem=f"it is longer than {FILE_LIMIT >> 10} KiB")
        return PathFact("file", place, tuple(links), content)

    def facts(
        self, sources: Iterable[Source], paths: Mapping[str, PathFact], layout: Layout
    ) -> Mapping[Source, SourceFact]:
        """What templates are made from, with the digests that the same things have on the disk."""
        found: dict[Source, SourceFact] = {}
        for source in sources:
            try:
                place, entry = self._find(source.name) if source.is_path else ("", None)
                if self._relative(place) is None:
                    found.update(source_facts([source], paths, layout))
                    continue
                found[source] = SourceFact(self._digest(source, entry, layout))
            except (HostError, NotFoundError) as exc:
                found[source] = SourceFact(problem=exc.message, hint=exc.hint)
        return MappingProxyType(found)

    # --- paths

    def _find(self, path: str, links: list[str] | None = None, *, last: bool = True) -> tuple[str, _Entry | None]:
        """Where a path leads, and what the tree has there. `last`: the last part too is followed, if it is a link.

        Raises HostError for a link of the tree that leads out of it, or in circles.
        """
        current, followed, inside_only = "/", 0, False
        pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        while pending:
            part = pending.pop()
            step = os.path.dirname(current) if part == ".." else os.path.join(current, part)  # noqa: PTH118, PTH120
            inside = self._relative(step)
            if inside is None and inside_only:
                raise HostError(f"{path} leads out of the repository, through a symlink in it")
            target = self._target(step, inside) if part != ".." and (last or pending) else ""
            if not target:
                current = step
                continue
            followed += 1
            if followed > _LINK_LIMIT:
                raise HostError(f"{path} leads through too many symlinks")
            inside_only = inside_only or inside is not None
            if links is not None:
                links.append(step)
            if target.startswith("/"):
                current = "/"
            pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        inside = self._relative(current)
        return current, (self._entry(inside) if inside else None)

    def _target(self, step: str, inside: str | None) -> str:
        """Where a link leads; empty for everything else."""
        if inside is None:
            return os.readlink(step) if os.path.islink(step) else ""  # noqa: PTH114, PTH115
        entry = self._entry(inside) if inside else None
        return os.fsdecode(b"".join(self._content(entry.id, 4096))) if entry and entry.mode == _LINK else ""

    def _relative(self, path: str) -> str | None:
        """The path from the top; empty for the top, None for what is not below it."""
        if path == self.top:
            return ""
        return path[len(self.top) + 1 :] if path.startswith(f"{self.top}/") else None

    # --- objects

    def _entry(self, inside: str) -> _Entry | None:
        head, _, name = inside.rpartition("/")
        if not head:
            return self._directory(self.commit).get(name)
        above = self._entry(head)
        return self._directory(above.id).get(name) if above is not None and above.mode == _DIRECTORY else None

    def _directory(self, id: str) -> Mapping[str, _Entry]:
        if id not in self._directories:
            data = b"".join(self._content(self._root() if id == self.commit else id, _TREE_LIMIT, "tree"))
            self._directories[id] = MappingProxyType(dict(_entries(data, len(self.commit) // 2)))
        return self._directories[id]

    def _root(self) -> str:
        """The id of the commit's tree."""
        line = b"".join(self._content(self.commit, _LINE_LIMIT, "commit")).partition(b"\n")[0]
        word, _, id = line.decode("ascii", "replace").partition(" ")
        if word != "tree" or not _COMMIT.fullmatch(id):
            raise HostError(f"the commit {self.commit} has no tree")
        return id

    def _content(self, id: str, limit: int, kind: str = "blob") -> Iterator[bytes]:
        """The first `limit` bytes of an object; the rest is read and left. To be used up, and not used before that.

        Raises HostError, at the end also when it is not what its id says.
        """
        try:
            self._questions.write(f"{id}\n".encode())
            self._questions.flush()
        except OSError as exc:
            raise HostError("git ended while it was asked for objects") from exc
        header = self._answers.readline().split()
        if len(header) != 3 or not header[2].isdigit():
            raise HostError(f"the repository at {self.top} does not have all of its objects ({id})")
        left = int(header[2]) + 1
        digest = object_hash(kind, left - 1, len(id))
        while left:
            chunk = self._answers.read(min(_CHUNK, left))
            if not chunk:
                raise HostError("git ended while it was asked for objects")
            left -= len(chunk)
            told = chunk if left else chunk[:-1]
            digest.update(told)
            if limit > 0:
                yield told[:limit]
            limit -= len(told)
        if digest.hexdigest() != id:
            raise HostError(f"the repository at {self.top} has a forged object: {id} is not the {kind} of that name")

    def _digest(self, source: Source, entry: _Entry | None, layout: Layout) -> str:
        if entry is None:
            what = "directory" if source.kind == "context" else "file"
            raise NotFoundError(f"there is no such {what}", hint="the revision does not have it")
        if source.kind == "context":
            return self._context(source, entry, layout)
        if not _is_file(entry):
            raise HostError("it is not a regular file")
        state, size = hashlib.sha256(), 0
        for chunk in self._content(entry.id, CONTEXT_LIMIT):
            state.update(chunk)
            size += len(chunk)
        if source.kind == "file" and size > PLACED_FILE_LIMIT:
            raise HostError(f"it is larger than {PLACED_FILE_LIMIT >> 20} MiB")
        return f"sha256:{state.hexdigest()}"

    def _context(self, source: Source, entry: _Entry, layout: Layout) -> str:
        """What the tree has of a build context is written into a directory of our own, and looked at like any other."""
        if entry.mode != _DIRECTORY:
            raise HostError("it is not a directory")
        with tempfile.TemporaryDirectory(prefix="sbx-") as name, FileDigests(layout.file_digests) as digests:
            self._write(entry.id, Path(name), [0, 0], 0)
            return context_digest(Path(name), source.dockerfile, digests)

    def _write(self, id: str, directory: Path, used: list[int], depth: int) -> None:
        """`used`: how many entries and bytes there are already."""
        if depth > CONTEXT_DEPTH:
            raise HostError(f"it has directories nested more than {CONTEXT_DEPTH} deep")
        for name, entry in self._directory(id).items():
            used[0] += 1
            if used[0] > CONTEXT_ENTRIES or used[1] > CONTEXT_LIMIT:
                raise HostError("it holds more than a build context may")
            path = directory / name
            if entry.mode == _DIRECTORY:
                path.mkdir()
                self._write(entry.id, path, used, depth + 1)
            elif entry.mode == _LINK:
                path.symlink_to(os.fsdecode(b"".join(self._content(entry.id, 4096))))
            elif _is_file(entry):
                with path.open("xb") as file:
                    used[1] += sum(file.write(chunk) for chunk in self._content(entry.id, CONTEXT_LIMIT))
                path.chmod(0o755 if entry.mode == _PROGRAM else 0o644)
            else:  # a submodule: where it would be is an empty directory
                path.mkdir()


def _is_file(entry: _Entry) -> bool:
    return entry.mode.startswith("100")


def _entries(data: bytes, width: int) -> Iterator[tuple[str, _Entry]]:
    """What a tree object holds: `MODE NAME`, a zero byte, the id in `width` bytes, again and again."""
    position = 0
    while position < len(data):
        end = data.find(b"\0", position)
        if end < 0 or end + width >= len(data):
            raise HostError("a directory of the repository is larger than any should be, or not whole")
        mode, _, name = data[position:end].partition(b" ")
        position = end + 1 + width
        text = os.fsdecode(name)
        if text in ("", ".", "..") or "/" in text or text.lower() == ".git":
            raise HostError(f"a directory of the repository has an entry that no directory has: {text!r}")
        yield text, _Entry(mode.decode("ascii", "replace"), data[end + 1 : position].hex())


# --- asking git --------------------------------------------------------------------------------------------------


@contextmanager
def git_tree(file: Path, revision: str) -> Iterator[GitTree]:
    """The tree of the revision, of the repository that a file (there or not) is in.

    Raises SandboxfileError when it is in none, or has no such revision.
    """
    top = _top(os.path.realpath(file.parent))
    commit = _commit(top, revision)
    argv = _argv(top, "cat-file", "--batch")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, env=_environment(), cwd=top, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield GitTree(top, commit, process.stdin, process.stdout)
        finally:
            process.kill()


def _top(directory: str) -> str:
    """Found by ourselves: the repository's configuration might say another."""
    for place in (Path(directory), *Path(directory).parents):
        if os.path.lexists(place / ".git"):
            return str(place)
    raise SandboxfileError(f"{directory} is in no git repository", hint="name a file to compare with instead")


def _commit(top: str, revision: str) -> str:
    if not revision or not revision.isprintable():
        raise SandboxfileError(f"{revision!r} is no revision", hint="git:REV, e.g. git:main or git:HEAD~1")
    try:
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        found = _ask(top, *words).decode(errors="replace").strip()
    except HostError as exc:
        raise SandboxfileError(
            f"the repository at {top} has no revision {revision}", hint="fetch it first, or correct its name"
        ) from exc
    if not _COMMIT.fullmatch(found):
        raise SandboxfileError(f"the repository at {top} has no revision {revision}")
    if _COMMIT.fullmatch(revision.lower()) and found != revision.lower():  # what leads from it to there is not checked
        raise SandboxfileError(
            f"{revision} is not the id of a commit", hint="git rev-parse REV^{commit}, where you trust it"
        )
    return found


def _environment() -> dict[str, str]:
    return git_environment(os.environ) | {"GIT_ALLOW_PROTOCOL": "none"}


def _argv(top: str, *words: str) -> list[str]:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    where = [f"--git-dir={top}/.git", f"--work-tree={top}"]
    return ["setpriv", "--pdeathsig", "KILL", "--", "git", "--no-pager", *settings, *where, *words]


def _ask(top: str, *words: str) -> bytes:
    argv = _argv(top, *words)
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": _PATIENCE, "check": False}
    try:
        done = subprocess.run(argv, env=_environment(), cwd=top, start_new_session=True, **options)  # type: ignore[call-overload]
    except FileNotFoundError as exc:
        raise HostError("the program git is not installed", hint="run `sbx doctor`") from exc
    except subprocess.TimeoutExpired as exc:
        raise HostError(f"git {words[0]} takes longer than {_PATIENCE:g} s", command=argv) from exc
    if done.returncode != 0:
        raise HostError(f"git {words[0]} failed", command=argv, output=done.stderr.decode(errors="replace"))
    return bytes(done.stdout)
