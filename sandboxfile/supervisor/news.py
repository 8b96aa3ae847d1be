"""That something is another one than it was: who waits for it is woken, each time anew."""

from collections.abc import Callable

import anyio


class News:
    """Take `next` before looking at what may change, then wait for it: nothing that happens between is missed."""

    def __init__(self) -> None:
        self.next = anyio.Event()  # replaced each time

    def tell(self) -> None:
        """Wake who waits."""
        self.next.set()
        self.next = anyio.Event()

    async def when_due(self, seconds: Callable[[], float | None]) -> None:
        """Return when it is time, in so many seconds (None: not as things are), which is asked anew at all news."""
        while True:
            news = self.next
            pause = seconds()
            if pause is None:
                await news.wait()
                continue
            with anyio.move_on_after(pause):
                await news.wait()
            if not news.is_set():
                return
