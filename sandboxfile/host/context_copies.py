"""A build context copied while its digest is taken: what was looked at is what is built, whatever becomes of it.

What every ignore file leaves out is not in the copy. Permissions and times are kept, as builders put them into images;
set-uid, set-gid and sticky bits are not.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandboxfile.errors import HostError
from sandboxfile.host.template_sources import take_context

_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def copy_context(context: Path, dockerfile: str, target: Path, cancelled: Callable[[], None]) -> str:
    """Copy it to `target`, a directory that is made; gives the digest of the copy, as `context_digest` would.

    `cancelled` raises when nobody waits any more. Raises NotFoundError and HostError, with clauses about the context.
    """
    copy = _Copy(target, cancelled)
    digest = take_context(context, dockerfile, copy)
    copy.finish()
    return digest


@dataclass(slots=True)
class _Copy:
    """Takes everything below a directory that only we write to."""

    root: Path
    cancelled: Callable[[], None]
    directories: list[tuple[str, os.stat_result]] = field(default_factory=list)

    def directory(self, path: str, status: os.stat_result) -> None:
        self.cancelled()
        with _copying():
            (self.root / path).mkdir(mode=0o700)
        self.directories.append((path, status))

    def symlink(self, path: str, leads_to: str) -> None:
        with _copying():
            (self.root / path).symlink_to(leads_to)

    def content(self, path: str, name: str, directory: int, status: os.stat_result) -> str:
        with _copying():
            source = os.open(name, _READ, dir_fd=directory)
        try:
            if not _is_still(source, status):
                raise HostError("it changes while it is read")
            with _copying():
                return self._copied(source, path, status)
        finally:
            os.close(source)

    def _copied(self, source: int, path: str, status: os.stat_result) -> str:
        """As many bytes as it had: what is not all of a file has a digest that nobody has seen."""
        state, left = hashlib.sha256(), status.st_size
        with os.fdopen(os.open(self.root / path, _WRITE, 0o600), "wb") as target:
            while left and (chunk := os.read(source, min(_CHUNK, left))):
                self.cancelled()
                state.update(chunk)
                target.write(chunk)
                left -= len(chunk)
            target.flush()
            os.fchmod(target.fileno(), _permissions(status))
            os.utime(target.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        return f"sha256:{state.hexdigest()}"

    def finish(self) -> None:
        """Directories, once all is in them; whatever their permissions were, we have to be able to remove them."""
        for path, status in reversed(self.directories):
            (self.root / path).chmod(_permissions(status) | 0o700)
            os.utime(self.root / path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextmanager
def _copying() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise HostError(f"it cannot be copied ({exc.strerror})") from exc


def _is_still(handle: int, status: os.stat_result) -> bool:
    now = os.fstat(handle)
    return (now.st_mode, now.st_size) == (status.st_mode, status.st_size)


def _permissions(status: os.stat_result) -> int:
    return status.st_mode & 0o777
