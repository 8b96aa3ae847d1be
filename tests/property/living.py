"""Lives a history on the fake host, through the real pipeline, and checks what must hold, always and in the end."""

import tempfile
from dataclasses import replace
from pathlib import Path

import trio
import trio.testing

from sandboxfile.host.layout import Layout

from .attempt import Strike
from .checks import Broken
from .ending import end
from .fake_host import FakeHost, beneath_the_real_thing
from .histories import History, Round
from .life import Life


def live(history: History) -> list[int]:
    """Live it through, and give how many places to strike at the steps of each round had. Raises Broken."""
    # Trio reverses the order of ready tasks at random, and has no public way to repeat that.
    trio._core._run._r.seed(history.seed)
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="sbx-") as root:
        try:
            return trio.run(_live, history, Path(root), clock=trio.testing.MockClock(autojump_threshold=0))
        except ExceptionGroup as several:
            raise _first(several) from several


def strike_everywhere(history: History) -> None:
    """At each place of its last round: kill the client, fail the step, kill the supervisor. Then go on, or go back."""
    *before, last = history.rounds
    for place in range(1, live(history)[-1] + 1):
        for kind in ("kill client", "fail", "kill"):
            struck = replace(last, strikes=(Strike(True, place, kind),))
            live(replace(history, rounds=(*before, struck)))
            live(replace(history, rounds=(*before, struck, Round(undo=True, pause=100.0))))


def _first(failure: Exception) -> Exception:
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _memory() -> str | None:
    """Where files cost no disk writes: the journal is a real one, synced at each line."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


async def _live(history: History, root: Path) -> list[int]:
    layout = Layout(root / "state", root / "cache", root / "run")
    with trio.move_on_after(1e7) as ample:
        async with trio.open_nursery() as nursery:
            host = FakeHost(layout, nursery, history.seed)
            with beneath_the_real_thing(host):
                life = Life(history, host)
                with life.guard.watching(), life.keeping.patched():
                    for round in history.rounds:
                        await life.go_on(round)
                    await end(life, history.seed)
            nursery.cancel_scope.cancel()
    if ample.cancelled_caught:
        raise Broken("it hangs")
    return life.places[: len(history.rounds)]
