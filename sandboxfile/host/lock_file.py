"""sandbox.lock on the disk: read with the places of what is wrong in it, and replaced as one step."""

import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.errors import HostError, NotFoundError, StaleError, StateError
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import LOCK_FILE
from sandboxfile.language.document import decode, parse
from sandboxfile.language.tree import spans
from sandboxfile.model.lock import LOCK_LIMIT, Lock, LockProblem, encode_lock, parse_lock
from sandboxfile.model.strict import Path as Place
from sandboxfile.planning.trusting import digest_of

_HINT = "take it back from version control, or delete it and lock anew: sbx template lock"
_MODE = 0o644  # of a new one: it is for everybody who has the repository


@dataclass(frozen=True, slots=True)
class LockFile:
    """What stands at `path`. `lock` is None when there is no file, or it is wrong: then `problems` has errors.

    `sources`: its text by its name, when there are problems to show in it. `digest`: of what was read, or empty.
    """

    path: Path
    lock: Lock | None = None
    problems: Diagnostics = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""


def lock_path(sandbox_file: Path) -> Path:
    """Where the lock of a sandbox file is."""
    return sandbox_file.parent / LOCK_FILE


def read_lock(path: Path, read: Callable[[Path], bytes] = read_file) -> LockFile:
    """Read it. Never raises: without a right lock nothing is pinned, so what is wrong with it stops whoever asks."""
    try:
        data = read(path)
    except NotFoundError as exc:
        if read is not read_file or not path.is_symlink():
            return LockFile(path)
        return _refused(path, f"It is a symlink to a file that does not exist ({exc.message}).")
    except HostError as exc:
        return _refused(path, f"{exc.message[:1].upper()}{exc.message[1:]}.")
    if len(data) > LOCK_LIMIT:
        return _refused(path, f"It is longer than {LOCK_LIMIT >> 10} KiB.")
    text, problems = decode(data, str(path))
    if text is None:
        return LockFile(path, None, problems)
    lock, found = parse_lock(text)
    if lock is not None:
        return LockFile(path, lock, digest=digest_of(data))
    return LockFile(path, None, tuple(_diagnostic(item, str(path), text) for item in found), {str(path): text})


def write_lock(path: Path, lock: Lock) -> bool:
    """Replace it, when it says something else; gives whether it did. A crash leaves the old file or the new one.

    Raises StateError when an image says of itself what no lock may hold, or there is too much to be held.
    """
    try:
        data = encode_lock(lock).encode()
    except ValueError as exc:
        raise StateError(f"what was built cannot be written into {path}: {exc}") from exc
    if len(data) > LOCK_LIMIT:
        raise StateError(f"{path} would be longer than {LOCK_LIMIT >> 10} KiB: these are too many templates for one")
    try:
        return _replace(path, data)
    except OSError as exc:
        raise HostError(f"cannot write {path}: {exc.strerror}") from exc


def _replace(path: Path, data: bytes) -> bool:
    """Somebody inside may share the directory: what is written keeps its descriptor, and is compared at the end."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode, old = _existing(path)
        if old == data:
            return False
        temporary = f".{path.name}.{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
        with os.fdopen(handle, "w+b") as file:
            try:
                file.write(data)
                file.flush()
                os.fchmod(handle, mode)
                os.fsync(handle)
                os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory)
                raise
            os.fsync(directory)
            there = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            if not os.path.samestat(there, os.fstat(handle)) or os.pread(handle, len(data) + 1, 0) != data:
                raise StaleError(f"{path} was changed while it was written", hint="look at it before `sbx up`")
    finally:
        os.close(directory)
    return True


def _existing(path: Path) -> tuple[int, bytes | None]:
    """The mode and content of what is to be replaced. Raises HostError when that is no file."""
    if path.is_symlink():
        raise HostError(f"{path} is a symlink, and is left as it is", hint="put the file itself there")
    try:
        return stat.S_IMODE(path.stat().st_mode), read_file(path)
    except FileNotFoundError:
        return _MODE, None


def _refused(path: Path, detail: str) -> LockFile:
    name = str(path)
    return LockFile(path, None, (error("Lock not readable", detail, Span(name, 1, 1, 1, 2), _HINT),))


def _diagnostic(problem: LockProblem, name: str, text: str) -> Diagnostic:
    span = _span(problem, name, text)
    part = ".".join(map(str, problem.path))
    return error("Lock not readable", f"{part}: {problem.detail}" if part else problem.detail, span, _HINT)


def _span(problem: LockProblem, name: str, text: str) -> Span:
    """Where it stands. JSON is YAML, whose reader knows places; it reads no more than a sandbox file may have."""
    if problem.line:
        return Span(name, problem.line, problem.column, problem.line, problem.column + 1)
    document, found = parse(text, name)
    known: Mapping[Place, Span] = spans(document.root) if document is not None else {}
    path = problem.path
    while path and path not in known:
        path = path[:-1]
    first = next((item.span for item in found if item.span is not None), None)
    return (known.get(path) if problem.path else first) or Span(name, 1, 1, 1, 2)
