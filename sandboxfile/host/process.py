"""Child processes of ours that run to an end: one way to run them, one way to say that they failed."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
from anyio.streams.text import TextReceiveStream

from sandboxfile.errors import HostError, SandboxfileError

OUTPUT_LIMIT = 1 << 20  # characters kept of what a child prints


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


async def run(
    argv: Sequence[str],
    *,
    what: str,
    error: type[SandboxfileError] = HostError,
    hint: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    program: str | None = None,
) -> str:
    """Run a program to its end and give what it printed (stdout and stderr together, as text).

    `what` names the effort in the message ("extract the kernel"), `program` who failed at it where `argv` begins with
    another one that only runs it; `on_line` sees each line as it comes.
    Cancelled: the child and its children are killed, and it is waited for.
    Raises `error` when the program is missing or fails.
    """
    lines: list[str] = []
    kept = 0
    pending = ""
    try:
        async with await anyio.open_process(
            argv, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=env, cwd=cwd, start_new_session=True
        ) as process:
            try:
                assert process.stdout is not None
                async for text in TextReceiveStream(process.stdout, errors="replace"):
                    pending += text.replace("\r", "\n")
                    *whole, pending = pending.split("\n")
                    for line in whole:
                        if kept < OUTPUT_LIMIT:
                            lines.append(line)
                            kept += len(line) + 1
                        if on_line is not None:
                            on_line(line)
                code = await process.wait()
            except BaseException:
                # Its own children too: they are in the session that it leads.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    except FileNotFoundError as exc:
        raise error(
            f"cannot {what}: the program {argv[0]} is not installed",
            hint=hint or "run `sbx doctor`: it says which package has it",
            command=argv,
        ) from exc
    output = "\n".join([*lines, pending])
    if code != 0:
        failed = f"{program or Path(argv[0]).name} {_ended(code)}"
        raise error(f"cannot {what}: {failed}", hint=hint, command=argv, output=output)
    return output
