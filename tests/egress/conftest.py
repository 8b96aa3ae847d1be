"""The origin servers and traps, as the tests of their own use them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .authority import Authority
from .gateway import gateway
from .inside import Inside
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


@pytest.fixture
def sandbox(origin, clean_home, tmp_path):
    """Registers a sandbox with a policy; the gateway is started with the first."""
    home = tmp_path / "home"
    home.mkdir()
    with gateway(clean_home) as running:
        started = []

        def make(given, name="web", **overrides):
            origin.publish(running.layout.config, overrides.pop("resolve", None))
            if not started:
                running.start()
                started.append(running)
            return Inside(running, running.register(name, given, **overrides), origin, home)

        yield make
