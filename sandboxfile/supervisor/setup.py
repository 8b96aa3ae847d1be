"""The user's own commands that come with a sandbox: setup, once, and the main process. Both write to the main log."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from sandboxfile.errors import CommandError
from sandboxfile.guest.process import Process
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.statedir import read_record, write_record
from sandboxfile.host.tasks import together
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.supervisor.executing import Variables, environment
from sandboxfile.supervisor.logs import RotatingLog

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

_LINE_LIMIT = 1 << 16  # characters of one line of output
_KEPT = 20  # lines of a failed command's output that go into the error

Report = Callable[[str], Awaitable[None]]


async def run_setup_command(
    index: int, guest: "Guest", spec: DesiredSandbox, image: Variables, log: RotatingLog, report: Report
) -> None:
    """Run one setup command as the sandbox's user in its directory. Raises CommandError, GuestError.

    Cancelled: the command is ended, so that the next try does not meet it.
    """
    kept: list[str] = []

    async def line(text: str) -> None:
        kept.append(text)
        del kept[:-_KEPT]
        await log.write(text.encode() + b"\n")
        await report(text)

    process = await guest.start(
        spec.setup[index].argv, user=spec.user, cwd=spec.workdir, env=environment(spec, image=image)
    )
    try:
        process.write_eof()
        await together(lambda: _lines(process.read_stdout, line), lambda: _lines(process.read_stderr, line))
        code = await process.wait()
    except BaseException:
        await guest.end(process)
        raise
    finally:
        process.close()
    if code != 0:
        raise CommandError(
            f"setup command {index + 1} of {len(spec.setup)} failed with exit code {code}",
            code,
            hint="mend it and run `sbx up` again: it goes on with this command",
            output="\n".join(kept),
        )


async def record_setup_done(paths: SandboxPaths, count: int) -> None:
    """Remember that so many setup commands have finished."""

    def write() -> None:
        write_record(paths, replace(read_record(paths), setup_done=count))

    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(write)


async def start_main(guest: "Guest", spec: DesiredSandbox, image: Variables) -> Process:
    """Start the main process."""
    assert spec.command is not None
    process = await guest.start(spec.command.argv, user=spec.user, cwd=spec.workdir, env=environment(spec, image=image))
    process.write_eof()
    return process


async def follow_main(process: Process, log: RotatingLog) -> int:
    """Log a main process's output to its end and give its exit code. Raises GuestError when it was lost."""

    async def pump(read: Callable[[], Awaitable[bytes]]) -> None:
        while data := await read():
            await log.write(data)

    await together(lambda: pump(process.read_stdout), lambda: pump(process.read_stderr))
    return await process.wait()


async def _lines(read: Callable[[], Awaitable[bytes]], line: Report) -> None:
    pending = b""
    while data := await read():
        *whole, pending = (pending + data).split(b"\n")
        for text in whole:
            await line(text.decode(errors="replace").rstrip("\r"))
        if len(pending) > _LINE_LIMIT:
            await line(pending.decode(errors="replace"))
            pending = b""
    if pending:
        await line(pending.decode(errors="replace"))
