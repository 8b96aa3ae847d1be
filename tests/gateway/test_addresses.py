"""Addresses inside stand for one name, for as long as anybody can mean it."""

from ipaddress import IPv4Address

import pytest

from sandboxfile.gateway.addresses import NETWORK, TTL, Exhausted, FakeAddresses


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_name_has_one_address_and_an_address_one_name() -> None:
    found = FakeAddresses(Clock())
    names = [f"host{number}.example.com" for number in range(5000)]
    addresses = [found.address(name) for name in names]
    assert len(set(addresses)) == len(names)
    assert all(address in NETWORK for address in addresses)
    assert [found.address(name) for name in names] == addresses
    assert [found.name(address) for address in addresses] == names
    assert found.name(IPv4Address("198.18.0.0")) is None


def test_a_process_that_came_back_gives_the_same_addresses() -> None:
    before, after = FakeAddresses(Clock()), FakeAddresses(Clock())
    names = [f"host{number}.example.com" for number in range(50)]
    addresses = {name: before.address(name) for name in names}
    assert {name: after.address(name) for name in reversed(names)} == addresses


def test_an_address_is_given_away_only_when_nobody_can_remember_or_use_it() -> None:
    clock = Clock()
    found = FakeAddresses(clock, limit=2)
    first, second = found.address("a.example.com"), found.address("b.example.com")
    found.opened("a.example.com")
    with pytest.raises(Exhausted):
        found.address("c.example.com")
    clock.now += TTL + 59
    with pytest.raises(Exhausted):
        found.address("c.example.com")
    clock.now += 2
    found.address("c.example.com")  # in the place of b: a is in use, for however long
    assert (found.name(first), found.name(second)) == ("a.example.com", None)
    with pytest.raises(Exhausted):
        found.address("d.example.com")
    found.closed("a.example.com")
    with pytest.raises(Exhausted):  # who was just connected may come again
        found.address("d.example.com")
    clock.now += TTL + 61
    found.address("d.example.com")
    assert found.name(first) is None


def test_asking_again_keeps_a_name() -> None:
    clock = Clock()
    found = FakeAddresses(clock, limit=2)
    first = found.address("a.example.com")
    found.address("b.example.com")
    clock.now += TTL + 61
    found.address("a.example.com")
    found.address("c.example.com")
    assert found.name(first) == "a.example.com"
