"""Runs a command's own function, which is synchronous and starts event loops, within the one that is running."""

import queue
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any

Order = Callable[[], Awaitable[Any]]


class Driver:
    """Of one command: it runs in a thread, and what is to be awaited is awaited for it. One of both stands still."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._end: tuple[Any, BaseException | None] = (None, None)

    def wait(self, order: Order) -> Any:
        """In the command's thread: as `run_async`."""
        self._orders.put(order)
        value, failure = self._replies.get()
        if failure is not None:
            raise failure
        return value

    async def drive(self, command: Callable[[], Any]) -> Any:
        """Run it to its end. Raises what it raises, as when the loop is cancelled."""
        thread = threading.Thread(target=copy_context().run, args=(self._live, command), daemon=True)
        thread.start()
        while (order := self._orders.get()) is not None:  # blocks the loop, so that its clock stands still, too
            try:
                value = await order()
            except BaseException as exc:
                self._replies.put((None, exc))
            else:
                self._replies.put((value, None))
        thread.join()
        value, failure = self._end
        if failure is not None:
            raise failure
        return value

    def _live(self, command: Callable[[], Any]) -> None:
        try:
            self._end = command(), None
        except BaseException as exc:
            self._end = None, exc
        finally:
            self._orders.put(None)
