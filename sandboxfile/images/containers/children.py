"""Programs that end when we do, and are asked to before they are made to: for those that clean up after themselves.

Cancelled: SIGTERM, then a grace, then SIGKILL for all that they have started. We killed: the kernel sends the SIGTERM.
`host.process.run` is for all others.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.abc import ByteReceiveStream, Process

from sandboxfile.errors import BuildError
from sandboxfile.host.tasks import together

TIED = ("setpriv", "--pdeathsig", "TERM", "--")  # of util-linux
GRACE = 10.0
OUTPUT_LIMIT = 8 << 20  # bytes; registries take manifests of up to 4 MiB
SAID_LIMIT = 256 << 10  # bytes, the last ones
FULL = re.compile("no space left on device|disk quota exceeded", re.IGNORECASE)  # in what a program says
LINE_LIMIT = 16 << 10  # bytes; the rest of a longer line counts as the next


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: exit code (negative: the signal), the bytes of its output, the end of what else it said."""

    code: int
    output: bytes
    said: str


async def run_tied(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    hint: str | None = None,
) -> Ended:
    """Run a program to its end. With `on_line`, output and errors are one stream of lines, and all of it is `said`.

    Raises BuildError, with `hint`, when it is not installed.
    """
    output, said = bytearray(), _Said(on_line)
    errors = subprocess.PIPE if on_line is None else subprocess.STDOUT
    try:
        process = await anyio.open_process(
            [*TIED, *command], stdin=subprocess.DEVNULL, stderr=errors, env=env, start_new_session=True
        )
    except FileNotFoundError as exc:
        raise BuildError(f"cannot run {command[0]}: setpriv is not installed", hint="install util-linux") from exc
    async with process:
        try:
            assert process.stdout is not None
            if process.stderr is None:
                await _drain(process.stdout, said)
            else:
                keep = partial(_keep, output)
                await together(partial(_drain, process.stdout, keep), partial(_drain, process.stderr, said))
            code = await process.wait()
        except BaseException:
            await _end(process)
            raise
    if code == 127 and f"failed to execute {command[0]}" in said.text:
        raise BuildError(f"{command[0]} is not installed", hint=hint, command=command)
    return Ended(code, bytes(output), said.text)


class _Said:
    """The end of what a program says, and each line as it comes."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self._on_line = on_line
        self._end = bytearray()
        self._line = bytearray()

    @property
    def text(self) -> str:
        return self._end.decode(errors="replace")

    def __call__(self, data: bytes) -> None:
        self._end += data
        del self._end[:-SAID_LIMIT]
        if self._on_line is None:
            return
        self._line += data.replace(b"\r", b"\n")
        *whole, rest = self._line.split(b"\n")
        for line in whole:
            self._on_line(line[:LINE_LIMIT].decode(errors="replace"))
        self._line = rest[:LINE_LIMIT]


def _keep(output: bytearray, data: bytes) -> None:
    output += data[: OUTPUT_LIMIT - len(output)]


async def _drain(stream: ByteReceiveStream, take: Callable[[bytes], None]) -> None:
    async for data in stream:
        take(data)


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(GRACE):
            await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # of the session that it leads, also when it is gone itself
        await process.wait()
