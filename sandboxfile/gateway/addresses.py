"""Which name each address of 198.18.0.0/15 stands for inside one sandbox.

The address of a name is found by a hash of it, so it is usually the same after this process died and came back: a
client that still remembers it must not be taken to another name. An address goes to another name only when no
connection to it is open and nobody can still remember it. Pure but for the clock that is passed in.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

NETWORK = IPv4Network("198.18.0.0/15")
TTL = 30  # seconds
_KEPT = TTL + 60.0  # seconds after the last answer
_NAMES = 8192  # at a time


class Exhausted(Exception):
    """So many names are in use that there is no address for another."""


class FakeAddresses:
    """The names of one sandbox that were asked for, least recently used first."""

    def __init__(self, clock: Callable[[], float], limit: int = _NAMES) -> None:
        self._clock = clock
        self._limit = limit
        self._by_name: OrderedDict[str, _Entry] = OrderedDict()
        self._by_address: dict[int, str] = {}

    def address(self, name: str) -> IPv4Address:
        """The address that stands for `name` from now on, at least for TTL seconds. Raises Exhausted."""
        entry = self._by_name.get(name)
        if entry is None:
            if len(self._by_name) >= self._limit:
                self._forget_one()
            entry = _Entry(self._free(name))
            self._by_name[name] = entry
            self._by_address[entry.address] = name
        entry.answered = self._clock()
        self._by_name.move_to_end(name)
        return IPv4Address(entry.address)

    def name(self, address: IPv4Address) -> str | None:
        """The name that an address stands for."""
        return self._by_address.get(int(address))

    def opened(self, name: str) -> None:
        """A connection to this name's address is open. Each is followed by `closed`."""
        if (entry := self._by_name.get(name)) is not None:
            entry.connections += 1
            self._by_name.move_to_end(name)

    def closed(self, name: str) -> None:
        """The end of what `opened` announced."""
        if (entry := self._by_name.get(name)) is not None:
            entry.connections -= 1
            entry.answered = max(entry.answered, self._clock() - TTL)

    def _free(self, name: str) -> int:
        size = NETWORK.num_addresses - 2  # neither the first nor the last: they look like a network and a broadcast
        place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % size
        first = int(NETWORK.network_address) + 1
        while first + place in self._by_address:  # far more addresses than names
            place = (place + 1) % size
        return first + place

    def _forget_one(self) -> None:
        """Those with open connections are few, and of the others the first has been unused for longest."""
        name = next((name for name, entry in self._by_name.items() if not entry.connections), None)
        if name is None or self._clock() - self._by_name[name].answered < _KEPT:
            raise Exhausted
        del self._by_address[self._by_name.pop(name).address]


class _Entry:
    __slots__ = ("address", "answered", "connections")

    def __init__(self, address: int) -> None:
        self.address = address
        self.answered = 0.0
        self.connections = 0
