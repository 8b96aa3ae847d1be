"""One piece of long work outside a plan, told like a step of one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from sandboxfile.cli.views.progress import Emit
from sandboxfile.model.events import StepFailed, StepFinished, StepProgress, StepStarted


@asynccontextmanager
async def working(key: str, reason: str, emit: Emit) -> AsyncIterator[Callable[[str], None]]:
    """Tell that `key` began, and how it ended; gives what tells of its progress."""
    emit(StepStarted(key, reason))
    started = anyio.current_time()
    try:
        yield lambda message: emit(StepProgress(key, message))
    except Exception as exc:
        emit(StepFailed(key, exc))
        raise
    emit(StepFinished(key, anyio.current_time() - started))
