"""Policies in words for people: a denial, what a sandbox can reach, and how that changes.

Words about reach are made by asking the policy itself about each pattern it names, so they cannot say what a decision
would not. A wildcard is asked about by a name below it that nobody uses.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandboxfile.model.policy import NO_POLICY, Decision, Inspect, Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import Compiled, compile_policy
from sandboxfile.policy.patterns import Pattern, PatternProblem, parse_pattern
from sandboxfile.policy.reasons import conditions_of, shown
from sandboxfile.policy.rules import Facts, ready_request
from sandboxfile.policy.widening import Loosening, loosenings

_SOME_NAME = "some-name-that-nobody-uses"
_SOME_DAY = "0001-01-01"  # on which every rule with an end still counts
_PRIVATE = "private networks"
_REACHES, _KEPT_FROM = "can now reach ", "is no longer kept from "
_PRIVATELY = " at private addresses"
_CLOSED, _ALL = "can no longer reach ", "can no longer reach everything"
_BROAD = ("mode", "block", "lifted", "changed")


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
    old = before or NO_POLICY
    more = [change.text for change in widened(before, after)]
    told = [change.text for change in _changes(old, after) if f"{change.text}{_PRIVATELY}" not in more]
    more = [text for text in more if text not in told]
    if not told and not more and old.layers != after.layers:
        told = ["reaches the same by other rules"]
    settings = _other_settings(old, after)
    return (*told, *more, *([f"gets other network settings: {', '.join(settings)}"] if settings else []))


def widenings(before: Policy | None, after: Policy) -> tuple[str, ...]:
    """Those of `reach_changes` by which a sandbox may do more than before; none only when it provably may not."""
    return tuple(change.text for change in widened(before, after))


def tightenings(before: Policy, after: Policy) -> tuple[str, ...]:
    """Those of `reach_changes` by which it may do less."""
    more, back = widenings(before, after), widenings(after, before)
    less = (change.text for change in _changes(before, after) if not change.widens and change.text not in more)
    # What is closed is what going back would open: a rule that a wider one has replaced is not.
    kept = (t for t in less if not t.startswith(_CLOSED) or t.replace(_CLOSED, _REACHES, 1) in back or _ALL in t)
    return (*kept, *(t.replace(_REACHES, _CLOSED, 1) for t in back if t.endswith(_PRIVATELY)))


@dataclass(frozen=True, slots=True)
class Widened:
    """A sentence without a subject, and the rule that it is about, if it is about one.

    `protects`: it is about what watches a sandbox (an enforced policy, inspection), and not about one place.
    """

    text: str
    rule: Rule | None = None
    protects: bool = False


def widened(before: Policy | None, after: Policy) -> tuple[Widened, ...]:
    """`widenings`, with what they are about. Raises PolicyError when one of the policies cannot be gone by."""
    old, new = before or NO_POLICY, compile_policy(after)
    found = loosenings(old, after, new)
    if not found:
        return ()
    changes = tuple(_changes(old, after, new))
    shown = {change.text: change for loosening in found for change in _as_words(loosening, new)}
    if any(loosening.kind in _BROAD for loosening in found):  # then rules that nobody touched may open more
        opened = {f"{_REACHES}{_words(_pattern(rule), rule)}": rule for layer in after.layers for rule in layer.allow}
        for change in changes:
            if change.widens and change.text.startswith(_REACHES):
                shown.setdefault(change.text, Widened(change.text, opened.get(change.text)))
    order = {change.text: place for place, change in enumerate(changes)}
    told = sorted(shown.values(), key=lambda change: order.get(change.text, len(order)))
    return tuple(change for change in told if not _said_better(change, shown))


def _said_better(change: Widened, shown: Mapping[str, Widened]) -> bool:
    """What a removed rule kept away: that it can be reached now says more."""
    return change.text.replace(_KEPT_FROM, _REACHES, 1) in shown.keys() - {change.text}


def _as_words(loosening: Loosening, after: Compiled) -> Iterator[Widened]:
    rule = loosening.rule
    if loosening.kind == "inspect":
        yield Widened("is now inspected only where a rule needs it", None, True)
    elif loosening.kind in ("lifted", "changed"):
        how = "no longer held to" if loosening.kind == "lifted" else "held to a changed"
        yield Widened(f"is {how} {loosening.layer}", None, True)
    elif rule is None:
        wide = _reach(after.policy)
        listed = f"can now reach everything but {_listed([*sorted(wide.blocked), _PRIVATE])}"
        yield Widened(listed if wide.everything else "can now reach what none of its policies blocks")
    elif loosening.kind == "bypass":
        yield Widened(f"is no longer inspected on the way to {rule.pattern}", rule, True)
    elif loosening.kind == "private":
        yield Widened(f"{_REACHES}{_words(_pattern(rule), rule)}{_PRIVATELY}", rule)
    elif loosening.kind == "block":
        yield Widened(f"{_KEPT_FROM}{_words(_pattern(rule), rule)}", rule)
    elif parts := tuple(_reachable_parts(after, rule)):
        yield from (Widened(f"{_REACHES}{_words(part, rule)}", rule) for part in parts)
    else:
        yield Widened(f"{_REACHES}{_words(_pattern(rule), rule)}, where no other rule forbids it", rule)


@dataclass(frozen=True, slots=True)
class _Change:
    """`widens`: so it looks by one example of each pattern; whether it does, `loosenings` says."""

    text: str
    widens: bool


@dataclass(frozen=True, slots=True)
class _Reach:
    """`blocked`: what is excepted from wildcards or from everything."""

    everything: bool
    items: frozenset[str]
    blocked: frozenset[str]


def _reach(policy: Policy, compiled: Compiled | None = None) -> _Reach:
    compiled = compiled or compile_policy(policy)
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


def _changes(before: Policy, after: Policy, compiled: Compiled | None = None) -> Iterator[_Change]:
    """`compiled` is `after`, for who has it."""
    yield from _reach_diff(_reach(before), _reach(after, compiled))
    yield from _layer_diff(before, after)
    yield from _inspection_diff(before, after)


def _other_settings(before: Policy, after: Policy) -> list[str]:
    brought = before.placeholders | after.placeholders
    return sorted({name for name, _ in set(before.settings) ^ set(after.settings)} - brought)


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
