"""Addresses that hide in others, and those that are never dialled."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.policy.addresses import forms, never_dialled


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("127.0.0.1", []),
        ("2001:db8::1", []),
        ("::1", []),
        ("::", []),
        ("::ffff:127.0.0.1", ["127.0.0.1"]),
        ("::127.0.0.1", ["127.0.0.1"]),
        ("::ffff:0:127.0.0.1", ["127.0.0.1"]),
        ("64:ff9b::127.0.0.1", ["127.0.0.1"]),
        ("64:ff9b:1::127.0.0.1", ["127.0.0.1"]),
        ("2002:7f00:1::1", ["127.0.0.1"]),
        ("2001:0:102:304::80ff:fffe", ["1.2.3.4", "127.0.0.1"]),
        ("fe80::5efe:127.0.0.1", ["127.0.0.1"]),
        ("2001:db8::200:5efe:127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_an_address_is_looked_through(address, hidden):
    found = forms(ip_address(address))
    assert found == (ip_address(address), *map(ip_address, hidden))


@given(st.ip_addresses(v=6))
def test_what_the_standard_library_finds_is_found(address):
    expected = {address.ipv4_mapped, address.sixtofour, *(address.teredo or ())} - {None}
    assert expected <= set(forms(address))


@pytest.mark.parametrize(
    ("address", "never"),
    [
        ("0.0.0.0", True),
        ("0.255.255.255", True),
        ("1.0.0.0", False),
        ("198.17.255.255", False),
        ("198.18.0.0", True),
        ("198.19.255.255", True),
        ("198.20.0.0", False),
        ("223.255.255.255", False),
        ("224.0.0.0", True),
        ("255.255.255.255", True),
        ("::", True),
        ("::1", False),
        ("feff::", False),
        ("ff00::", True),
        ("ffff::", True),
    ],
)
def test_what_is_not_one_host_is_never_dialled(address, never):
    assert never_dialled(ip_address(address)) == never
