"""One run of a healthcheck's command inside: as the sandbox's user, in its directory, never longer than its time.

What it prints is kept up to a bound, the end of it; what it leaves running is not followed, as with Docker.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from sandboxfile.guest.process import Process
from sandboxfile.host.tasks import together
from sandboxfile.model.desired import DesiredSandbox, Healthcheck
from sandboxfile.model.durations import duration
from sandboxfile.supervisor.executing import Variables, environment
from sandboxfile.supervisor.health import Finding

if TYPE_CHECKING:  # it loads asyncssh, which can wait until the kernel boots
    from sandboxfile.guest.channel import Guest

OUTPUT_LIMIT = 4096  # bytes, as Docker keeps them


async def run_check(guest: "Guest", spec: DesiredSandbox, image: Variables, check: Healthcheck) -> Finding:
    """What the command says by its exit code. Raises GuestError when it cannot be run.

    Out of time, or cancelled: the command is ended, so that none of them pile up.
    """
    kept = bytearray()
    code: int | None = None
    with anyio.move_on_after(check.timeout):
        env = environment(spec, image=image)
        process = await guest.start(check.command.argv, user=spec.user, cwd=spec.workdir, env=env)
        try:
            code = await _follow(process, kept)
        finally:
            if code is None:
                await guest.end(process)
            process.close()
    if code is None:
        return Finding(False, f"it did not end within {duration(check.timeout)}", _text(kept))
    return Finding(code == 0, f"it exited with {code}", _text(kept))


async def _follow(process: Process, kept: bytearray) -> int:
    async def keep(read: Callable[[], Awaitable[bytes]]) -> None:
        while data := await read():
            kept.extend(data)
            del kept[:-OUTPUT_LIMIT]

    process.write_eof()
    await together(lambda: keep(process.read_stdout), lambda: keep(process.read_stderr))
    return await process.wait()


def _text(kept: bytearray) -> str:
    return kept.decode(errors="replace")
