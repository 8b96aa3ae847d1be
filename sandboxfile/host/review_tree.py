"""Looks through a workspace for what programs of the host act on, however hostile the tree is.

A guest may have written all of it, and may change it meanwhile: no link is followed (every step goes through the open
directory before it), nothing but regular files is read, and depth, entries, bytes and findings are bounded. What is
left out for that is said. Blocking; seconds at most.

Of installed packages and virtual environments nothing is read: the kernel's times of all their files are compared, as
one. A link inside the workspace counts with what it leads to. So do files that git settings and Cargo.toml name, not
what these start in turn.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from sandboxfile.host.review_files import (
    DIRECTORY,
    FILE,
    Reader,
    Reading,
    inside,
    link_target,
    opened,
    opened_below,
    stamp,
    status_of,
)
from sandboxfile.host.review_parts import git_settings, named_by_manifest, named_by_settings, parts_of, work_trees
from sandboxfile.host.review_rules import DIRECTORIES, SKIPPED, Kind, kind_of, kind_of_sum, kind_of_tree

ENTRIES = 400_000  # names that are looked at
DEPTH = 60  # directories open at once
FOUND = 10_000
TRIED = 10_000  # names that settings may mean
SETTINGS_BYTES = 8 << 20  # of git settings are taken apart, which takes a second
_OMISSIONS, _INCLUDES = 100, 10
_TOO_MUCH = "it has more than this reads; changes of its size and times are still noticed"
_UNREADABLE = "it cannot be read"


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
    except OSError as exc:
        absent = isinstance(exc, FileNotFoundError | NotADirectoryError)
        return Seen(omitted={} if absent else {"": _UNREADABLE})
    try:
        walk = _Walk(root, top)
        walk.directory(top, "")
        return walk.seen
    finally:
        os.close(top)


class _Walk:
    """One look. Paths are relative to the workspace, `` for itself."""

    def __init__(self, root: str, top: int) -> None:
        self.seen = Seen()
        self._root = root
        self._top = top
        self._roots = (root, os.path.realpath(root))
        self._settings_bytes = 0
        self._tried = 0  # names that settings may mean
        self._named: set[str] = set()  # what settings may name, whether it is there or not
        self._reader = Reader()
        self._entries = 0

    def directory(self, handle: int, path: str, depth: int = 0, tree: Kind | None = None) -> None:
        """Look through an open directory. `tree`: all its files are of this kind."""
        entries = self._list(handle, path)
        parent, names = posixpath.basename(path), {entry.name for entry in entries}
        if parent == ".git" or _is_repository(names):
            self._repository(handle, path)
            if parent == ".git":
                return
        above = "venv" if "pyvenv.cfg" in names else parent  # a virtual environment, whatever it is called
        for entry in entries:
            name, below = entry.name, _join(path, entry.name)
            whole, every = kind_of_sum(above, name), tree or kind_of_tree(parent, name)
            if entry.is_dir(follow_symlinks=False):
                if whole:
                    self._sum_up(handle, name, below, whole)
                elif name not in SKIPPED:
                    self._descend(handle, name, below, depth, every)
            elif entry.is_symlink() and (whole or every or name in DIRECTORIES):
                self._link(handle, name, below, every or "link")
            elif name == ".git":
                self._file(handle, name, below, "git link")
            elif kind := tree or kind_of(parent, name):
                self._file(handle, name, below, kind)

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
            self._omit(path, _UNREADABLE)
        return sorted(found, key=lambda entry: (not entry.name.startswith("."), entry.name))

    def _descend(self, handle: int, name: str, path: str, depth: int, tree: Kind | None) -> None:
        if depth >= DEPTH:
            self._omit(path, f"it is deeper than {DEPTH} directories")
            return
        if self._entries > ENTRIES:
            return
        with opened(handle, name, DIRECTORY) as inner:
            if inner is not None:
                self.directory(inner, path, depth + 1, tree)
            else:
                self._omit(path, _UNREADABLE)  # programs may still open in it what they know the name of

    def _sum_up(self, handle: int, name: str, path: str, kind: Kind) -> None:
        with opened(handle, name, DIRECTORY) as inner:
            if inner is None:
                self._omit(path, _UNREADABLE)
            else:
                self._add(path, "", kind, self._said(path, self._reader.sum_up(inner)))

    def _said(self, path: str, reading: Reading) -> bytes:
        if not reading.complete:
            self._omit(path, _TOO_MUCH)
        return reading.mark

    def _omit(self, path: str, why: str) -> None:
        if len(self.seen.omitted) < _OMISSIONS:
            self.seen.omitted.setdefault(path, why)
        else:
            self.seen.omitted[""] = f"there are more than {_OMISSIONS} places that could not be looked at"

    # --- git -----------------------------------------------------------------------------------------------------

    def _repository(self, handle: int, path: str, depth: int = 0) -> None:
        """Hooks and settings of a git directory, and of the submodules and worktrees in it."""
        # Relative names are so to where git starts programs: the work tree, for `.git` the directory above it.
        tree = posixpath.dirname(path) if posixpath.basename(path) == ".git" else path
        bases = tuple(dict.fromkeys((tree, path, *self._work_trees(handle, path))))
        for name in ("config", "config.worktree"):
            self._git_settings(handle, name, path, bases)
        self._file(handle, "commondir", _join(path, "commondir"), "git link")
        with opened(handle, "info", DIRECTORY) as info:
            if info is not None:
                self._file(info, "attributes", _join(path, "info/attributes"), "git setting")
        hooks_path = _join(path, "hooks")
        if link_target(handle, "hooks") is not None:
            self._link(handle, "hooks", hooks_path, "link")
        with opened(handle, "hooks", DIRECTORY) as hooks:
            if hooks is not None:
                self._files(hooks, hooks_path, "git hook")
            elif (status := status_of(handle, "hooks")) and stat.S_ISDIR(status.st_mode):
                self._omit(hooks_path, _UNREADABLE)
        for name in ("modules", "worktrees"):
            with opened(handle, name, DIRECTORY) as inner:
                if inner is not None:
                    self._repositories(inner, _join(path, name), depth + 1)

    def _repositories(self, handle: int, path: str, depth: int) -> None:
        """Git directories below one, at whatever depth their names put them."""
        if depth >= DEPTH:
            self._omit(path, f"it is deeper than {DEPTH} directories")
            return
        names = [entry.name for entry in self._list(handle, path) if entry.is_dir(follow_symlinks=False)]
        for name in names:
            with opened(handle, name, DIRECTORY) as inner:
                if inner is None:
                    continue
                if status_of(inner, "HEAD") is not None:
                    self._repository(inner, _join(path, name), depth + 1)
                else:
                    self._repositories(inner, _join(path, name), depth + 1)

    def _work_trees(self, handle: int, path: str) -> Iterable[str]:
        """The further work trees of a repository, and that of a submodule: its settings hold there as well."""
        with opened_below(handle, "worktrees") as trees:
            for entry in self._list(trees, _join(path, "worktrees")) if trees is not None else ():
                yield posixpath.dirname(self._line(handle, f"worktrees/{entry.name}", "gitdir", path))
        with opened(handle, "config", FILE) as file:
            if file is not None and stat.S_ISREG(os.fstat(file).st_mode):
                for where in work_trees(self._reader.read(file).content or b""):
                    yield posixpath.join(path, where)

    def _line(self, handle: int, directory: str, name: str, path: str) -> str:
        """The path that a small file of git holds, relative to the workspace or absolute."""
        with opened_below(handle, directory) as inner:
            if inner is None:
                return ""
            with opened(inner, name, FILE) as file:
                if file is None or not stat.S_ISREG(os.fstat(file).st_mode):
                    return ""
                text = os.fsdecode((self._reader.read(file).content or b"")[:4096]).strip()
        return posixpath.join(path, directory, text)

    def _git_settings(self, handle: int, name: str, path: str, bases: Iterable[str], depth: int = 0) -> None:
        """One file of settings in the directory `path`, and what it names, from any of `bases`."""
        content = self._file(handle, name, _join(path, name), "git setting")
        for use, named in named_by_settings(git_settings(content)):
            if self._tried > TRIED:
                break
            for place in self._places(named, (path,) if use == "settings" else bases):
                above, last = posixpath.split(place)
                with opened_below(self._top, place if use == "hooks" else above) as inner:
                    if inner is None:
                        continue
                    if use == "hooks":
                        self._files(inner, place, "git hook")
                    elif use == "program":
                        self._file(inner, last, place, "git program")
                    elif depth < _INCLUDES:
                        self._git_settings(inner, last, above, bases, depth + 1)
                    else:
                        self._omit(place, f"it is included by more than {_INCLUDES} settings")

    def _places(self, named: str, bases: Iterable[str]) -> Iterable[str]:
        """Where in the workspace a named file may be, no links on the way; each is given once in a look."""
        named = os.path.expanduser(named)  # noqa: PTH111 - as git does it
        for base in bases:
            # With a variable in front that was left out, what is relative begins with a slash.
            for name in dict.fromkeys((named, named.lstrip("/"))):
                self._tried += 1
                if self._tried > TRIED:
                    self._omit("", f"settings may name more than {TRIED} files")
                    return
                place = inside(self._roots, posixpath.join(self._root, base, name))
                if place and place not in self._named:
                    self._named.add(place)
                    yield place

    def _files(self, handle: int, path: str, kind: Kind) -> None:
        for entry in self._list(handle, path):
            if not entry.is_dir(follow_symlinks=False) and not entry.name.endswith(".sample"):
                self._file(handle, entry.name, f"{path}/{entry.name}", kind)

    # --- one file ------------------------------------------------------------------------------------------------

    def _file(self, handle: int, name: str, path: str, kind: Kind) -> bytes:
        """Note what acts of a file; gives its content, if it is a regular one and not too long."""
        if link_target(handle, name) is not None:
            self._link(handle, name, path, kind)
            return b""
        with opened(handle, name, FILE) as file:
            if file is None:
                if status := status_of(handle, name):
                    self._add(path, "", kind, b"unreadable " + stamp(status))
                return b""
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return b""
            reading = self._reader.read(file)
        runs = b"x" if status.st_mode & 0o111 else b"-"
        if kind == "git setting":
            self._settings_bytes += status.st_size
        if reading.content is None or (kind == "git setting" and self._settings_bytes > SETTINGS_BYTES):
            self._add(path, "", kind, runs + self._said(path, reading))
            if kind == "git setting" and reading.complete:
                self._omit(path, "there is too much of git settings: what it names is not looked at")
            return b""
        for part, text in parts_of(kind, name, reading.content).items():
            self._add(path, part, kind, runs + text if not part else text)
        self._built_with(path, named_by_manifest(name, reading.content))
        return reading.content

    def _built_with(self, path: str, names: Iterable[str]) -> None:
        for place in [place for name in names for place in self._places(name, (posixpath.dirname(path),))]:
            with opened_below(self._top, posixpath.dirname(place)) as inner:
                if inner is not None:
                    self._file(inner, posixpath.basename(place), place, "build")

    def _link(self, handle: int, name: str, path: str, kind: Kind) -> None:
        if (link := link_target(handle, name)) is not None:
            self._add(path, "", kind, b"-> " + link + b"\n" + self._behind(path, link))

    def _behind(self, path: str, link: bytes) -> bytes:
        """What a link leads to, over others too, when that is in this workspace; a directory is summed up."""
        place = inside(self._roots, posixpath.join(self._root, posixpath.dirname(path), os.fsdecode(link)))
        if place is None:
            return b""
        directory, name = posixpath.split(place)
        with opened_below(self._top, directory) as handle:
            if handle is None:
                return b""
            with opened(handle, name or ".", FILE) as target:
                if target is None:
                    status = status_of(handle, name)
                    return b"unreadable " + stamp(status) if status else b""
                mode = os.fstat(target).st_mode
                if stat.S_ISDIR(mode):
                    return self._said(path, self._reader.sum_up(target))
                return self._said(path, self._reader.read(target)) if stat.S_ISREG(mode) else b""

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
