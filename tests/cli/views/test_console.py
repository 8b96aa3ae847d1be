"""Questions at a terminal."""

import asyncio
import os
import signal
from io import StringIO

import pytest

from sandboxfile.cli.views.console import Console


class Waiting(StringIO):
    """A terminal at which somebody presses Ctrl-C instead of answering; `waits` is true when that changed nothing."""

    waits = False

    def readline(self, *_: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        self.waits = True
        return "y\n"


def test_ctrl_c_at_a_question_ends_it_at_once_also_in_an_event_loop() -> None:
    terminal = Waiting()

    async def asking() -> bool:
        return Console(StringIO(), StringIO(), terminal).ask("Apply this?")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(asking())
    assert not terminal.waits
    assert signal.getsignal(signal.SIGINT) == before


def test_anything_but_yes_is_no() -> None:
    def answer(text: str) -> bool:
        return Console(StringIO(), StringIO(), StringIO(text)).ask("Apply this?")

    assert [answer(text) for text in ("y\n", "YES\n", "yes", "\n", "maybe\n", "")] == [True, True, True] + [False] * 3
