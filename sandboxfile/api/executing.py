"""One command inside, from its arguments to what it printed. Any number at a time: each has a connection of its own."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from sandboxfile.cli.views.text import harmless
from sandboxfile.control.client import exec_streams
from sandboxfile.control.messages import Exec
from sandboxfile.errors import CommandError, SandboxfileError
from sandboxfile.host.tasks import beside

OUTPUT_LIMIT = 256 << 20  # bytes of one stream: a sandbox must not fill the memory of whoever asks it something
_CHUNK = 1 << 16
_SHOWN = 2000  # characters of output in an error


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended: its exit code (128+N when signal N killed it), and the bytes of both streams."""

    argv: tuple[str, ...]
    returncode: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        """As UTF-8; what is none is replaced."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """As UTF-8; what is none is replaced."""
        return self.stderr_bytes.decode(errors="replace")

    def check(self) -> "Completed":
        """Itself. Raises CommandError, with the end of what it printed, unless the exit code is 0."""
        if self.returncode == 0:
            return self
        output = (self.stderr_bytes or self.stdout_bytes)[-4 * _SHOWN :].decode(errors="replace")[-_SHOWN:]
        raise CommandError(f"{self.argv[0]} ended with exit code {self.returncode}", self.returncode, output=output)


class ExecTimeout(SandboxfileError):
    """The command took longer than its `timeout`, and was ended. `stdout_bytes`, `stderr_bytes`: until then."""

    def __init__(self, argv: Sequence[str], timeout: float, stdout: bytes, stderr: bytes) -> None:
        super().__init__(f"{argv[0]} took longer than {timeout:g} s, and was ended")
        self.stdout_bytes = stdout
        self.stderr_bytes = stderr


def reason(done: Completed) -> str:
    """Why a program could not do something with a file: the end of its last line, after the path. A guest says it."""
    lines = harmless(done.stderr[-_SHOWN:]).splitlines()
    said = lines[-1].rpartition(": ")[2].strip() if lines else ""
    return said or f"{done.argv[0]} ended with exit code {done.returncode}"


def exec_message(
    argv: Sequence[str] | str, *, stdin: bool, env: Mapping[str, str] | None, cwd: str | None, user: str | None
) -> Exec:
    """What to ask for. A string is for `/bin/sh -c`, as in the sandbox file. Raises ValueError for none at all."""
    words = ("/bin/sh", "-c", argv) if isinstance(argv, str) else tuple(argv)
    if not words:
        raise ValueError("a command needs a program")
    return Exec(argv=words, stdin=stdin, user=user, cwd=cwd, env=tuple((env or {}).items()))


async def capture(control: Path, message: Exec, data: bytes, timeout: float | None) -> Completed:
    """Run it, with `data` as its input when it has one. Raises ExecTimeout, ControlError, and what the guest says."""
    out, err = bytearray(), bytearray()
    code: int | None = None
    with ExitStack() as ours, ExitStack() as theirs, ExitStack() as feeding:
        stdin, feed = _pipe(theirs, feeding)
        read_out, stdout = _pipe(ours, theirs)
        read_err, stderr = _pipe(ours, theirs)
        tasks = [partial(_read, read_out, out), partial(_read, read_err, err)]
        if message.stdin:
            tasks.append(partial(_feed, feed, data, feeding))
        with anyio.move_on_after(timeout) as patience:
            async with beside(*tasks):
                # Nothing of ours may keep open what the command reads or writes.
                code = await exec_streams(
                    control, message, (stdin, stdout, stderr), forward_signals=False, on_started=theirs.close
                )
        _take(read_out, out)  # all that it printed is in the pipes before its end is told
        _take(read_err, err)
    if code is None:
        assert patience.cancelled_caught
        raise ExecTimeout(message.argv, timeout or 0, bytes(out), bytes(err))
    return Completed(message.argv, code, bytes(out), bytes(err))


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Both ends of a pipe, closed with these stacks."""
    outlet, inlet = os.pipe2(os.O_CLOEXEC)
    for stack, end in ((reader, outlet), (writer, inlet)):
        stack.callback(os.close, end)
    return outlet, inlet


async def _read(descriptor: int, into: bytearray) -> None:
    os.set_blocking(descriptor, False)
    while True:
        await anyio.wait_readable(descriptor)
        if not _take(descriptor, into):
            return


def _take(descriptor: int, into: bytearray) -> bool:
    """Take what is there; False at the end of the stream. Raises SandboxfileError when it becomes too much."""
    os.set_blocking(descriptor, False)
    while len(into) <= OUTPUT_LIMIT:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        into += data
    raise SandboxfileError(
        f"the command printed more than {OUTPUT_LIMIT >> 20} MiB, and was ended",
        hint="have it write to a file in a workspace",
    )


async def _feed(descriptor: int, data: bytes, feeding: ExitStack) -> None:
    """Write everything, and then the end of it. A command that does not want it all is no error."""
    os.set_blocking(descriptor, False)
    rest = memoryview(data)
    with feeding, suppress(BrokenPipeError):
        while rest:
            await anyio.wait_writable(descriptor)
            with suppress(BlockingIOError):
                rest = rest[os.write(descriptor, rest) :]
