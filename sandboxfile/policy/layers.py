"""What one layer says of one request, and by which rule. Layers know nothing of each other.

First the name: the most specific rule, else the mode. Then each address that would be dialled: the range with the
longest prefix. The name decides whether; an address can only forbid, but for a literal address that nothing names.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from sandboxfile.model.policy import Layer
from sandboxfile.policy.addresses import Address
from sandboxfile.policy.index import Bucket, NameIndex, RangeIndex
from sandboxfile.policy.patterns import LOCALHOST
from sandboxfile.policy.rules import Facts, ReadyRule

# `rule`: one that names the host. `range`: one that holds the address. `localhost`: it needs a rule of its own.
Basis = Literal["rule", "range", "mode", "localhost"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` is None for mode and localhost. `address` is the one that a range forbids.

    `inspects`: what this layer says depends on method or path.
    """

    allowed: bool
    basis: Basis
    rule: ReadyRule | None = None
    address: Address | None = None
    inspects: bool = False

    @property
    def exact(self) -> bool:
        """Whether a rule allows this very host: then ranges that are blocked by default do not count."""
        return self.allowed and self.rule is not None and self.rule.pattern.kind == "host"


@dataclass(frozen=True, slots=True)
class ReadyLayer:
    """A layer with its rules indexed. `own`: the sandbox's own, which alone says who may send raw bytes.

    What is closed by default (private ranges, the host's own ports) is closed by the own layer, and opened by it:
    an enforced layer in mode allow that says nothing of a place does not stand in the way.
    """

    layer: Layer
    own: bool
    names: NameIndex
    ranges: RangeIndex
    bypass_names: NameIndex
    bypass_ranges: RangeIndex

    def decide(self, facts: Facts) -> Verdict:
        """What this layer says. Without addresses: what it says of the name."""
        verdict = self._by_name(facts)
        if verdict.basis == "mode" and not verdict.allowed and facts.literal is not None:
            verdict = self._admitted(facts, facts.literal, verdict)
        if verdict.allowed and facts.checked is not None:
            return self._by_addresses(facts, facts.checked, verdict)
        return verdict

    def bypasses(self, facts: Facts) -> bool:
        """Whether a bypass rule names the host, or ranges of such rules hold every address that would be dialled."""
        if _in_force(self.bypass_names.buckets(facts.host, facts.suffixes, facts.port), facts):
            return True
        addresses = facts.addresses or ()
        return bool(addresses) and all(_in_force(self.bypass_ranges.buckets(each), facts) for each in addresses)

    def _by_name(self, facts: Facts) -> Verdict:
        inspects = False
        for rule in chain.from_iterable(self._buckets(facts)):
            inspects = inspects or rule.inspects(facts)
            if not rule.mismatch(facts):
                return Verdict(rule.effect == "allow", "rule", rule, inspects=inspects)
        if self._closes(facts):
            return Verdict(False, "localhost", inspects=inspects)
        allowed = self.layer.mode == "allow" and not (self.own and facts.tcp)
        return Verdict(allowed, "mode", inspects=inspects)

    def _closes(self, facts: Facts) -> bool:
        """Whether this is a port of the host, in a layer that has to open it."""
        return facts.host == LOCALHOST and (self.own or self.layer.mode == "deny")

    def _buckets(self, facts: Facts) -> Iterable[Bucket]:
        if self._closes(facts):  # nothing speaks of it but `localhost:PORT`
            bucket = self.names.hosts.get(LOCALHOST, {}).get(facts.port)
            return () if bucket is None else (bucket,)
        return self.names.buckets(facts.host, facts.suffixes, facts.port)

    def _admitted(self, facts: Facts, address: Address, otherwise: Verdict) -> Verdict:
        """What ranges say of a literal address that no rule names, in mode deny."""
        rule, inspects = self._range(address, facts, admitting=True, exact=False)
        inspects = inspects or otherwise.inspects
        if rule is None:
            return replace(otherwise, inspects=inspects)
        allowed = rule.effect == "allow"
        return Verdict(allowed, "range", rule, None if allowed else address, inspects)

    def _by_addresses(self, facts: Facts, addresses: Iterable[Address], verdict: Verdict) -> Verdict:
        inspects = verdict.inspects
        for address in addresses:
            rule, conditional = self._range(address, facts, admitting=False, exact=verdict.exact)
            inspects = inspects or conditional
            if rule is not None and rule.effect != "allow":
                return Verdict(False, "range", rule, address, inspects)
        return replace(verdict, inspects=inspects)

    def _range(self, address: Address, facts: Facts, *, admitting: bool, exact: bool) -> tuple[ReadyRule | None, bool]:
        """The range that speaks of an address, and whether it depends on method or path.

        Raw bytes are admitted by no range; but where a name admitted them, ranges speak as they do of all addresses.
        """
        inspects = False
        for rule in chain.from_iterable(self.ranges.buckets(address)):
            if rule.effect == "default" and (admitting or exact):
                continue
            inspects = inspects or rule.inspects(facts)
            mismatch = rule.mismatch(facts)
            if not mismatch or (mismatch == "protocol" and not admitting and not rule.conditional):
                return rule, inspects
        return None, inspects


def _in_force(buckets: Iterator[Bucket], facts: Facts) -> bool:
    """Whether a bypass rule counts today; method and path do not matter to what is not looked into."""
    return any(rule.in_force(facts) for rule in chain.from_iterable(buckets))
