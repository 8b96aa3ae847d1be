"""Progress of an apply: one stream of events, two renderers.

On a terminal: a line per running step, redrawn in place with its last message and time; finished steps stay above.
Off a terminal: a line per event, nothing is ever redrawn; a step that talks much is heard every few seconds, one that
is silent for long is said to be still at it. Both write to standard error.
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
_PAUSE = 3.0  # seconds between two lines of a log about the progress of one step
_SILENCE = 30.0  # seconds after which a log says that a step still runs
Emit = Callable[[Event], None]


@asynccontextmanager
async def show_progress(console: Console) -> AsyncIterator[Emit]:
    """Give the function that shows events, for as long as the work takes."""
    plain = not console.err.isatty() or os.environ.get("TERM") == "dumb"
    view = Lines(console) if plain else Board(console)

    async def tick() -> None:
        while True:
            view.draw()
            await anyio.sleep(_REDRAW)

    async with beside(tick):
        try:
            yield view.emit
        finally:
            view.finish()


def amount(event: StepProgress) -> str:
    """What it says, with how much of it is done, as far as that is known."""
    if event.done is None:
        return event.message
    of = f" of {roughly(event.total)}" if event.total else ""
    return f"{event.message} {roughly(event.done)}{of}"


@dataclass
class _Told:
    """What a log has said of a running step: since when it runs, its last words, and when that was."""

    since: float
    words: str
    at: float
    pending: str = ""
    progressed: bool = False


@dataclass
class Lines:
    """A plain line per event."""

    console: Console
    clock: Callable[[], float] = time.monotonic
    _told: dict[str, _Told] = field(default_factory=dict)

    def emit(self, event: Event) -> None:
        match event:
            case StepStarted(key, reason):
                self._say(key, reason)
                self._told[key] = _Told(self.clock(), reason, self.clock())
            case StepProgress(key) if key in self._told:
                self._progress(key, self._told[key], amount(event))
            case StepFinished(key, seconds):
                self._told.pop(key, None)
                self._say(key, f"done in {duration(seconds)}")
            case StepFailed(key):  # why is said at the end, with all that is known
                if (told := self._told.pop(key, None)) and told.pending:
                    self._say(key, told.pending)
                self._say(key, "failed")
            case StepSkipped(key, because):
                self._say(key, f"skipped, because {because} failed")

    def draw(self) -> None:
        """Say what had to wait, and what has been silent for long."""
        now = self.clock()
        for key, told in self._told.items():
            if told.pending and now - told.at >= _PAUSE:
                self._progress(key, told, told.pending)
            elif now - told.at >= _SILENCE:
                self._say(key, f"still at it after {duration(now - told.since)}: {told.pending or told.words}")
                told.at = now

    def finish(self) -> None:
        """Nothing stays to be said."""
        self._told.clear()

    def _progress(self, key: str, told: _Told, words: str) -> None:
        if words == told.words:
            told.pending = ""
        elif told.progressed and self.clock() - told.at < _PAUSE:
            told.pending = words  # a count of bytes must not become a line for each of them
        else:
            told.words, told.at, told.pending, told.progressed = words, self.clock(), "", True
            self._say(key, words)

    def _say(self, key: str, words: str) -> None:
        self.console.say(harmless(f"{key}: {words}"))


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
            case StepProgress(key) if key in self._running:
                self._running[key].message = amount(event)
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
