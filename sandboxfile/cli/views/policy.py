"""Network policies for people and as JSON: as they are written, and in the order in which they decide. Pure.

`effective` is complete: nothing is allowed that it does not show.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sandboxfile.cli.views.text import harmless
from sandboxfile.model.credential import Credential
from sandboxfile.model.policy import Decision, Layer, Policy, Rule
from sandboxfile.planning.changes import credential_text
from sandboxfile.policy.addresses import DEFAULT_BLOCKED
from sandboxfile.policy.patterns import Pattern, parse_pattern, target

_EFFECTS = ("allow", "block", "bypass")
_ADDRESSES = "  the addresses that they resolve to (all must pass), and addresses that no line above names:"
Row = tuple[str, str, str]  # effect, what, whence


def show(policy: Policy) -> str:
    """The rules of every layer as they are written, each with its origin and place."""
    lines: list[str] = []
    for layer in policy.layers:
        lines += [_title(layer), *_aligned(_written(layer)), ""]
    return _text(lines + _settings(policy))


def effective(policy: Policy, today: str) -> str:
    """Every layer in the order in which its rules decide. `today` as in 2026-11-21: rules may have expired."""
    lines = [
        "Every layer must allow a request. In each the first line that fits decides, for name and each address.",
        "Without `tcp` a line that allows is for HTTP and HTTPS only.",
        "",
    ]
    for layer in policy.layers:
        own = layer is policy.own
        lines += [_title(layer), "  names:", *_aligned(_by_name(layer, today, own), "    ")]
        if ranges := list(_by_address(layer, today, own)):
            lines += [_ADDRESSES, *_aligned(ranges, "    ")]
        if layer.bypass:
            lines += ["  passed on without being looked into, when allowed:", *_aligned(_bypass(layer, today), "    ")]
        lines.append("")
    return _text(lines + _settings(policy))


def _text(lines: Sequence[str]) -> str:
    return harmless("\n".join(lines).rstrip())


def _title(layer: Layer) -> str:
    words = [f"mode {layer.mode}"]
    if layer.enforced:
        words.append("enforced")
    if layer.inspect == "minimal":
        words.append("inspect minimal")
    return f"{layer.name}: {', '.join(words)}" + (f"  ({layer.place})" if layer.place else "")


def _settings(policy: Policy) -> list[str]:
    lines = [f"  {name}={value}" for name, value in policy.settings if name not in policy.placeholders]
    secrets = [f"  {each.name}: {credential_text(each)}" for each in policy.credentials]
    return [
        *(["set inside by presets:", *lines] if lines else []),
        *(["secrets, which requests get outside:", *secrets] if secrets else []),
    ]


def _aligned(rows: Iterable[Row], margin: str = "  ") -> list[str]:
    cells = [(effect, " ".join(what.split()), whence) for effect, what, whence in rows]
    width = max((len(what) for _, what, _ in cells), default=0)
    return [f"{margin}{effect:<6}  {what:<{width}}  {whence}".rstrip() for effect, what, whence in cells]


# --- as written --------------------------------------------------------------------------------------------------


def _written(layer: Layer) -> Iterator[Row]:
    for effect in _EFFECTS:
        for rule in rules_of(layer, effect):
            yield effect, rule_text(rule), whence(rule)
    yield layer.mode if layer.mode == "allow" else "block", "everything else", f"mode {layer.mode}"


def rules_of(layer: Layer, effect: str) -> tuple[Rule, ...]:
    """`allow`, `block` or `bypass` of a layer."""
    return {"allow": layer.allow, "block": layer.block, "bypass": layer.bypass}[effect]


def rule_text(rule: Rule) -> str:
    """A rule on one line: `api.example.com GET,HEAD /v1/**, until 2027-01-31`."""
    words = [rule.pattern, *(["tcp"] if rule.protocol == "tcp" else [])]
    words += [",".join(rule.methods)] if rule.methods else []
    words += rule.paths
    return " ".join(words) + (f", until {rule.until}" if rule.until else "")


def whence(rule: Rule) -> str:
    """Who made a rule, where, and why."""
    parts = [rule.origin, rule.place, rule.reason and f"“{rule.reason}”", rule.owner and f"owner {rule.owner}"]
    return ", ".join(part for part in parts if part)


# --- as it decides -----------------------------------------------------------------------------------------------


def _by_name(layer: Layer, today: str, own: bool) -> Iterator[Row]:
    found = [
        (*_name_rank(pattern), effect, rule) for effect, rule, pattern in _parsed(layer) if pattern.kind != "range"
    ]
    for *_, effect, rule in sorted(found, key=lambda each: (*each[:-2], _rank(each[-2], each[-1]))):
        yield effect, rule_text(rule), _whence(rule, today)
    if own or layer.mode == "deny":
        yield "block", "localhost, but for the rules above that name it with a port", "always"
    if layer.mode == "deny":
        yield "block", "everything else", "mode deny"
    elif own:
        yield "block", "raw TCP", "always, but for rules of protocol tcp"
        yield "allow", "everything else", "mode allow"
    else:
        yield "allow", "everything else", "mode allow"


def _by_address(layer: Layer, today: str, own: bool) -> Iterator[Row]:
    if own:
        yield "block", "unspecified, multicast, broadcast and reserved addresses", "always"
    found: list[tuple[int, int, str, Row]] = []
    for effect, rule, pattern in _parsed(layer):
        if pattern.network is not None:
            row = (effect, rule_text(rule), _whence(rule, today))
            found.append((-pattern.network.prefixlen, _EFFECTS[::-1].index(effect), str(pattern.network), row))
    if own:
        text = "by default, unless a rule allows the host by its exact name"
        found += [(-net.prefixlen, 9, str(net), ("block", str(net), text)) for net in DEFAULT_BLOCKED]
    yield from (row for *_, row in sorted(found))
    if own:
        yield "block", "addresses of this host", "by default, unless one of the rules above names the host or the range"


def _bypass(layer: Layer, today: str) -> Iterator[Row]:
    for rule in layer.bypass:
        yield "bypass", rule_text(rule), _whence(rule, today)


def _parsed(layer: Layer) -> Iterator[tuple[str, Rule, Pattern]]:
    for effect in ("allow", "block"):
        for rule in rules_of(layer, effect):
            pattern = parse_pattern(rule.pattern)
            if isinstance(pattern, Pattern):  # others cannot be compiled, and nothing goes by them
                yield effect, rule, pattern


def _name_rank(pattern: Pattern) -> tuple[int, int, str, bool, bool]:
    """Exact hosts, wildcards longest first, catch-alls; of one name with a port before without, `*.` before `**.`."""
    tier = {"host": 0, "wildcard": 1, "deep": 1, "any": 2}[pattern.kind]
    labels = pattern.name.count(".") + 1 if tier == 1 else 0
    return tier, -labels, pattern.name, pattern.port is None, pattern.kind == "deep"


def _rank(effect: str, rule: Rule) -> tuple[Any, ...]:
    """Within one pattern: conditions first, then blocks."""
    return not (rule.methods or rule.paths), effect != "block", rule.pattern


def _whence(rule: Rule, today: str) -> str:
    expired = "expired, does not count" if rule.until and rule.until < today else ""
    return ", ".join(part for part in (expired, whence(rule)) if part)


# --- for programs ------------------------------------------------------------------------------------------------


def policy_object(policy: Policy) -> dict[str, Any]:
    """The object of `policy show --format json`; its keys are public surface."""
    return {
        "layers": [_layer_object(layer) for layer in policy.layers],
        "default_blocks": [str(network) for network in DEFAULT_BLOCKED],
        "settings": dict(policy.settings),
        "secrets": [_secret_object(each) for each in policy.credentials],
    }


def _secret_object(credential: Credential) -> dict[str, Any]:
    return {
        "name": credential.name,
        "source": credential.source.text,
        "places": [target(host, port) for host, port in credential.bound],
        "variable": credential.variable,
        "origin": credential.origin,
        "place": credential.place,
    }


def _layer_object(layer: Layer) -> dict[str, Any]:
    rules = [_rule_object(effect, rule) for effect in _EFFECTS for rule in rules_of(layer, effect)]
    return {
        "name": layer.name,
        "mode": layer.mode,
        "enforced": layer.enforced,
        "inspect": layer.inspect,
        "place": layer.place,
        "rules": rules,
    }


def _rule_object(effect: str, rule: Rule) -> dict[str, Any]:
    return {
        "effect": effect,
        "pattern": rule.pattern,
        "protocol": rule.protocol,
        "methods": list(rule.methods),
        "paths": list(rule.paths),
        "until": rule.until,
        "reason": rule.reason,
        "owner": rule.owner,
        "origin": rule.origin,
        "place": rule.place,
    }


def decision_object(decision: Decision) -> dict[str, Any]:
    """The object of `policy explain --format json`."""
    return {
        "allowed": decision.allowed,
        "host": decision.host,
        "port": decision.port,
        "rule": decision.rule,
        "layer": decision.layer,
        "place": decision.place,
        "reason": decision.reason,
        "inspect": decision.inspect,
        "bypass": decision.bypass,
        "addresses": list(decision.addresses),
    }
