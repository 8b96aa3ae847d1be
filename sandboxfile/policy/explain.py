"""Policies in words for people: a denial, what a sandbox can reach, and how that changes.

Words about reach are made by asking the policy itself about each pattern it names, so they cannot say what a decision
would not. A wildcard is asked about by a name below it that nobody uses.
"""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sandboxfile.model.policy import NO_POLICY, Decision, Inspect, Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import Compiled, compile_policy
from sandboxfile.policy.patterns import Pattern, PatternProblem, parse_pattern
from sandboxfile.policy.reasons import conditions_of, shown
from sandboxfile.policy.rules import Facts, ready_request

_SOME_NAME = "some-name-that-nobody-uses"
_SOME_DAY = "0001-01-01"  # on which every rule with an end still counts
_PRIVATE = "private networks"


def denial_text(decision: Decision, sandbox: str, url_or_target: str) -> str:
    """What a program inside gets to read: the reason, and the command that explains it; two lines."""
    command = f"sbx policy explain {shlex.quote(sandbox)} {shlex.quote(shown(url_or_target))}"
    return f"Blocked by the network policy of sandbox '{sandbox}': {decision.reason}\n{command}\n"


def reach(policy: Policy) -> tuple[str, ...]:
    """What can be reached, sorted: `api.example.com:443`, `*.example.com`, `everything but ...`; empty for nothing."""
    found = _reach(policy)
    blocked = sorted(found.blocked)
    if found.everything:
        return (f"everything but {_listed([*blocked, _PRIVATE])}", *sorted(found.items))
    return (*sorted(found.items), *([f"but not {_listed(blocked)}"] if blocked else []))


def reach_changes(before: Policy | None, after: Policy) -> tuple[str, ...]:
    """How reach changes, in sentences without a subject: `can now reach api.example.com:443`. None: a new sandbox."""
    return tuple(change.text for change in _changes(before or NO_POLICY, after))


def widenings(before: Policy | None, after: Policy) -> tuple[str, ...]:
    """Those of `reach_changes` by which a sandbox may do more than before."""
    return tuple(change.text for change in _changes(before or NO_POLICY, after) if change.widens)


@dataclass(frozen=True, slots=True)
class _Change:
    text: str
    widens: bool


@dataclass(frozen=True, slots=True)
class _Reach:
    """`blocked`: what is excepted from wildcards or from everything."""

    everything: bool
    items: frozenset[str]
    blocked: frozenset[str]


def _reach(policy: Policy) -> _Reach:
    compiled = compile_policy(policy)
    every = Pattern("any")
    everything = _reachable(compiled, every, tcp=False)
    items = {
        _words(pattern, rule)
        for layer in policy.layers
        for rule in layer.allow
        for pattern in _reachable_parts(compiled, rule)
        if pattern != every
    }
    blocked = {
        _words(pattern, rule)
        for layer in policy.layers
        for rule in layer.block
        if _matters(compiled, pattern := _pattern(rule), rule, everything)
    }
    return _Reach(everything, frozenset(items), frozenset(blocked))


def _reachable_parts(compiled: Compiled, rule: Rule) -> Iterator[Pattern]:
    """The pattern of an allowing rule as far as all layers allow it: wholly, on some ports, or not at all."""
    pattern, tcp = _pattern(rule), rule.protocol == "tcp"
    if _reachable(compiled, pattern, tcp=tcp):
        yield pattern
    elif pattern.port is None and pattern.kind != "range":
        for port in sorted(compiled.named_ports(_facts(pattern, tcp=tcp))):
            part = Pattern(pattern.kind, pattern.name, port=port)
            if _reachable(compiled, part, tcp=tcp):
                yield part


def _matters(compiled: Compiled, pattern: Pattern, rule: Rule, everything: bool) -> bool:
    """Whether a blocking pattern takes something away that would be reachable else."""
    facts = _facts(pattern, tcp=False)
    reachable = _reachable(compiled, pattern, tcp=False)
    if reachable or rule.methods or rule.paths:
        return reachable and bool(rule.methods or rule.paths)  # else a rule as specific allows it
    if everything or pattern.kind == "range":
        return True
    own = compiled.layers[-1].names
    wider = [own.deep.get(name, {}) for name in facts.suffixes]
    wider += [own.wildcards.get(name, {}) for name in facts.suffixes[1:]]
    return any(rule.effect == "allow" for ports in (*wider, own.every) for bucket in ports.values() for rule in bucket)


def _reachable(compiled: Compiled, pattern: Pattern, *, tcp: bool) -> bool:
    return compiled.possible(_facts(pattern, tcp=tcp))


def _facts(pattern: Pattern, *, tcp: bool) -> Facts:
    """A request for what the pattern speaks of; port 0 where it names none."""
    facts = ready_request(Request(_example(pattern), pattern.port or 0, "tcp" if tcp else "https"), None, _SOME_DAY)
    assert facts is not None, pattern
    return facts


def _example(pattern: Pattern) -> str:
    if pattern.network is not None:
        return str(pattern.network[pattern.network.num_addresses // 2])
    if pattern.kind == "any":
        return _SOME_NAME
    below = f"{_SOME_NAME}.{pattern.name}"
    return below if pattern.kind in ("wildcard", "deep") and len(below) < 254 else pattern.name


def _pattern(rule: Rule) -> Pattern:
    pattern = parse_pattern(rule.pattern)
    assert not isinstance(pattern, PatternProblem), "a compiled policy has none"
    return pattern


def _words(pattern: Pattern, rule: Rule) -> str:
    name = f"every host on port {pattern.port}" if pattern.kind == "any" and pattern.port else pattern.text
    extras = [conditions_of(rule), f"until {rule.until}" if rule.until else ""]
    extra = ", ".join(part for part in extras if part)
    return f"{name} ({extra})" if extra else name


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _changes(before: Policy, after: Policy) -> Iterable[_Change]:
    changes = [
        *_reach_diff(_reach(before), _reach(after)),
        *_layer_diff(before, after),
        *_inspection_diff(before, after),
    ]
    if not changes and before.layers != after.layers:
        changes.append(_Change("reaches the same by other rules", False))
    brought = before.placeholders | after.placeholders
    if names := sorted({name for name, _ in set(before.settings) ^ set(after.settings)} - brought):
        changes.append(_Change(f"gets other network settings: {', '.join(names)}", False))
    return changes


def _reach_diff(before: _Reach, after: _Reach) -> Iterator[_Change]:
    if after.everything and not before.everything:
        yield _Change(f"can now reach everything but {_listed([*sorted(after.blocked), _PRIVATE])}", True)
    if before.everything and not after.everything:
        yield _Change("can no longer reach everything", False)
    same = before.everything == after.everything
    opened = (after.items - before.items) | (before.blocked - after.blocked if same else frozenset())
    closed = (before.items - after.items) | (after.blocked - before.blocked if same else frozenset())
    for item in sorted(opened - closed):
        yield _Change(f"can now reach {item}", True)
    for item in sorted(closed - opened):
        yield _Change(f"can no longer reach {item}", False)


def _layer_diff(before: Policy, after: Policy) -> Iterator[_Change]:
    old = {layer.name: layer for layer in before.layers[:-1]}
    new = {layer.name: layer for layer in after.layers[:-1]}
    for name in sorted(new.keys() - old.keys()):
        yield _Change(f"is now held to {name}", False)
    for name in sorted(old.keys() - new.keys()):
        yield _Change(f"is no longer held to {name}", True)
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield _Change(f"is held to a changed {name}", _loosened(old[name], new[name]))


def _loosened(old: Layer, new: Layer) -> bool:
    return bool(new.mode == "allow" != old.mode or set(new.allow) - set(old.allow) or set(old.block) - set(new.block))


def _inspection_diff(before: Policy, after: Policy) -> Iterator[_Change]:
    old, new = _bypassed(before), _bypassed(after)
    for pattern in sorted(new - old):
        yield _Change(f"is no longer inspected on the way to {pattern}", True)
    for pattern in sorted(old - new):
        yield _Change(f"is now inspected on the way to {pattern}", False)
    if _inspection(before) != _inspection(after):
        minimal = _inspection(after) == "minimal"
        text = "is now inspected only where a rule needs it" if minimal else "is now inspected wherever it can be"
        yield _Change(text, minimal)


def _bypassed(policy: Policy) -> set[str]:
    return {rule.pattern for layer in policy.layers for rule in layer.bypass}


def _inspection(policy: Policy) -> Inspect:
    return "full" if any(layer.inspect == "full" for layer in policy.layers) else "minimal"
