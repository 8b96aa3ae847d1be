"""Refused for lack of a rule: the rule that was probably meant, and why it does not speak of this request.

Words only: nothing is decided here. As cheap as the decision itself, for a guest may ask for refusals all day.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice

from sandboxfile.model.policy import NO_POLICY, Layer
from sandboxfile.policy.index import NO_PORTS, Bucket, allows
from sandboxfile.policy.layers import ReadyLayer
from sandboxfile.policy.rules import Facts, ReadyRule

_SHOWN_PORTS = 4


def nearest(layer: ReadyLayer, facts: Facts) -> str:
    """What to say after "is not allowed: "; empty when no rule comes near."""
    rule = _allowing(layer.names.buckets(facts.host, facts.suffixes, facts.port))
    if rule is not None:
        return f"{whose(layer.layer)} {_miss(rule, facts)}{at(rule.rule.place)}"
    return next(_neighbours(layer, facts), "")


def whose(layer: Layer) -> str:
    """A layer as the subject of a sentence."""
    return "this sandbox" if layer.name == NO_POLICY.own.name else layer.name


def at(place: str) -> str:
    """A place as it ends a sentence."""
    return f" ({place})" if place else ""


def _allowing(buckets: Iterable[Bucket]) -> ReadyRule | None:
    return next((rule for rule in chain.from_iterable(buckets) if rule.effect == "allow"), None)


def _miss(ready: ReadyRule, facts: Facts) -> str:
    rule = ready.rule
    match ready.mismatch(facts):
        case "until":
            return f'allowed it until {rule.until} by rule "{rule.pattern}"'
        case "methods":
            return f"allows only {', '.join(rule.methods)} there"
        case "paths" if facts.odd_path:
            return f"allows only {', '.join(rule.paths)} there, and servers may read this path in several ways"
        case "paths":
            return f"allows only {', '.join(rule.paths)} there"
        case _:
            return f"allows only {'raw TCP' if rule.protocol == 'tcp' else 'HTTP, not raw TCP,'} there"


def _neighbours(layer: ReadyLayer, facts: Facts) -> Iterator[str]:
    name = whose(layer.layer)
    named = layer.names.hosts.get(facts.host, NO_PORTS)
    if rule := _allowing(named.values()):
        yield f"{name} allows it only on port {_ports(named)}{at(rule.rule.place)}"
    below = layer.names.wildcards.get(facts.host, NO_PORTS)
    if rule := _allowing(below.values()):
        yield f'rule "{rule.rule.pattern}" of {name} is for names below {facts.host}{at(rule.rule.place)}'
    for parent in facts.suffixes[1:2]:
        if rule := _allowing(layer.names.hosts.get(parent, NO_PORTS).values()):
            alone = "is for that name alone, not for names below it"
            yield f'rule "{rule.rule.pattern}" of {name} {alone}{at(rule.rule.place)}'


def _ports(named: Mapping[int | None, Bucket]) -> str:
    """The first few; a name may have as many rules as there are ports."""
    allowed = (str(port) for port, bucket in named.items() if port is not None and allows(bucket))
    few = list(islice(allowed, _SHOWN_PORTS + 1))
    return ", ".join(few[:_SHOWN_PORTS]) + (", ..." if len(few) > _SHOWN_PORTS else "")
