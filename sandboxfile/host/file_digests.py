"""Digests of files of this host. Those of large files are remembered by what stat(2) says, so that a plan is quick.

What is remembered may be lost or wrong without harm: it is made anew, and whoever builds checks what it really reads.
"""

import hashlib
import json
import os
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.durable import write_atomic

REMEMBERED_FROM = 1 << 20  # bytes: smaller files are read again faster than they are looked up
_VERSION = 1
_LIMIT = 4096  # files; the oldest go first
_FILE_LIMIT = 4 << 20  # bytes of the memory itself
_SETTLED = 2.0  # seconds since its last change, after which a file cannot change without a new time
_CHUNK = 1 << 20


class FileDigests:
    """Digests of regular files, remembered at `memory`. To be used with `with`: what is new is written at the end."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known = _read(memory)
        self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not made here: who only looks at a file leaves no directories behind.
        if self._changed and self._memory.parent.is_dir():
            kept = dict(list(self._known.items())[-_LIMIT:])
            try:
                write_atomic(self._memory, json.dumps({"version": _VERSION, "files": kept}).encode())
            except OSError:
                return  # the next one reads the files again

    def of(self, path: str, limit: int = 0, directory: int | None = None) -> str:
        """`sha256:` and the digest of a file, which is no symlink; relative to an open `directory` if one is given.

        Raises NotFoundError, and HostError when it is no regular file, cannot be read, changes meanwhile, or has more
        than `limit` bytes (0: no limit). Messages are clauses about the file, without its name.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        try:
            handle = os.open(path, flags, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise NotFoundError("there is no such file") from exc
        except OSError as exc:
            raise HostError(f"it cannot be read ({exc.strerror})") from exc
        try:
            return self._of_open(handle, limit)
        except OSError as exc:
            raise HostError(f"it cannot be read ({exc.strerror})") from exc
        finally:
            os.close(handle)

    def _of_open(self, handle: int, limit: int) -> str:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise HostError("it is a directory", hint="name a file")
        if not stat.S_ISREG(status.st_mode):
            raise HostError("it is not a regular file")
        if limit and status.st_size > limit:
            raise HostError(f"it is larger than {limit >> 20} MiB")
        if status.st_size < REMEMBERED_FROM:
            return _digest(handle, status.st_size)
        key = _key(status)
        if key not in self._known:
            digest = _digest(handle, status.st_size)
            if _key(os.fstat(handle)) != key:
                raise HostError("it changes while it is read")
            if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED:
                return digest
            self._known[key] = digest
            self._changed = True
        return self._known[key]


def _digest(handle: int, size: int) -> str:
    """Of as many bytes as it had; a file that shrinks or grows gets a digest that nobody will see again."""
    state = hashlib.sha256()
    left = size
    with os.fdopen(handle, "rb", closefd=False) as file:
        while left and (chunk := file.read(min(_CHUNK, left))):
            state.update(chunk)
            left -= len(chunk)
    return f"sha256:{state.hexdigest()}"


def _key(status: os.stat_result) -> str:
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return ":".join(map(str, (status.st_dev, status.st_ino, status.st_size, *times)))


def _read(memory: Path) -> dict[str, str]:
    try:
        if memory.stat().st_size > _FILE_LIMIT:
            return {}
        data = json.loads(memory.read_bytes())
        if data["version"] != _VERSION:
            return {}
        return {str(key): str(value) for key, value in data["files"].items() if str(value).startswith("sha256:")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
