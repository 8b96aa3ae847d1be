"""The one sentence of a decision: what was asked, what decided, whose rule it is and where it is written.

The same in the body of a 403, the log and `sbx policy explain`.
"""

from sandboxfile.model.policy import NO_POLICY, Layer, Rule
from sandboxfile.policy.addresses import Address
from sandboxfile.policy.layers import ReadyLayer, Verdict
from sandboxfile.policy.nearest import at, nearest, whose
from sandboxfile.policy.patterns import target, url
from sandboxfile.policy.rules import Facts, ReadyRule

_SHOWN = 100  # characters of a guest's text


def because(layer: ReadyLayer, facts: Facts, verdict: Verdict) -> str:
    """Why a layer allows or denies."""
    if verdict.basis == "localhost":
        return (
            f"{_asked(facts)} is not allowed: only a rule localhost:{facts.port} opens a port of the host, "
            f"and {whose(layer.layer)} has none that matches{at(layer.layer.place)}"
        )
    if verdict.rule is None:
        return _by_mode(layer, facts, verdict)
    if verdict.allowed:
        return f"{_asked(facts)} is allowed by {_rule(layer.layer, verdict.rule.rule)}"
    if verdict.address is not None:
        return _blocked_address(layer.layer, facts, verdict.rule, verdict.address)
    return f"{_asked(facts)} is blocked by {_rule(layer.layer, verdict.rule.rule)}"


def never(facts: Facts, address: Address) -> str:
    """For an address that no rule can open."""
    return f"{_found(facts, address)} never dialled: it is not the address of one host"


def unresolved(facts: Facts) -> str:
    """For a name without addresses."""
    return f"{facts.host} is not reachable: it has no address"


def shown(text: str) -> str:
    """A guest's text as it may be printed: short, one line, without control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])
    return clean + "..." if len(text) > _SHOWN else clean


def conditions_of(rule: Rule) -> str:
    """`GET, HEAD /repos/**`, `raw TCP`, or nothing."""
    if rule.protocol == "tcp":
        return "raw TCP"
    return " ".join(part for part in (", ".join(rule.methods), ", ".join(rule.paths)) if part)


def _asked(facts: Facts) -> str:
    where = target(facts.host, facts.port)
    if facts.tcp:
        return f"{where} over raw TCP"
    if facts.request.method is None:
        return where
    place = url(facts.request.protocol, facts.host, facts.port, shown(facts.request.path or ""))
    return f"{shown(facts.request.method)} {place}"


def _rule(layer: Layer, rule: Rule) -> str:
    conditions = conditions_of(rule)
    extra = f" for {conditions}" if conditions else ""
    origin = f", from {rule.origin}" if rule.origin else ""
    why = f", {shown(rule.reason)}" if rule.reason else ""
    return f'rule "{rule.pattern}"{extra} of {whose(layer)}{origin}{why}{at(rule.place)}'


def _by_mode(layer: ReadyLayer, facts: Facts, verdict: Verdict) -> str:
    name, mode, place = whose(layer.layer), layer.layer.mode, at(layer.layer.place)
    if verdict.allowed:
        return f"{_asked(facts)} is allowed: no rule of {name} blocks it, and its mode is {mode}{place}"
    near = nearest(layer, facts)
    if near:
        why = near
    elif facts.tcp and layer.own:
        why = f"{name} has no rule of protocol tcp for it{place}"
    elif layer.layer.allow:
        why = f"no rule of {name} matches, and its mode is {mode}{place}"
    elif layer.layer.name == NO_POLICY.own.name:
        why = f"{name} has no policy, and so allows nothing"
    else:
        why = f"{name} allows nothing{place}"
    return f"{_asked(facts)} is not allowed: {why}"


def _blocked_address(layer: Layer, facts: Facts, rule: ReadyRule, address: Address) -> str:
    found = _found(facts, address)
    if rule.effect == "default":
        return (
            f"{found} in {rule.pattern.text}, blocked by default: "
            "only an exact-host rule or an allowed range lets it through"
        )
    return f"{found} blocked by {_rule(layer, rule.rule)}"


def _found(facts: Facts, address: Address) -> str:
    """The beginning of what is said of an address: where it came from."""
    if facts.literal == address:
        return f"{facts.host} is"
    return f"{facts.host} {'resolves' if facts.literal is None else 'leads'} to {address}, which is"
