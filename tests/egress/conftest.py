"""The origin servers and traps, as the tests of their own use them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .authority import Authority
from .origin import Origin, running
from .traps import Traps, traps


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def origin(tmp_path: Path, authority: Authority) -> Iterator[Origin]:
    place = tmp_path / "origin"
    place.mkdir()
    with running(place, authority) as servers:
        yield servers


@pytest.fixture(name="traps")
def watched_traps() -> Iterator[Traps]:
    with traps() as watched:
        yield watched
