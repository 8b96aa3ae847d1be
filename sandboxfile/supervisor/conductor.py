"""Does what the state machine says: feeds it events, runs its commands. Knows no machine; `Actions` is the work.

Runs on asyncio and on trio, so that back-off and restarts are tested in virtual time.
"""

from collections.abc import Callable
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from sandboxfile.errors import SandboxfileError
from sandboxfile.host.saying import say
from sandboxfile.supervisor.lifecycle import (
    BackOffOver,
    CancelBackOff,
    Command,
    Commands,
    EndMain,
    Event,
    Finish,
    LaunchMain,
    Life,
    MainExited,
    MarkAsleep,
    PowerOff,
    ResumeMachine,
    WaitBackOff,
    step,
)

_NOT_STARTED = 255  # exit code of a main process that could not be started, or that was lost


class Actions(Protocol):
    """The effects. Each returns when it is done."""

    async def run_main(self) -> int:
        """Run the main process to its end and give its exit code."""

    async def end_main(self) -> None:
        """Make the main process end, so that `run_main` returns."""

    async def resume_machine(self) -> None: ...

    async def mark_asleep(self) -> None:
        """Remember, durably, that it sleeps."""

    async def power_off(self) -> None:
        """Make the machine end; whoever watches it tells."""


class Conductor:
    """Holds the state. `finished` is set when nothing is left to do; `on_step` is called after whatever happened."""

    def __init__(self, life: Life, actions: Actions, group: TaskGroup) -> None:
        self.life = life
        self.finished = anyio.Event()
        self.on_step: Callable[[], None] = lambda: None
        self._actions = actions
        self._group = group
        self._back_off = anyio.CancelScope()

    def tell(self, event: Event) -> None:
        """Something happened. Never blocks; what follows from it runs in the task group."""
        self.life, commands = step(self.life, event)
        orderly: list[Command] = []
        for command in commands:
            match command:
                case LaunchMain():
                    self._group.start_soon(self._run_main)
                case WaitBackOff(seconds):
                    self._back_off = anyio.CancelScope()
                    self._group.start_soon(self._wait, seconds, self._back_off)
                case CancelBackOff():
                    self._back_off.cancel()
                case Finish():
                    self.finished.set()
                case _:
                    orderly.append(command)
        if orderly:
            self._group.start_soon(self._perform, tuple(orderly))
        self.on_step()

    async def _perform(self, commands: Commands) -> None:
        for command in commands:
            match command:
                case ResumeMachine():
                    await self._actions.resume_machine()
                case EndMain():
                    await self._actions.end_main()
                case MarkAsleep():
                    await self._actions.mark_asleep()
                case PowerOff():
                    await self._actions.power_off()

    async def _run_main(self) -> None:
        started = anyio.current_time()
        try:
            code = await self._actions.run_main()
        except SandboxfileError as exc:
            say(f"main process: {exc}")
            code = _NOT_STARTED
        self.tell(MainExited(code, anyio.current_time() - started))

    async def _wait(self, seconds: float, scope: anyio.CancelScope) -> None:
        with scope:
            await anyio.sleep(seconds)
            self.tell(BackOffOver())
