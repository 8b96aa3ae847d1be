"""Looks through a workspace for what programs of the host act on, however hostile the tree is.

A guest may have written all of it, and may change it meanwhile: no link is followed (every step goes through the open
directory before it), nothing but regular files is read, and depth, entries, bytes and findings are bounded. What is
left out for that is said. Blocking; seconds at most.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sandboxfile.host.review_rules import (
    DIRECTORIES,
    SKIPPED,
    Kind,
    git_settings,
    hooks_path,
    kind_of,
    kind_of_tree,
    parts_of,
)

ENTRIES = 400_000  # names that are looked at
DEPTH = 60  # directories open at once
FOUND = 10_000
_OMISSIONS, _HOOK_PLACES = 100, 100
_FILE_BYTES = 1 << 20  # of a longer file the beginning, its length and its time are compared
_ALL_BYTES = 256 << 20

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Item:
    """`digest` of one part of a file."""

    kind: Kind
    digest: str


@dataclass(slots=True)
class Seen:
    """What acts, by path (relative to the workspace) and part. `omitted`: what was not looked at, and why."""

    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    omitted: dict[str, str] = field(default_factory=dict)


def look_through(root: str) -> Seen:
    """Everything in a workspace that acts. An absent or unreadable one has nothing."""
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the owner's own path may have links
    except OSError:
        return Seen()
    try:
        walk = _Walk(root, top)
        walk.directory(top, "")
        walk.hooks()
        return walk.seen
    finally:
        os.close(top)


class _Walk:
    """One look. Paths are relative to the workspace, `` for itself."""

    def __init__(self, root: str, top: int) -> None:
        self.seen = Seen()
        self._root = root
        self._top = top
        self._hook_places: dict[str, None] = {}  # where git settings say that hooks are, in the workspace
        self._entries = 0
        self._bytes = 0

    def directory(self, handle: int, path: str, depth: int = 0, tree: Kind | None = None) -> None:
        """Look through an open directory. `tree`: all its files are of this kind."""
        entries = self._list(handle, path)
        parent = posixpath.basename(path)
        if parent == ".git" or _is_repository({entry.name for entry in entries}):
            self._repository(handle, path)
            if parent == ".git":
                return
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if name not in SKIPPED:
                    self._descend(handle, name, path, depth, tree or kind_of_tree(parent, name))
            elif name in DIRECTORIES:
                self._stands_for_a_directory(handle, name, _join(path, name))
            elif kind := tree or kind_of(parent, name):
                self._file(handle, name, _join(path, name), kind)

    def hooks(self) -> None:
        """All files of the directories that git was told to take hooks from."""
        for path in self._hook_places:
            with _opened_below(self._top, path) as handle:
                if handle is not None:
                    self._files(handle, path, "git hook")

    # --- one directory -------------------------------------------------------------------------------------------

    def _list(self, handle: int, path: str) -> list["os.DirEntry[str]"]:
        """The entries by name: those beginning with a dot, which matter most, are the first."""
        found = []
        try:
            with os.scandir(handle) as entries:
                for entry in entries:
                    self._entries += 1
                    if self._entries > ENTRIES:
                        self._omit(path, f"there are more than {ENTRIES} files")
                        break
                    found.append(entry)
        except OSError:
            return []
        return sorted(found, key=lambda entry: (not entry.name.startswith("."), entry.name))

    def _descend(self, handle: int, name: str, path: str, depth: int, tree: Kind | None) -> None:
        below = _join(path, name)
        if depth >= DEPTH:
            self._omit(below, f"it is deeper than {DEPTH} directories")
            return
        if self._entries > ENTRIES:
            return
        with _opened(handle, name, _DIRECTORY) as inner:
            if inner is not None:
                self.directory(inner, below, depth + 1, tree)

    def _stands_for_a_directory(self, handle: int, name: str, path: str) -> None:
        """`.git` as a file of a worktree or submodule; a link in the place of one of the directories that matter."""
        link = _target(handle, name)
        if link is not None:
            self._add(path, "", "link", link)
        elif name == ".git":
            self._file(handle, name, path, "git link")

    def _omit(self, path: str, why: str) -> None:
        if len(self.seen.omitted) < _OMISSIONS:
            self.seen.omitted.setdefault(path, why)

    # --- git -----------------------------------------------------------------------------------------------------

    def _repository(self, handle: int, path: str, depth: int = 0) -> None:
        """Hooks and settings of a git directory, and of the submodules and worktrees in it."""
        for name in ("config", "config.worktree"):
            self._git_settings(handle, name, path)
        self._file(handle, "commondir", _join(path, "commondir"), "git link")
        with _opened(handle, "hooks", _DIRECTORY) as hooks:
            if hooks is not None:
                self._files(hooks, _join(path, "hooks"), "git hook")
            elif (link := _target(handle, "hooks")) is not None:
                self._add(_join(path, "hooks"), "", "link", link)
        for name in ("modules", "worktrees"):
            with _opened(handle, name, _DIRECTORY) as inner:
                if inner is not None:
                    self._repositories(inner, _join(path, name), depth + 1)

    def _repositories(self, handle: int, path: str, depth: int) -> None:
        """Git directories below one, at whatever depth their names put them."""
        if depth >= DEPTH:
            self._omit(path, f"it is deeper than {DEPTH} directories")
            return
        names = [entry.name for entry in self._list(handle, path) if entry.is_dir(follow_symlinks=False)]
        for name in names:
            with _opened(handle, name, _DIRECTORY) as inner:
                if inner is None:
                    continue
                if _status(inner, "HEAD") is not None:
                    self._repository(inner, _join(path, name), depth + 1)
                else:
                    self._repositories(inner, _join(path, name), depth + 1)

    def _git_settings(self, handle: int, name: str, path: str) -> None:
        found = self._file(handle, name, _join(path, name), "git setting")
        where = hooks_path(git_settings(found)) if found else None
        if where is None:
            return
        # Relative to where hooks run: the work tree, which for a repository with a name is the directory above it.
        start = posixpath.dirname(path) if posixpath.basename(path) == ".git" else path
        inside = self._inside(posixpath.normpath(posixpath.join(self._root, start, where)))
        if inside is not None and len(self._hook_places) < _HOOK_PLACES:
            self._hook_places[inside] = None

    def _files(self, handle: int, path: str, kind: Kind) -> None:
        for entry in self._list(handle, path):
            if not entry.is_dir(follow_symlinks=False) and not entry.name.endswith(".sample"):
                self._file(handle, entry.name, f"{path}/{entry.name}", kind)

    # --- one file ------------------------------------------------------------------------------------------------

    def _file(self, handle: int, name: str, path: str, kind: Kind) -> bytes:
        """Note what acts of a file; gives its content, as far as it was read."""
        link = _target(handle, name)
        if link is not None:
            self._add(path, "", kind, b"-> " + link + b"\n" + self._behind(path, link))
            return b""
        with _opened(handle, name, _FILE) as file:
            if file is None:
                if status := _status(handle, name):
                    self._add(path, "", kind, b"unreadable " + _stamp(status))
                return b""
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return b""
            content = self._read(file)
        runs = b"x" if status.st_mode & 0o111 else b"-"
        if status.st_size > len(content):
            self._add(path, "", kind, runs + _stamp(status) + content)
            return b""
        for part, text in parts_of(kind, name, content).items():
            self._add(path, part, kind, runs + text if not part else text)
        return content

    def _behind(self, path: str, link: bytes) -> bytes:
        """The content of a link's target, when that is a file of this workspace and the way to it has no more links."""
        full = posixpath.normpath(posixpath.join(self._root, posixpath.dirname(path), os.fsdecode(link)))
        if (inside := self._inside(full)) is None:
            return b""
        directory, name = posixpath.split(inside)
        with _opened_below(self._top, directory) as handle:
            if handle is None:
                return b""
            with _opened(handle, name, _FILE) as file:
                return b"" if file is None or not stat.S_ISREG(os.fstat(file).st_mode) else self._read(file)

    def _inside(self, full: str) -> str | None:
        """A normalised absolute path as relative to the workspace; None when it is elsewhere."""
        root = self._root.rstrip("/") + "/"
        return full.removeprefix(root) if full.startswith(root) else None

    def _read(self, file: int) -> bytes:
        """The beginning of a file; nothing once all that may be read has been."""
        content = bytearray()
        limit = min(_FILE_BYTES, _ALL_BYTES - self._bytes)
        while len(content) < limit and (data := os.read(file, limit - len(content))):
            content += data
        self._bytes += len(content)
        return bytes(content)

    def _add(self, path: str, part: str, kind: Kind, content: bytes) -> None:
        if len(self.seen.items) < FOUND:
            self.seen.items[path, part] = Item(kind, hashlib.sha256(content).hexdigest())
        else:
            self._omit("", f"there are more than {FOUND} such files")


def _is_repository(names: set[str]) -> bool:
    """Whether git takes a directory for one of its own, or for what another one shares."""
    return {"objects", "refs"} <= names or {"HEAD", "commondir"} <= names


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


# --- system calls ------------------------------------------------------------------------------------------------


@contextmanager
def _opened(handle: int, name: str, flags: int) -> Iterator[int | None]:
    """An entry of an open directory, itself and no link's target; None when it cannot be had."""
    try:
        inner = os.open(name, flags, dir_fd=handle)
    except OSError:
        yield None
        return
    try:
        yield inner
    finally:
        os.close(inner)


@contextmanager
def _opened_below(top: int, path: str) -> Iterator[int | None]:
    """A directory below an open one, no link on the way."""
    handle: int | None = os.dup(top)
    try:
        for name in filter(None, path.split("/")):
            assert handle is not None
            with _opened(handle, name, _DIRECTORY) as inner:
                os.close(handle)
                handle = None if inner is None else os.dup(inner)
            if handle is None:
                break
        yield handle
    finally:
        if handle is not None:
            os.close(handle)


def _target(handle: int, name: str) -> bytes | None:
    """Where a link leads; None when it is none."""
    try:
        return os.fsencode(os.readlink(name, dir_fd=handle))
    except OSError:
        return None


def _status(handle: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=handle)
    except OSError:
        return None


def _stamp(status: os.stat_result) -> bytes:
    return b"%d %d " % (status.st_size, status.st_mtime_ns)
