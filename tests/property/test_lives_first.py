"""Random histories, the first half: of each the next apply converges, and nothing protected is lost."""

import pytest

from .random_lives import SHARES, live_share


@pytest.mark.parametrize("number", range(SHARES // 2))
def test_the_next_apply_converges_and_nothing_protected_is_lost(number: int) -> None:
    live_share(number)
