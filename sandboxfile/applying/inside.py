"""Running commands inside a sandbox and taking what they print: as lines for people, or as bytes into a file.

Over the sandbox's control socket, as any client does. Whatever a guest prints is bounded. Knows nothing of images.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio

from sandboxfile.control.client import exec_streams
from sandboxfile.control.messages import Exec
from sandboxfile.errors import GuestError
from sandboxfile.host.tasks import together

_CHUNK = 1 << 18
_LINE_LIMIT = 4096  # bytes of a line that people see
_KEPT = 40  # lines of output that go into an error
_ERRORS_LIMIT = 1 << 16
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: its exit code, and the end of what it printed."""

    code: int
    tail: str


async def run(
    control: Path,
    argv: Sequence[str],
    on_line: Report,
    *,
    user: str = "root",
    env: Sequence[tuple[str, str]] = (),
) -> Ran:
    """Run a command in `/` without input; each line that it prints is told. Cancelled: it is ended."""
    lines = _Lines(on_line)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123, ASYNC230 - a descriptor

        async def command(output: int) -> int:
            wanted = Exec(tuple(argv), user=user, cwd="/", env=tuple(env))
            return await exec_streams(control, wanted, (nothing.fileno(), output, output), forward_signals=False)

        code = await _into(command, lines.take)
    lines.end()
    return Ran(code, "\n".join(lines.kept))


async def read(
    control: Path, argv: Sequence[str], take: Callable[[bytes], None], *, limit: int, stdin: BinaryIO | None = None
) -> Ran:
    """Run a command as root and give all bytes of its stdout to `take`. Raises GuestError beyond `limit` bytes.

    What it prints to stderr is the tail.
    """
    total = 0
    errors = bytearray()

    def counted(data: bytes) -> None:
        nonlocal total
        total += len(data)
        if total > limit:
            raise GuestError(f"{Path(argv[0]).name} inside gives more than {limit >> 20} MiB")
        take(data)

    def complain(data: bytes) -> None:
        errors.extend(data[: _ERRORS_LIMIT - len(errors)])

    with open(os.devnull, "rb") as nothing:  # noqa: PTH123, ASYNC230 - a descriptor

        async def command(output: int) -> int:
            async def with_errors(error: int) -> int:
                wanted = Exec(tuple(argv), stdin=stdin is not None, user="root", cwd="/")
                fds = ((stdin or nothing).fileno(), output, error)
                return await exec_streams(control, wanted, fds, forward_signals=False)

            return await _into(with_errors, complain)

        code = await _into(command, counted)
    return Ran(code, errors.decode(errors="replace"))


async def _into(command: Callable[[int], Awaitable[int]], take: Callable[[bytes], None]) -> int:
    """Run `command` with the writing end of a pipe, all of which `take` gets; its exit code."""
    outlet, inlet = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(outlet, False)
    codes = []

    async def write() -> None:
        try:
            codes.append(await command(inlet))
        finally:
            os.close(inlet)

    async def pump() -> None:
        while True:
            await anyio.wait_readable(outlet)
            with suppress(BlockingIOError):
                data = os.read(outlet, _CHUNK)
                if not data:
                    return
                take(data)

    try:
        await together(write, pump)
    finally:
        os.close(outlet)
    return codes[0]


class _Lines:
    """Output as lines: each is told, the last ones are kept."""

    def __init__(self, on_line: Report) -> None:
        self.kept: list[str] = []
        self._on_line = on_line
        self._pending = b""

    def take(self, data: bytes) -> None:
        *whole, self._pending = (self._pending + data).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            self._tell(line)
        if len(self._pending) > _LINE_LIMIT:
            self.end()

    def end(self) -> None:
        self._tell(self._pending)
        self._pending = b""

    def _tell(self, line: bytes) -> None:
        text = line[:_LINE_LIMIT].decode(errors="replace").rstrip()
        if text:
            self.kept.append(text)
            del self.kept[:-_KEPT]
            self._on_line(text)
