"""A policy made ready to decide: every layer decides by itself, and all must allow.

The first layer that denies gives the reason, else the sandbox's own. Total: whatever a guest sends, the answer is a
Decision, and what is not understood is denied. Immutable: a changed policy is another Compiled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sandboxfile.errors import PolicyError
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import Decision, Layer, Policy, Request, Rule
from sandboxfile.policy import reasons
from sandboxfile.policy.addresses import DEFAULT_BLOCKED, Address, never_dialled
from sandboxfile.policy.bindings import Bindings
from sandboxfile.policy.index import allows, name_index, range_index
from sandboxfile.policy.layers import ReadyLayer, Verdict
from sandboxfile.policy.paths import parse_glob
from sandboxfile.policy.patterns import Pattern, parse_pattern
from sandboxfile.policy.rules import Effect, Facts, ReadyRule, default_rule, ready_request

DEFAULT_LAYER = "default"
_PORT_LIMIT = 64  # listeners of one sandbox
_ANY_PORT = 0  # a port that no rule names
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A policy that can be asked. Made by `compile_policy`; safe to share between threads."""

    policy: Policy
    fingerprint: str
    layers: tuple[ReadyLayer, ...]
    bindings: Bindings

    def decide(self, request: Request, addresses: Sequence[Address] | None, today: str) -> Decision:
        """Whether a request may pass. `addresses`: what its name resolves to, None before resolution.

        A literal host is its own address, and is fully decided without. `today` is a day in UTC, `2026-11-21`.
        """
        if not (0 < request.port < 65536 and request.protocol in ("http", "https", "tcp") and _DAY.fullmatch(today)):
            return _malformed(request, "it has no valid port, protocol or day")
        facts = ready_request(request, addresses, today)
        if facts is None:
            return _malformed(request, "it is neither a host name nor an address")
        return self._decided(facts)

    def resolvable(self, host: str, today: str) -> bool:
        """Whether some port, protocol, method and path of a name could be allowed; never so for an address."""
        facts = ready_request(Request(host, _ANY_PORT), None, today)
        if facts is None or facts.literal is not None or not _DAY.fullmatch(today):
            return False
        ports = (_ANY_PORT, *self.named_ports(facts))
        return any(self.possible(replace(facts, port=port, tcp=tcp)) for port in ports for tcp in (False, True))

    def ports(self) -> frozenset[int]:
        """The TCP ports that allowing rules name, in any layer; the 64 smallest."""
        rules = (rule for layer in self.policy.layers for rule in layer.allow)
        named = {pattern.port for pattern in map(_pattern, rules) if pattern.port is not None}
        return frozenset(sorted(named)[:_PORT_LIMIT])

    def possible(self, facts: Facts) -> bool:
        """Whether all layers allow it, as far as is known. Port 0 is any port that no rule names."""
        return all(layer.decide(facts).allowed for layer in self.layers)

    def named_ports(self, facts: Facts) -> frozenset[int]:
        """The ports that allowing rules name for this host: those where more may be allowed than on any port."""
        return frozenset(
            port
            for layer in self.layers
            for tables in layer.names.tables(facts.host, facts.suffixes)
            for ports in tables
            for port, bucket in ports.items()
            if port is not None and allows(bucket)
        )

    def _decided(self, facts: Facts) -> Decision:
        verdicts: list[Verdict] = []
        for layer in self.layers:
            verdict = layer.decide(facts)
            if not verdict.allowed:
                return _denied(layer, facts, verdict)
            verdicts.append(verdict)
        if facts.checked is not None:
            if not facts.checked:
                return _refused(facts, "no address", reasons.unresolved(facts))
            for address in facts.checked:
                if never_dialled(address):
                    return _refused(facts, "never dialled", reasons.never(facts, address))
        return self._allowed(facts, verdicts)

    def _allowed(self, facts: Facts, verdicts: Sequence[Verdict]) -> Decision:
        own, verdict = self.layers[-1], verdicts[-1]
        inspects = any(each.inspects for each in verdicts)
        bypass = not facts.tcp and not inspects and any(layer.bypasses(facts) for layer in self.layers)
        # The Host header of plain HTTP can only be held to by looking at it, and a credential only be added so.
        looks = (
            inspects
            or facts.request.protocol == "http"
            or any(layer.layer.inspect == "full" for layer in self.layers)
            or self.bindings.binds(facts.host, facts.port)
        )
        return Decision(
            True,
            facts.host,
            facts.port,
            _named(own.layer, verdict),
            own.layer.name,
            _place(own.layer, verdict),
            reasons.because(own, facts, verdict),
            inspect=looks and not bypass and not facts.tcp,
            bypass=bypass,
            addresses=_texts(facts),
        )


def compile_policy(policy: Policy) -> Compiled:
    """Make a policy ready. Raises PolicyError when any part of it is malformed: then nothing of it may be used."""
    if not policy.layers:
        raise PolicyError("a network policy without layers")
    own = len(policy.layers) - 1
    layers = tuple(_layer(layer, own=number == own) for number, layer in enumerate(policy.layers))
    return Compiled(policy, fingerprint(policy), layers, Bindings(policy.credentials))


def _layer(layer: Layer, *, own: bool) -> ReadyLayer:
    if layer.mode not in ("allow", "deny") or layer.inspect not in ("full", "minimal"):
        raise PolicyError(f"{layer.name}: unknown mode or inspection: {layer.mode}, {layer.inspect}")
    rules = [_rule(rule, "allow") for rule in layer.allow] + [_rule(rule, "block") for rule in layer.block]
    defaults = [default_rule(network) for network in DEFAULT_BLOCKED] if own else []
    bypass = [_rule(rule, "allow") for rule in layer.bypass]
    return ReadyLayer(
        layer, own, name_index(rules), range_index(rules + defaults), name_index(bypass), range_index(bypass)
    )


def _rule(rule: Rule, effect: Effect) -> ReadyRule:
    pattern = _pattern(rule)
    tcp = rule.protocol == "tcp"
    if rule.protocol not in ("http", "tcp") or (tcp and (pattern.port is None or rule.methods or rule.paths)):
        raise _wrong(rule, "a rule of protocol tcp has a port, and neither methods nor paths")
    if not all(_METHOD.fullmatch(method) for method in rule.methods):
        raise _wrong(rule, "methods are upper-case words")
    if rule.until and not _DAY.fullmatch(rule.until):
        raise _wrong(rule, "until is a day such as 2027-01-31")
    try:
        return ReadyRule(rule, pattern, effect, tuple(parse_glob(path) for path in rule.paths))
    except ValueError as exc:
        raise _wrong(rule, str(exc)) from exc


def _pattern(rule: Rule) -> Pattern:
    pattern = parse_pattern(rule.pattern)
    if isinstance(pattern, Pattern):
        return pattern
    raise _wrong(rule, pattern.detail)


def _wrong(rule: Rule, why: str) -> PolicyError:
    where = f"{rule.place}: " if rule.place else ""
    return PolicyError(f'{where}rule "{rule.pattern}" cannot be gone by: {why}')


def _denied(layer: ReadyLayer, facts: Facts, verdict: Verdict) -> Decision:
    default = verdict.rule is not None and verdict.rule.effect == "default"
    return Decision(
        False,
        facts.host,
        facts.port,
        _named(layer.layer, verdict),
        DEFAULT_LAYER if default else layer.layer.name,
        "" if default else _place(layer.layer, verdict),
        reasons.because(layer, facts, verdict),
        addresses=_texts(facts),
    )


def _named(layer: Layer, verdict: Verdict) -> str:
    """What decided: a pattern, or the mode."""
    if verdict.rule is None:
        return "localhost" if verdict.basis == "localhost" else f"mode {layer.mode}"
    return "default block" if verdict.rule.effect == "default" else verdict.rule.rule.pattern


def _place(layer: Layer, verdict: Verdict) -> str:
    return layer.place if verdict.rule is None else verdict.rule.rule.place


def _refused(facts: Facts, rule: str, reason: str) -> Decision:
    return Decision(False, facts.host, facts.port, rule, DEFAULT_LAYER, "", reason, addresses=_texts(facts))


def _malformed(request: Request, why: str) -> Decision:
    host = reasons.shown(request.host)
    port = request.port if 0 <= request.port < 65536 else 0
    return Decision(False, host, port, "malformed request", DEFAULT_LAYER, "", f'"{host}" is not allowed: {why}')


def _texts(facts: Facts) -> tuple[str, ...]:
    return tuple(str(address) for address in facts.addresses or ())
