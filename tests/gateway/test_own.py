"""The kernel is asked which addresses are this host's."""

from ipaddress import ip_address

import pytest

from sandboxfile.gateway.own import is_own


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("203.0.113.7", False), ("2001:db8::7", False), ("224.0.0.1", True)],
)
def test_own_is_what_may_be_bound(address: str, own: bool) -> None:
    assert is_own(ip_address(address)) is own
