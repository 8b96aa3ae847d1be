"""Random histories, in shares, so that several processes can live them. Used by test_lives_first and _second.

SBX_HISTORIES=5000 lives as many, other ones each time; without it they are the same in every run.
"""

import os

from hypothesis import HealthCheck, given, seed, settings

from .histories import History, histories
from .living import live

HISTORIES = int(os.environ.get("SBX_HISTORIES", "0"))
SHARES = 10
COMMON = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def live_share(number: int) -> None:
    """One of the SHARES of them all, by its number."""

    @settings(COMMON, max_examples=(HISTORIES or 2000) // SHARES, print_blob=True)
    @given(histories())
    def lives(history: History) -> None:
        live(history)

    (lives if HISTORIES else seed(number)(lives))()
