"""From a caller without an event loop to our own code with one, and errors that say all they know in a traceback."""

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import anyio

from sandboxfile.errors import SandboxfileError


def blocking[Result](work: Callable[[], Awaitable[Result]]) -> Result:
    """Run `work` to its end. In a thread that has an event loop already (a notebook), in a thread beside it."""
    with explained():
        if not _has_loop():
            return anyio.run(work)
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(anyio.run, work).result()


@contextmanager
def explained() -> Iterator[None]:
    """Errors of ours leave the block as themselves, out of any group, with hint and failed command as notes."""
    try:
        try:
            yield
        except BaseExceptionGroup as group:
            raise _first(group) from group
    except SandboxfileError as exc:
        for line in exc.details():
            if line not in getattr(exc, "__notes__", ()):
                exc.add_note(line)
        raise


def _first(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _has_loop() -> bool:
    try:
        anyio.current_time()
    except RuntimeError:
        return False
    return True
