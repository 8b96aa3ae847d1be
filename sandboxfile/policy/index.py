"""Rules by name and by range. A look-up costs as much as the name has labels, and as there are prefix lengths.

So it costs the same with ten rules and with ten thousand. Nothing here decides; nothing changes once it is made.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sandboxfile.policy.addresses import Address
from sandboxfile.policy.patterns import Kind
from sandboxfile.policy.rules import ReadyRule

Bucket = tuple[ReadyRule, ...]  # rules of one pattern, in the order of their rank
Ports = Mapping[int | None, Bucket]  # the rules of one name by port; None: of every port
NO_PORTS: Ports = MappingProxyType({})


def allows(bucket: Bucket) -> bool:
    """Whether some rule of one pattern allows something."""
    return any(rule.effect == "allow" for rule in bucket)


@dataclass(frozen=True, slots=True)
class NameIndex:
    """Rules by name: exact hosts, `*.` and `**.` by what follows, and `*`."""

    hosts: Mapping[str, Ports]
    wildcards: Mapping[str, Ports]
    deep: Mapping[str, Ports]
    every: Ports

    def buckets(self, host: str, suffixes: tuple[str, ...], port: int) -> Iterator[Bucket]:
        """What speaks of a host and port, most specific first; `suffixes` of an address are none."""
        for ports in self.tables(host, suffixes):
            for table in ports:
                if port in table:
                    yield table[port]
            for table in ports:
                if None in table:
                    yield table[None]

    def tables(self, host: str, suffixes: tuple[str, ...]) -> Iterator[tuple[Ports, ...]]:
        """What speaks of a host on any port, most specific first; tables that come together are equally long."""
        if host in self.hosts:
            yield (self.hosts[host],)
        for suffix in suffixes:
            below = self.wildcards.get(suffix, NO_PORTS) if suffix != host else NO_PORTS
            deep = self.deep.get(suffix, NO_PORTS)
            if below or deep:
                yield below, deep
        if self.every:
            yield (self.every,)


@dataclass(frozen=True, slots=True)
class RangeIndex:
    """Rules by range: for each IP version the prefix lengths that occur, longest first, with the networks of each."""

    lengths: Mapping[int, tuple[tuple[int, Mapping[int, Bucket]], ...]]

    def buckets(self, address: Address) -> Iterator[Bucket]:
        """What speaks of an address, longest prefix first."""
        number, bits = int(address), address.max_prefixlen
        for length, networks in self.lengths.get(address.version, ()):
            bucket = networks.get(number >> (bits - length))
            if bucket is not None:
                yield bucket


def name_index(rules: Iterable[ReadyRule]) -> NameIndex:
    """Index the rules that name hosts; ranges are left out."""
    found: dict[Kind, dict[str, dict[int | None, list[ReadyRule]]]] = defaultdict(dict)
    for rule in rules:
        if rule.pattern.kind != "range":
            ports = found[rule.pattern.kind].setdefault(rule.pattern.name, {})
            ports.setdefault(rule.pattern.port, []).append(rule)
    hosts, wildcards, deep = (
        MappingProxyType({name: _frozen(ports) for name, ports in found[kind].items()}) for kind in _NAMED
    )
    return NameIndex(hosts, wildcards, deep, _frozen(found["any"].get("", {})))


_NAMED: tuple[Kind, ...] = ("host", "wildcard", "deep")


def range_index(rules: Iterable[ReadyRule]) -> RangeIndex:
    """Index the rules that are ranges; names are left out."""
    found: dict[int, dict[int, dict[int, list[ReadyRule]]]] = defaultdict(lambda: defaultdict(dict))
    for rule in rules:
        network = rule.pattern.network
        if network is not None:
            number = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
            found[network.version][network.prefixlen].setdefault(number, []).append(rule)
    lengths = {
        version: tuple((length, _frozen(networks)) for length, networks in sorted(by_length.items(), reverse=True))
        for version, by_length in found.items()
    }
    return RangeIndex(MappingProxyType(lengths))


def _frozen[Key](buckets: Mapping[Key, list[ReadyRule]]) -> Mapping[Key, Bucket]:
    return MappingProxyType({key: tuple(sorted(rules, key=lambda rule: rule.rank)) for key, rules in buckets.items()})
