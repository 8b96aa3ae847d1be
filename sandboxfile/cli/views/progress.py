"""Progress of an apply: one stream of events, two renderers.

On a terminal: a line per running step, redrawn in place with its last message and time; finished steps stay above.
Off a terminal: a line per event, nothing is ever redrawn. Both write to standard error.
"""

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.text import duration, harmless, one_line, roughly
from sandboxfile.host.tasks import beside
from sandboxfile.model.events import Event, StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted

_REDRAW = 0.15  # seconds; also how often the clocks tick
_ROWS = 12  # running steps shown: what has scrolled off the top of a terminal cannot be redrawn
_SPINNER = "|/-\\"
Emit = Callable[[Event], None]


@asynccontextmanager
async def show_progress(console: Console) -> AsyncIterator[Emit]:
    """Give the function that shows events, for as long as the work takes."""
    if not console.err.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(console).emit
        return
    board = Board(console)

    async def tick() -> None:
        while True:
            board.draw()
            await anyio.sleep(_REDRAW)

    async with beside(tick):
        try:
            yield board.emit
        finally:
            board.finish()


@dataclass
class Lines:
    """A plain line per event."""

    console: Console
    _last: dict[str, str] = field(default_factory=dict)

    def emit(self, event: Event) -> None:
        match event:
            case StepStarted(key, reason):
                self.console.say(harmless(f"{key}: {reason}"))
            case StepProgress(key, message):
                if self._last.get(key) != message:  # a moving percentage is no news in a log
                    self._last[key] = message
                    self.console.say(harmless(f"{key}: {message}"))
            case StepFinished(key, seconds):
                self.console.say(harmless(f"{key}: done in {duration(seconds)}"))
            case StepFailed(key):  # why is said at the end, with all that is known
                self.console.say(harmless(f"{key}: failed"))
            case StepSkipped(key, because):
                self.console.say(harmless(f"{key}: skipped, because {because} failed"))


@dataclass
class _Running:
    since: float
    message: str


@dataclass
class Board:
    """Running steps at the bottom of the terminal, ended ones above them."""

    console: Console
    clock: Callable[[], float] = time.monotonic
    width: Callable[[], int] = lambda: _columns()
    _running: dict[str, _Running] = field(default_factory=dict)
    _ended: list[str] = field(default_factory=list)
    _drawn: int = 0
    _frame: int = 0

    def emit(self, event: Event) -> None:
        match event:
            case StepStarted(key, reason):
                self._running[key] = _Running(self.clock(), reason)
            case StepProgress(key, message, done, total) if key in self._running:
                amount = f" {roughly(done)} of {roughly(total)}" if done is not None and total else ""
                self._running[key].message = message + amount
                return  # drawn with the next tick: a chatty build must not become a redraw per line
            case StepFinished(key, seconds):
                self._end(key, self.console.style("done   ", "green"), f"({duration(seconds)})")
            case StepFailed(key):
                self._end(key, self.console.style("failed ", "red"), "")
            case StepSkipped(key, because):
                self._end(key, self.console.style("skipped", "yellow"), f"because {because} failed")
        self.draw()

    def _end(self, key: str, mark: str, text: str) -> None:
        self._running.pop(key, None)
        self._ended.append(f"{mark} {one_line(f'{key} {text}', self.width() - 8)}")

    def draw(self) -> None:
        """Erase what was drawn last, and draw what is so now."""
        self._frame += 1
        running = self.lines()
        self._write([*self._ended, *running], len(running))
        self._ended.clear()

    def lines(self) -> list[str]:
        """A line for each running step."""
        mark = _SPINNER[self._frame % len(_SPINNER)]
        room = self.width() - 8
        lines = [
            f"{mark}       {one_line(f'{key} ({duration(self.clock() - step.since)}) {step.message}', room)}"
            for key, step in list(self._running.items())[:_ROWS]
        ]
        more = len(self._running) - _ROWS
        return lines + [f"        … and {more} more"] * (more > 0)

    def finish(self) -> None:
        """Leave only the ended steps on the terminal."""
        self._running.clear()
        self.draw()

    def _write(self, lines: list[str], live: int) -> None:
        erase = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self.console.err.write(erase + "".join(f"{line}\n" for line in lines))
        self.console.err.flush()
        self._drawn = live


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
