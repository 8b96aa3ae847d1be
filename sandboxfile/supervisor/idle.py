"""When a sandbox in which nothing is done goes to sleep. Activity in, `sleep` out; a thin runner waits.

Something is done: a command or a session of a client, an agent with or without somebody at its terminal, setup, a main
process that runs or is to be started again, a connection through a port, a change by a client. What merely looks (its
status, its healthcheck) is nothing, and neither is what a detached command left running inside.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import anyio

from sandboxfile.model.observed import AgentSession
from sandboxfile.supervisor.lifecycle import Life, at_rest
from sandboxfile.supervisor.news import News


@dataclass(frozen=True, slots=True)
class Quiet:
    """The state. `limit`: seconds until it sleeps, 0: never; `since`: when the last thing ended, None: one goes on."""

    limit: float
    since: float | None = None


def noticed(state: Quiet, busy: bool, at: float) -> Quiet:
    """The state, now that somebody looked whether anything is done."""
    if busy:
        return replace(state, since=None)
    return replace(state, since=at) if state.since is None else state


def limited(state: Quiet, limit: float, at: float) -> Quiet:
    """The state with another limit, which counts from now: nobody is put to sleep by a change."""
    if limit == state.limit:
        return state
    return Quiet(limit, None if state.since is None else at)


def sleeps_in(state: Quiet, now: float) -> float | None:
    """Seconds until it is to sleep; None: not as things are."""
    if not state.limit or state.since is None:
        return None
    return max(0.0, state.since + state.limit - now)


def is_busy(life: Life, session: AgentSession, clients: int) -> bool:
    """Whether anything is done; also while it is on its way up or down, and while somebody paused it."""
    return not at_rest(life) or session != "none" or clients > 0


class Idle:
    """That of one sandbox. `busy` says whether anything is done besides what `during` counts in `clients`.

    `look` is called whenever that may have changed; `run` is the task that calls `sleep`, which may refuse.
    """

    def __init__(self, limit: float, busy: Callable[[int], bool], sleep: Callable[[], None]) -> None:
        self.state = Quiet(limit)
        self.clients = 0
        self._busy = busy
        self._sleep = sleep
        self._news = News()

    @contextmanager
    def during(self) -> Iterator[None]:
        """Somebody does something during the block."""
        self.clients += 1
        self.look()
        try:
            yield
        finally:
            self.clients -= 1
            self.look()

    def look(self) -> None:
        """Look whether anything is done."""
        self._set(noticed(self.state, self._busy(self.clients), anyio.current_time()))

    def change(self, limit: float) -> None:
        """Sleep after so many seconds, 0: never."""
        self._set(limited(self.state, limit, anyio.current_time()))

    async def run(self) -> None:
        """Have it sleep, when it is time to; for ever, for it may refuse."""
        while True:
            await self._news.when_due(lambda: sleeps_in(self.state, anyio.current_time()))
            self._set(replace(self.state, since=None))
            self._sleep()
            self.look()

    def _set(self, state: Quiet) -> None:
        if state != self.state:
            self.state = state
            self._news.tell()
