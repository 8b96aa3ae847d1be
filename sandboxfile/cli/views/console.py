"""Where text goes: data to standard output, talk to standard error, colour only where a person looks at it."""

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from sandboxfile.cli.views.text import harmless
from sandboxfile.errors import SandboxfileError

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass
class Console:
    """The terminal or files that a command talks to. `color` is of standard error and output alike."""

    out: TextIO
    err: TextIO
    source: TextIO
    color: bool = False

    @classmethod
    def of_process(cls, environ: Mapping[str, str]) -> "Console":
        """The process's own streams; colour when both are terminals and NO_COLOR (no-color.org) is not set."""
        color = sys.stdout.isatty() and sys.stderr.isatty() and not environ.get("NO_COLOR")
        return cls(sys.stdout, sys.stderr, sys.stdin, color and environ.get("TERM") != "dumb")

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked."""
        return self.source.isatty() and self.err.isatty()

    def print(self, text: str) -> None:
        """Data: what another program may read."""
        print(text, file=self.out)

    def say(self, text: str) -> None:
        """Talk: what a person may want to know."""
        print(text, file=self.err, flush=True)

    def style(self, text: str, *names: str) -> str:
        """`text` in colour, or as it is."""
        if not self.color or not names:
            return text
        return f"\x1b[{';'.join(STYLES[name] for name in names)}m{text}\x1b[0m"

    def error(self, message: str) -> None:
        """One line about what went wrong."""
        self.say(self.style("error:", "bold", "red") + f" {message}")

    def warn(self, message: str) -> None:
        """One line that stops nothing."""
        self.say(self.style("warning:", "bold", "yellow") + f" {message}")

    def failure(self, exc: SandboxfileError, about: str | None = None) -> None:
        """A failure with all it knows: message, hint, the command to run again, the end of its output."""
        self.error(harmless(f"{about}: {exc.message}" if about else exc.message))
        for line in exc.details():
            self.say(harmless(line))

    def ask(self, question: str) -> bool:
        """Ask a yes-or-no question; anything but yes is no."""
        print(f"{question} [y/N] ", end="", file=self.err, flush=True)
        with _interruptible():
            answer = self.source.readline()
        if not answer.endswith("\n"):
            self.say("")
        return answer.strip().lower() in ("y", "yes")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the waiting at once: what an event loop does instead comes to pass when an answer is there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
