"""Progress on a terminal and off it, from the same events."""

import io

import anyio
import pytest

from sandboxfile.cli.views.console import Console
from sandboxfile.cli.views.progress import Board, Lines, amount, show_progress
from sandboxfile.errors import MachineError
from sandboxfile.model.events import StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted

EVENTS = [
    StepStarted("image shell", "it is not in the cache"),
    StepProgress("image shell", "installing", 1 << 30, 2 << 30),
    StepProgress("image shell", "installing", 2 << 30, 2 << 30),
    StepFinished("image shell", 61.0),
    StepStarted("start web", "it is to run"),
    StepFailed("start web", MachineError("QEMU died\x1b[2J")),
    StepSkipped("setup web", "start web"),
]


@pytest.fixture
def console():
    return Console(io.StringIO(), io.StringIO(), io.StringIO())


def test_off_a_terminal_each_event_is_a_line_and_a_moving_count_is_not(console):
    lines = Lines(console, clock=lambda: 0.0)
    for event in EVENTS:
        lines.emit(event)
    assert console.err.getvalue().splitlines() == [
        "image shell: it is not in the cache",
        "image shell: installing 1.0 GiB of 2.0 GiB",
        "image shell: done in 1 min 01 s",
        "start web: it is to run",
        "start web: failed",
        "setup web: skipped, because start web failed",
    ]
    assert console.out.getvalue() == ""


def test_off_a_terminal_a_chatty_step_is_heard_every_few_seconds(console):
    now = 0.0
    lines = Lines(console, clock=lambda: now)
    lines.emit(StepStarted("image dev", "why"))
    for tenth in range(100):
        now = tenth / 10
        lines.emit(StepProgress("image dev", "pulling", tenth << 20, 100 << 20))
        lines.draw()
    lines.emit(StepFinished("image dev", 10.0))
    assert console.err.getvalue().splitlines() == [
        "image dev: why",
        "image dev: pulling 0 B of 100.0 MiB",
        "image dev: pulling 30.0 MiB of 100.0 MiB",
        "image dev: pulling 60.0 MiB of 100.0 MiB",
        "image dev: pulling 90.0 MiB of 100.0 MiB",
        "image dev: done in 10 s",
    ]


def test_off_a_terminal_the_last_words_before_a_pause_are_said(console):
    now = 0.0
    lines = Lines(console, clock=lambda: now)
    for event in (StepStarted("image dev", "why"), *(StepProgress("image dev", word) for word in ("a", "b", "c"))):
        lines.emit(event)
    lines.draw()
    now = 3.0
    lines.draw()
    lines.draw()
    assert console.err.getvalue().splitlines()[1:] == ["image dev: a", "image dev: c"]


def test_off_a_terminal_what_a_step_said_last_is_not_lost_when_it_fails(console):
    lines = Lines(console, clock=lambda: 0.0)
    for event in (StepStarted("image dev", "why"), *(StepProgress("image dev", word) for word in ("a", "b"))):
        lines.emit(event)
    lines.emit(StepFailed("image dev", MachineError("died")))
    assert console.err.getvalue().splitlines()[1:] == ["image dev: a", "image dev: b", "image dev: failed"]


def test_off_a_terminal_a_silent_step_is_said_to_be_at_it_still(console):
    now = 0.0
    lines = Lines(console, clock=lambda: now)
    lines.emit(StepStarted("image dev", "why"))
    lines.emit(StepProgress("image dev", "merging"))
    for second in range(1, 65):
        now = float(second)
        lines.draw()
    assert console.err.getvalue().splitlines()[2:] == [
        "image dev: still at it after 30 s: merging",
        "image dev: still at it after 1 min 00 s: merging",
    ]


def test_a_count_without_an_end_is_shown_as_far_as_it_is(console):
    assert amount(StepProgress("k", "packing", 3 << 20)) == "packing 3.0 MiB"
    assert amount(StepProgress("k", "packing")) == "packing"


def screen(text):
    """What a terminal shows after `text`: understands `ESC[nF` and `ESC[J` only, as much as we use."""
    lines, row = [], 0
    while text:
        if text.startswith("\x1b["):
            number, kind = text[2:].split("F", 1)[0], "F"
            if text.startswith("\x1b[J"):
                lines, text = lines[:row], text[3:]
                continue
            assert number.isdigit(), text[:10]
            row -= int(number)
            assert row >= 0
            text = text[2 + len(number) + len(kind) :]
            continue
        line, _, text = text.partition("\n")
        lines[row:] = [line]
        row += 1
    return lines


def test_on_a_terminal_running_steps_stay_below_and_ended_ones_above(console):
    now = 100.0
    board = Board(console, clock=lambda: now, width=lambda: 60)
    board.emit(StepStarted("start a", "why a"))
    board.emit(StepStarted("start b", "why b"))
    now = 112.0
    board.emit(StepProgress("start b", "half\x1b[2J", 1 << 30, 2 << 30))
    board.draw()
    assert [line[8:] for line in screen(console.err.getvalue())] == [
        "start a (12 s) why a",
        "start b (12 s) half\N{REPLACEMENT CHARACTER}[2J 1.0 GiB of 2.0 GiB",
    ]
    board.emit(StepFinished("start a", 12.5))
    assert screen(console.err.getvalue())[0] == "done    start a (12 s)"
    assert len(screen(console.err.getvalue())) == 2
    board.emit(StepFailed("start b", MachineError("QEMU died")))
    board.emit(StepSkipped("setup b", "start b"))
    board.finish()
    assert screen(console.err.getvalue()) == [
        "done    start a (12 s)",
        "failed  start b",
        "skipped setup b because start b failed",
    ]


def test_lines_fit_the_terminal_and_so_does_their_number(console):
    board = Board(console, clock=lambda: 0.0, width=lambda: 30)
    for number in range(40):
        board.emit(StepStarted(f"start sandbox-{number}", "a very long reason indeed"))
    board.draw()
    shown = screen(console.err.getvalue())
    assert len(shown) == 13
    assert shown[-1] == "        … and 28 more"
    assert max(map(len, shown)) <= 30


def test_what_the_work_raises_comes_out_as_it_is():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    console = Console(io.StringIO(), Terminal(), io.StringIO())

    async def work():
        async with show_progress(console) as emit:
            emit(StepStarted("start a", "why"))
            await anyio.sleep(0.01)
            raise MachineError("died")

    with pytest.raises(MachineError):
        anyio.run(work)
    assert screen(console.err.getvalue()) == []
