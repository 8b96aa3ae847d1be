"""Whatever is edited, killed, paused, deleted or overtaken: the next apply converges, and nothing protected is lost.

A history is a random file, random edits and commands, struck by crashes and interference at random places, lived
through the real planner, executor, journal, project lock, drivers and `machines` on a host that behaves (fake_host.py),
in virtual time. Afterwards one undisturbed apply must make everything as the file says, and a second plan be empty.
Here are those that were thought of; random ones are in test_lives_*. That the property can fail is shown by deliberate
mistakes, each of which must be found (test_mistakes.py).
"""

import pytest

from .corners import corners, crossroads
from .histories import History
from .living import live, strike_everywhere


@pytest.mark.parametrize("history", crossroads())
def test_an_apply_can_be_struck_at_every_place_and_the_file_undone(history: History) -> None:
    strike_everywhere(history)


@pytest.mark.parametrize("history", corners())
def test_corners_that_chance_seldom_comes_to(history: History) -> None:
    live(history)
