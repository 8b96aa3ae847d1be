"""For scenarios about the network: origin servers on loopback that names lead to, and listeners nobody may reach.

    origin   running servers; the gateway of this test's user finds them by name (`origin.publish` adds names)
    traps    `traps.tcp(host, port)`, `.udp`, `.unix`, `.abstract`, `.vsock`; `traps.assert_untouched()` at the end

An origin is on 127.0.0.1, so a policy reaches it only by a rule that names its host exactly.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..egress.authority import Authority
from ..egress.origin import Origin, running
from ..egress.traps import Traps
from ..egress.traps import traps as watched


@pytest.fixture(scope="session")
def origin_authority() -> Authority:
    """One for the whole run: what trusts it once may go on."""
    return Authority()


@pytest.fixture
def origin(sbx: Any, tmp_path: Path, origin_authority: Authority) -> Iterator[Origin]:
    place = tmp_path / "origin"
    place.mkdir()
    with running(place, origin_authority) as servers:
        servers.publish(sbx.home / ".config/sandboxfile")
        yield servers


@pytest.fixture(scope="module")
def module_origin(
    module_sbx: Any, tmp_path_factory: pytest.TempPathFactory, origin_authority: Authority
) -> Iterator[Origin]:
    """The same for all tests of a module, which share a sandbox."""
    with running(tmp_path_factory.mktemp("origin"), origin_authority) as servers:
        servers.publish(module_sbx.home / ".config/sandboxfile")
        yield servers


@pytest.fixture
def traps() -> Iterator[Traps]:
    with watched() as listeners:
        yield listeners
