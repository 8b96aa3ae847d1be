"""What a command of the user's prints: run once, at home, without a shell, bounded in time and bytes. Blocking.

Its output is held in memory only and shown to nobody. What it says on standard error is kept only when asked for: a
program that fails may print there what it was to keep.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sandboxfile.secrets.values import LIMIT

TIMEOUT = 30.0  # seconds
_ERRORS = 4 << 10  # bytes kept of the end of standard error
_PIECE = 1 << 14
_MOST = LIMIT + 3  # a value, its newline, and one byte too many


class CommandTimeout(Exception):
    """It ran for too long, and was killed with its children."""


class CommandFlood(Exception):
    """It printed more than any value has, and was killed with its children."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit code (-N: signal N), what it printed, the end of what it complained."""

    code: int
    output: bytes = field(repr=False)
    errors: bytes = field(repr=False)


def run_command(
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    timeout: float = TIMEOUT,
    input: bytes | None = None,
) -> Ended:
    """Run it to its end; children that it leaves behind are not waited for.

    `input` is for small ones, at most what a pipe holds. Raises OSError when it cannot be started, CommandTimeout,
    CommandFlood.
    """
    home = Path(environ.get("HOME") or Path.home())
    with subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=home if home.is_dir() else "/",
        env=dict(environ),
        start_new_session=True,
        bufsize=0,
    ) as process:
        try:
            if input is not None:
                _give(process, input)
            return _collect(process, time.monotonic() + timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def _give(process: subprocess.Popen[bytes], data: bytes) -> None:
    """Without waiting for a program that does not read: it gets what fits into its pipe."""
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), False)
    with contextlib.suppress(BrokenPipeError), process.stdin:
        if process.stdin.write(data) != len(data):
            raise ValueError(f"more than a pipe holds: {len(data)} bytes")


def _collect(process: subprocess.Popen[bytes], deadline: float) -> Ended:
    """Until it ends, not until its pipes do: a child of it may hold them for ever."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector, _ending(process.pid) as end:
        for stream, kept in ((process.stdout, output), (process.stderr, errors)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, kept)
        selector.register(end, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select(max(deadline - time.monotonic(), 0))}
            if time.monotonic() >= deadline:
                raise CommandTimeout
            for stream, kept in ((process.stdout, output), (process.stderr, errors)):
                if stream in ready and not _take(stream, kept):
                    selector.unregister(stream)
            del errors[:-_ERRORS]
            if len(output) > _MOST:
                raise CommandFlood
            # What it wrote before it ended is in the pipes by now: they are emptied before its end counts.
            if end in ready and ready <= {end}:
                return Ended(process.wait(), bytes(output), bytes(errors))


@contextlib.contextmanager
def _ending(pid: int) -> Iterator[int]:
    """A descriptor that is readable when the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _take(stream: IO[bytes], kept: bytearray) -> bool:
    """One piece of what is there; whether more may come."""
    try:
        piece = os.read(stream.fileno(), _PIECE)
    except BlockingIOError:
        return True
    kept += piece
    return bool(piece)
