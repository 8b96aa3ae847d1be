"""The steps of a build: files are packed into a tar here, all others are commands that run inside a machine."""

import hashlib
import io
import os
import shlex
import stat
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, cast, override

from sandboxfile.applying import inside, package_steps
from sandboxfile.errors import BuildError
from sandboxfile.model.packages import Manager
from sandboxfile.model.template import BuildStep, PlacedFile, Versions

_SHELLS = ("/bin/sh", "sh")
_TITLE_LIMIT = 100  # characters
Report = Callable[[str], None]


def title_of(step: BuildStep) -> str:
    """A step in words, as it stands in the file."""
    if step.kind == "files":
        words = " ".join(file.target for file in step.files)
    elif step.kind == "run":
        is_line = len(step.command) == 3 and step.command[0] in _SHELLS and step.command[1] == "-c"
        words = step.command[2] if is_line else shlex.join(step.command)
    else:
        words = " ".join(step.packages)
    line = " ".join(words.split())
    return f"{step.kind}: {line if len(line) <= _TITLE_LIMIT else line[: _TITLE_LIMIT - 1] + '…'}"


async def run_step(control: Path, step: BuildStep, epoch: int, report: Report) -> Mapping[str, Versions]:
    """Run a step inside, to its end; gives what its manager has installed then. Raises BuildError."""
    env = (("DEBIAN_FRONTEND", "noninteractive"), ("SOURCE_DATE_EPOCH", str(epoch or int(time.time()))))
    if step.kind == "run":
        ran = await inside.run(control, step.command, report, user=step.user, env=(*env, *step.env))
    else:
        command = package_steps.installing(step)
        ran = await inside.run(control, command.argv, report, env=(*env, *step.env, *command.env))
    if ran.code != 0:
        raise _failure(step, ran)
    return {} if step.kind == "run" else {step.kind: await _versions(control, cast(Manager, step.kind), step.versions)}


def _failure(step: BuildStep, ran: inside.Ran) -> BuildError:
    if (lack := package_steps.lacking(step.kind, ran.code)) is not None:
        return BuildError(f"the image has no {lack[0]}", hint=lack[1])
    return BuildError(f"exit code {ran.code}", output=ran.tail)


async def _versions(control: Path, kind: Manager, pinned: Versions) -> Versions:
    """What is installed now. Raises BuildError when that is not what was pinned."""
    data = bytearray()
    command = ("/bin/sh", "-c", 'exec "$@"', "sh", *package_steps.asking(kind))
    ran = await inside.read(control, command, data.extend, limit=16 << 20)
    there = package_steps.installed(kind, data.decode(errors="replace"))
    if ran.code != 0 and not there:
        raise BuildError(f"cannot tell what {kind} has installed", output=ran.tail)
    if moved := package_steps.moved(pinned, there):
        raise BuildError(
            f"{len(moved)} packages are not those of sandbox.lock",
            hint="sbx template lock --update takes what there is now",
            output="\n".join(moved),
        )
    return there


# --- files of this host ------------------------------------------------------------------------------------------


def pack_files(files: Sequence[PlacedFile], target: Path, epoch: int) -> None:
    """Write a tar of files, owned by root, no younger than `epoch`. Blocking.

    Raises BuildError when one is not what it was when the sandbox file was read.
    """
    moment = epoch or int(time.time())
    with tarfile.open(target, "x", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files, key=lambda file: file.target):
            _add(tar, file, moment)


def _add(tar: tarfile.TarFile, file: PlacedFile, moment: int) -> None:
    try:
        # Without O_NONBLOCK a FIFO that was put in its place would wait for a writer, for ever.
        handle = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as exc:
        raise BuildError(f"cannot read {file.source}: {exc.strerror}") from exc
    with os.fdopen(handle, "rb") as source:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise BuildError(f"cannot read {file.source}: it is not a regular file")
        member = tarfile.TarInfo(file.target.lstrip("/"))
        member.mode, member.mtime, member.size = file.mode, moment, found.st_size
        hashed = _Hashed(source)
        try:
            tar.addfile(member, cast(IO[bytes], hashed))
        except OSError as exc:
            if exc.errno is not None:  # the disk; without a number it is the file that has become shorter
                raise
        if hashed.digest != file.digest.removeprefix("sha256:"):
            raise BuildError(f"{file.source} has changed while the image was built", hint="build again")


class _Hashed(io.RawIOBase):
    """A stream whose content is hashed as it is read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @override
    def readable(self) -> bool:
        return True

    @override
    def read(self, size: int = -1, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data
