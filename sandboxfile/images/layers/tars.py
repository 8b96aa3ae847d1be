"""Tar files of every compression: opening them for reading, and packing layers. What is in them is not looked at here.

Which compression it is, the first bytes say, never the name. Nothing here trusts what it reads: memory is bounded, and
damage is an error that names the file.
"""

import bz2
import gzip
import io
import os
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast, override

from sandboxfile.errors import BuildError
from sandboxfile.host.process import run
from sandboxfile.images.packages.mmdebstrap import FULL, environment

PIECE = 1 << 20  # bytes read at a time
# Both bound their own memory, whatever the data asks for: zstd to 128 MiB unless told otherwise.
ZSTD = ("zstd", "-dcq")
XZ = ("xz", "-dcq", "--memlimit-decompress=256MiB")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # follows a byte from 0x50 to 0x5f; some tools begin with such a frame


async def pack(tar: Path, target: Path) -> None:
    """Compress a tar into a new file (zstd, fast), the same bytes each time. Raises BuildError and leaves nothing."""
    command = ("zstd", "-q", "-1", "-T0", "-f", "-o", str(target), "--", str(tar))
    try:
        await run(command, what="compress a layer", error=BuildError, env=environment())
    except BaseException as exc:
        target.unlink(missing_ok=True)
        if isinstance(exc, BuildError) and FULL.search(exc.output):
            exc.message, exc.hint = "cannot compress a layer: the disk is full", f"make room in {target.parent}"
        raise


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The tar in `path`, decompressed, as a stream to read forwards (one that is not compressed, to seek in as well).

    Reading raises BuildError when the compressed data is damaged or cut short; opening, when there is no such file or
    program. `read(n)` gives less than n bytes only at the end.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb", buffering=PIECE))
        except OSError as exc:
            raise BuildError(f"cannot read {path}: {exc.strerror}") from exc
        source, ended = _decompressed(path, file, stack)
        if source is file:
            yield file
        else:
            yield stack.enter_context(io.BufferedReader(_Raw(path, source, ended), PIECE))


def _decompressed(path: Path, file: IO[bytes], stack: ExitStack) -> tuple[IO[bytes], Callable[[], None]]:
    """Where to read from, and what to ask when all is read: it raises BuildError if that was not all."""
    magic = os.pread(file.fileno(), 6, 0)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file)), _nothing
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file)), _nothing
    if magic == b"\xfd7zXZ\0":
        return _by_program(XZ, path, file, stack)
    if magic.startswith(ZSTD_MAGIC) or (magic[1:4] == ZSTD_SKIPPABLE and magic[0] >> 4 == 5):
        return _by_program(ZSTD, path, file, stack)
    return file, _nothing


def _nothing() -> None:
    pass


def _by_program(
    command: tuple[str, ...], path: Path, file: IO[bytes], stack: ExitStack
) -> tuple[IO[bytes], Callable[[], None]]:
    errors = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    try:
        child = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=errors, bufsize=0, pipesize=PIECE)
    except FileNotFoundError as exc:
        hint = "run `sbx doctor`: it says which package has it"
        raise BuildError(f"cannot read {path}: the program {command[0]} is not installed", hint=hint) from exc
    stack.enter_context(child)  # closes our end of the pipe and waits
    stack.callback(child.kill)

    def ended() -> None:
        if child.wait() != 0:
            errors.seek(0)
            output = errors.read(PIECE).decode(errors="replace")
            raise BuildError(f"cannot read {path}: it is damaged", command=[*command, str(path)], output=output)

    assert child.stdout is not None
    return child.stdout, ended


class _Raw(io.RawIOBase):
    """What a decompressor gives, its errors said as ours."""

    def __init__(self, path: Path, source: IO[bytes], ended: Callable[[], None]) -> None:
        self._path = path
        self._source = source
        self._ended = ended

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        try:
            count = self._source.readinto(buffer)  # type: ignore[attr-defined]
        except (OSError, EOFError, zlib.error) as exc:
            raise BuildError(f"cannot read {self._path}: it is damaged ({exc})") from exc
        if not count:
            self._ended()
        return int(count)
