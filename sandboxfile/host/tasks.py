"""Tasks beside a block of work, or beside each other: nobody outlives the rest, failures come out as themselves.

A bare task group wraps what the block raises into an ExceptionGroup, and no `except SandboxfileError` sees it.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def beside(*tasks: Callable[[], Coroutine[Any, Any, object]]) -> AsyncIterator[TaskGroup]:
    """Run `tasks` during the block, and whatever it starts in the group given; cancel them at its end.

    When several fail at once, the first is raised and carries the others as its context.
    """
    try:
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(task)
            yield group
            group.cancel_scope.cancel()
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


async def together(*tasks: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run `tasks` at the same time until all have ended; the first that fails ends the others and is raised."""
    try:
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(task)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
