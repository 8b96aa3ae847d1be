"""Waiting until a running sandbox is as those that depend on it need it: healthy, or done with its work."""

from collections.abc import Callable

import anyio

from sandboxfile.control.client import request
from sandboxfile.control.messages import GetStatus, Message, StatusReply, WaitHealthy, WaitReady
from sandboxfile.errors import MachineError
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.model.desired import Condition
from sandboxfile.model.observed import MainProcess
from sandboxfile.names import SandboxId

_ANSWER_TIMEOUT = 30.0  # seconds
_POLL = 0.25


async def wait_for(paths: SandboxPaths, id: SandboxId, condition: Condition, show: Callable[[Message], None]) -> None:
    """Return when the condition holds. Raises MachineError when it cannot come, ControlError when the sandbox stops.

    However long that takes: a healthcheck has its own times, and a main process does what its user wants.
    """
    match condition:
        case "started":
            await request(paths.control, WaitReady(), show, timeout=None)
        case "healthy":
            await _until_healthy(paths, id, show)
        case "completed":
            await _until_completed(paths, id)


async def _until_healthy(paths: SandboxPaths, id: SandboxId, show: Callable[[Message], None]) -> None:
    try:
        await request(paths.control, WaitHealthy(), show, timeout=None)
    except MachineError as exc:  # of several that are waited for
        hint = exc.hint.replace("NAME", str(id)) if exc.hint else None
        raise MachineError(f"waiting for {id}: {exc.message}", hint=hint, output=exc.output) from exc


async def _until_completed(paths: SandboxPaths, id: SandboxId) -> None:
    while not has_completed(id, await _main(paths)):  # noqa: ASYNC110 - another process, which sends us no event
        await anyio.sleep(_POLL)


async def _main(paths: SandboxPaths) -> MainProcess:
    reply = await request(paths.control, GetStatus(), timeout=_ANSWER_TIMEOUT)
    assert isinstance(reply, StatusReply), "the client has checked the answer"
    return reply.machine.main


def has_completed(id: SandboxId, main: MainProcess) -> bool:
    """Whether a main process has done its work. Raises MachineError when it never will."""
    match main.status:
        case "running" | "waiting":
            return False
        case "none":
            raise MachineError(f"waiting for {id}: its main process was not started")
    if main.exit_code != 0:
        raise MachineError(
            f"waiting for {id}: its main process exited with {main.exit_code}",
            hint=f"sbx logs {id} --main; once that is mended, `sbx up` runs it again",
        )
    return True
