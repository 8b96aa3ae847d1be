"""Writes the files of a commit into a directory that hostile programs may be writing to at the same time. Blocking.

Everything goes by descriptors of directories, and no symlink is ever followed: whatever an agent puts in the way is
taken out of it, and nothing outside of the directory is touched. Files are replaced as one step each.
"""

import errno
import itertools
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path, PurePosixPath

from sandboxfile.errors import HostError
from sandboxfile.host.git_clone import Clone
from sandboxfile.host.git_entries import Entry, blob_id

_PART = ".sbx-reconcile.part"  # one name, so that a killed reconciler leaves no more than one in a directory
_MOVES = 1_000_000  # directories that are removed with one
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_Read = Callable[[Entry], bytes]


def export(clone: Clone, commit: str, root: Path) -> None:
    """Make a directory of ours exactly like the commit: what is not in it goes.

    A symlink that leads out of it is left out: nothing can be read through it.
    """
    everything = clone.entries(commit)
    entries = [entry for entry in everything if entry.kind != "symlink"]
    links = [entry for entry in everything if entry.kind == "symlink"]
    with clone.contents() as contents, _root(root) as top:
        entries += [entry for entry in links if stays_inside(entry.path, os.fsdecode(contents.of(entry)))]
        paths = {entry.path for entry in entries}
        _keep_only(top, paths, {str(above) for path in paths for above in PurePosixPath(path).parents})
        _lay(top, entries, contents.of)


def lay(clone: Clone, commit: str, before: Iterable[str], root: Path) -> None:
    """Write every file of the commit, and take away what the commits `before` had and it has not. All else stays."""
    entries = clone.entries(commit)
    kept = {entry.path for entry in entries}
    gone = {entry.path for other in before for entry in clone.entries(other)} - kept
    with clone.contents() as contents, _root(root) as top:
        _lay(top, entries, contents.of)
        for path in sorted(gone):  # last: a directory that is needed again stays the same one, as a guest knows it
            _take_away(top, path)


def stays_inside(path: str, target: str) -> bool:
    """Whether a symlink at `path` leads nowhere out of the tree, when no other one in it does.

    `..` only counts at the beginning of the target, where no other symlink has been followed yet.
    """
    parts = target.split("/")
    ups = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    return bool(target) and parts[0] != "" and ".." not in parts[ups:] and ups <= path.count("/")


# --- below a descriptor ------------------------------------------------------------------------------------------


@contextmanager
def _root(root: Path) -> Iterator[int]:
    try:
        handle = os.open(root, _DIRECTORY)
    except OSError as exc:
        raise HostError(f"cannot open the directory {root}: {exc.strerror}") from exc
    try:
        yield handle
    except OSError as exc:
        raise HostError(f"cannot write to {root}: {exc.strerror}", hint="is the disk full?") from exc
    finally:
        os.close(handle)


def _lay(top: int, entries: Collection[Entry], read: _Read) -> None:
    for directory, found in groupby(sorted(entries, key=lambda entry: _split(entry.path)), lambda e: _split(e.path)[0]):
        with _made(top, directory) as handle:
            for entry in found:
                name = _split(entry.path)[1]
                if not _is_there(handle, name, entry):
                    _write(handle, name, entry, read(entry))


def _split(path: str) -> tuple[tuple[str, ...], str]:
    *directory, name = path.split("/")
    return tuple(directory), name


@contextmanager
def _made(top: int, directory: Iterable[str]) -> Iterator[int]:
    """A directory below, made where it is not there; what is there and is none has to go."""
    handle = os.dup(top)
    try:
        for part in directory:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=handle)
            try:
                below = os.open(part, _DIRECTORY, dir_fd=handle)
            except NotADirectoryError:  # a symlink too, with O_DIRECTORY
                os.unlink(part, dir_fd=handle)
                os.mkdir(part, 0o755, dir_fd=handle)
                below = os.open(part, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _is_there(directory: int, name: str, entry: Entry) -> bool:
    try:
        if entry.kind == "symlink":
            return blob_id(os.fsencode(os.readlink(name, dir_fd=directory)), len(entry.id)) == entry.id
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(name, flags, dir_fd=directory)
    except OSError:
        return False
    try:
        found = os.fstat(handle)
        program = bool(found.st_mode & stat.S_IXUSR)
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size or program != (entry.kind == "program"):
            return False
        with os.fdopen(handle, "rb", closefd=False) as file:
            return blob_id(file.read(entry.size + 1), len(entry.id)) == entry.id
    finally:
        os.close(handle)


def _write(directory: int, name: str, entry: Entry, data: bytes) -> None:
    _remove(directory, _PART)
    if entry.kind == "symlink":
        os.symlink(os.fsdecode(data), _PART, dir_fd=directory)
    else:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(_PART, flags, 0o600, dir_fd=directory), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o755 if entry.kind == "program" else 0o644)
            file.flush()
            os.fsync(file.fileno())
    try:
        os.rename(_PART, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:  # a directory is in the way
        _remove(directory, name)
        os.rename(_PART, name, src_dir_fd=directory, dst_dir_fd=directory)


def _remove(directory: int, name: str) -> None:
    """Whatever is there; a directory with all that is in it, and none of its symlinks followed."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        with _there(directory, [name]) as handle:
            _empty(handle)
        os.rmdir(name, dir_fd=directory)


def _empty(top: int) -> None:
    """However deep it is: a directory in it is emptied by moving those that are in there up, and is gone then."""
    numbers = itertools.count()
    while entries := _listed(top):
        for name, is_directory in entries:
            if not is_directory:
                os.unlink(name, dir_fd=top)
                continue
            with _there(top, [name]) as handle:
                for inner, is_below in _listed(handle):
                    if is_below:
                        _move_up(handle, inner, top, numbers)
                    else:
                        os.unlink(inner, dir_fd=handle)
            os.rmdir(name, dir_fd=top)


def _move_up(directory: int, name: str, top: int, numbers: Iterator[int]) -> None:
    for number in numbers:
        if number > _MOVES:  # somebody inside makes them as fast as they go
            raise HostError(f"cannot remove a directory: there is no end of directories in it ({name})")
        with suppress(FileExistsError, NotADirectoryError):  # an agent's, of the same name
            try:
                os.rename(name, f"{_PART}.{number}", src_dir_fd=directory, dst_dir_fd=top)
            except OSError as exc:
                if exc.errno != errno.ENOTEMPTY:
                    raise
            else:
                return


def _listed(directory: int) -> list[tuple[str, bool]]:
    """The names in it, and which are directories."""
    with os.scandir(directory) as found:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]


def _take_away(top: int, path: str) -> None:
    """A file, and the directories that are empty without it. What is no longer a way to it is left alone."""
    *directory, name = path.split("/")
    with suppress(OSError):  # an agent's directory in its place, or others in it
        with _there(top, directory) as handle:
            os.unlink(name, dir_fd=handle)
        while directory:
            name = directory.pop()
            with _there(top, directory) as handle:
                os.rmdir(name, dir_fd=handle)


@contextmanager
def _there(top: int, directory: Iterable[str]) -> Iterator[int]:
    """A directory below, which has to be there. Never more than two are open: one may be thousands deep."""
    handle = os.dup(top)
    try:
        for part in directory:
            below = os.open(part, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _keep_only(top: int, paths: set[str], directories: set[str]) -> None:
    pending = [""]
    while pending:
        above = pending.pop()
        with _there(top, above.split("/")[:-1]) as handle:
            for name, is_directory in _listed(handle):
                path = above + name
                if is_directory and path in directories:
                    pending.append(f"{path}/")
                elif is_directory or path not in paths:
                    _remove(handle, name)
