"""Whether a policy lets more through than another one: what cannot be shown to let no more through, counts as more.

No request is tried: rules are compared. Rules of a layer only ever open (`allow`) or close (`block`), the most specific
first; so a layer lets no more through than before when each of its allowing rules was there, or one as wide that
nothing kept from counting, and each blocking rule is still there, or one as wide that nothing overrules. A policy lets
no more through when that is so of its own layer, and of each enforced one for some enforced one of the new.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Request, Rule
from sandboxfile.policy.addresses import DEFAULT_BLOCKED
from sandboxfile.policy.compiled import Compiled, compile_policy
from sandboxfile.policy.patterns import LOCALHOST, Pattern, literal, parse_pattern
from sandboxfile.policy.rules import ready_request, suffixes_of

# mode     everything that no rule blocks       allow    a rule opens something     block    a rule no longer closes it
# lifted   an enforced layer is gone            changed  one is looser              bypass, inspect: less is looked at
# private  a host that was open by a wildcard or by mode is named now, and so may be at private addresses
Kind = Literal["mode", "allow", "private", "block", "lifted", "changed", "bypass", "inspect"]
_FOREVER = "9999-12-31"  # later than the end of every rule that has one
_DAYS_LIMIT = 100
_PAIRS_LIMIT = 1_000_000  # of a rule no longer there and one that may overlap it: beyond that nothing is shown
_WIDE = ("wildcard", "deep", "any")
_HOST_LEVEL = 1000  # above that of every star: names have at most 127 labels


@dataclass(frozen=True, slots=True)
class Loosening:
    """One way in which more gets through. `rule` is the one that came or went, `layer` the enforced one by its name."""

    kind: Kind
    rule: Rule | None = None
    layer: str = ""


def loosenings(before: Policy, after: Policy, compiled: Compiled | None = None) -> tuple[Loosening, ...]:
    """Every way; none when nothing gets through that did not before. Raises PolicyError when one cannot be gone by.

    `compiled` is `after`, for who has it.
    """
    compiled = compiled or compile_policy(after)
    if before.layers == after.layers:
        return ()
    if before is not NO_POLICY:
        compile_policy(before)

    def counts(found: Loosening) -> bool:
        return found.kind not in ("allow", "private") or found.rule is None or not _shut(compiled, found.rule)

    return (
        *_enforced(before, after, counts),
        *filter(counts, _of_layer(before.own, after.own)),
        *_less_inspected(before, after),
    )


# --- layers ------------------------------------------------------------------------------------------------------


def _enforced(before: Policy, after: Policy, counts: Callable[[Loosening], bool]) -> Iterator[Loosening]:
    for old in before.layers[:-1]:
        same = [new for new in after.layers[:-1] if new.name == old.name]
        if not any(_no_looser(old, new, counts) for new in (*same, *after.layers[:-1])):
            yield Loosening("changed" if same else "lifted", layer=old.name)


def _no_looser(old: Layer, new: Layer, counts: Callable[[Loosening], bool]) -> bool:
    return old == new or not any(map(counts, _of_layer(old, new)))


def _of_layer(old: Layer, new: Layer) -> Iterator[Loosening]:
    if new.mode == "allow" != old.mode:
        yield Loosening("mode")
    was, now = _Rules.of(old), _Rules.of(new)
    keys = {_key(rule) for _, rule in was.allow}
    yield from (
        Loosening("private" if _opened_by_star(pattern, rule, was) else "allow", rule)
        for pattern, rule in now.allow
        if _key(rule) not in keys and not _opened(pattern, rule, was)
    )
    kept = {_key(rule) for _, rule in now.block}
    gone = [(pattern, rule) for pattern, rule in was.block if _key(rule) not in kept]
    few = len(gone) * (len(now.allow) + len(now.block)) <= _PAIRS_LIMIT
    for pattern, rule in gone:
        if _closed(pattern, rule, now) or (few and (_needless(pattern, now) or _closed_wider(pattern, rule, now))):
            continue
        yield Loosening("block", rule)


_Ready = tuple[Pattern, Rule]


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules of a layer, and those of them that name the same (range, or host with what stands before it)."""

    layer: Layer
    allow: list[_Ready]
    block: list[_Ready]
    opening: dict[str, list[_Ready]] = field(default_factory=dict)
    closing: dict[str, list[_Ready]] = field(default_factory=dict)

    @classmethod
    def of(cls, layer: Layer) -> "_Rules":
        rules = cls(layer, [(_pattern(rule), rule) for rule in layer.allow], [(_pattern(r), r) for r in layer.block])
        for given, index in ((rules.allow, rules.opening), (rules.block, rules.closing)):
            for pattern, rule in given:
                index.setdefault(_named(pattern), []).append((pattern, rule))
        return rules

    @property
    def blocks_names(self) -> bool:
        return any(pattern.kind != "range" for pattern, _ in self.block)


def _pattern(rule: Rule) -> Pattern:
    return _parsed(rule.pattern)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Pattern:
    pattern = parse_pattern(text)
    assert isinstance(pattern, Pattern), "a compiled policy has no other"
    return pattern


def _named(pattern: Pattern) -> str:
    return str(pattern.network) if pattern.network is not None else pattern.name


def _key(rule: Rule) -> tuple[object, ...]:
    """All of a rule that counts for decisions."""
    return rule.pattern, rule.protocol, frozenset(rule.methods), frozenset(rule.paths), rule.until


# --- allowing rules ----------------------------------------------------------------------------------------------


def _opened(pattern: Pattern, rule: Rule, was: _Rules) -> bool:
    """Whether all that an allowing rule opens was open."""
    for old, other in was.opening.get(_named(pattern), ()):
        if old.kind == pattern.kind and _narrower(rule, other) and _same_place(pattern, rule, old, other, was):
            return True
    if pattern.kind == "range":
        return _opened_range(pattern, rule, was)
    return pattern.kind in _WIDE and _opened_by_star(pattern, rule, was)


def _opened_by_star(pattern: Pattern, rule: Rule, was: _Rules) -> bool:
    """By a rule that is no exact host, or by mode: but for private addresses, which only exact hosts open."""
    outside = pattern.kind == "host" and (pattern.name == LOCALHOST or literal(pattern.name) is not None)
    if pattern.kind == "range" or outside or was.blocks_names:
        return False  # no star opens the ports of this host, nor what is private and has no name
    if was.layer.mode == "allow" and rule.protocol == "http":
        return True
    names = ("", *suffixes_of(pattern.name)) if pattern.name else ("",)
    wider = (each for name in names for each in was.opening.get(name, ()) if _holds(each[0], pattern))
    return any(_narrower(rule, other) for _, other in wider)


def _same_place(pattern: Pattern, rule: Rule, old: Pattern, other: Rule, was: _Rules) -> bool:
    """Whether it counts no sooner than the wider rule of the same name did: conditions and ports come first."""
    blocks = [found for found, _ in was.closing.get(_named(pattern), ())]
    if old.port == pattern.port:
        return _conditional(rule) == _conditional(other) or old not in blocks
    return old.port is None and not blocks and pattern.name != LOCALHOST


def _opened_range(pattern: Pattern, rule: Rule, was: _Rules) -> bool:
    """By a wider range, when no blocked one is in between, be it written or blocked by default."""
    network = pattern.network
    if network is None or any(_overlap(found, pattern) for found, _ in was.block if found.kind == "range"):
        return False
    for old, other in was.allow:
        wide = old.network
        if wide is not None and _within(pattern, old) and _narrower(rule, other):
            between = (d for d in DEFAULT_BLOCKED if d.version == wide.version and d.prefixlen > wide.prefixlen)
            if not any(_overlap(Pattern("range", network=each), pattern) for each in between):
                return True
    return False


def _holds(wide: Pattern, pattern: Pattern) -> bool:
    """Whether a pattern with a star speaks of all that another one speaks of, which is neither range nor address."""
    if wide.port not in (None, pattern.port) or wide.kind not in _WIDE:
        return False
    if wide.kind == "any":
        return True
    if pattern.name == wide.name:
        return wide.kind == "deep" or pattern.kind == "wildcard"
    return pattern.name.endswith(f".{wide.name}")


def _narrower(rule: Rule, other: Rule) -> bool:
    """Whether its conditions hold only where those of the other do."""
    return (
        rule.protocol == other.protocol
        and (not other.methods or (bool(rule.methods) and set(rule.methods) <= set(other.methods)))
        and (not other.paths or (bool(rule.paths) and _paths_within(rule.paths, other.paths)))
        and (not other.until or (bool(rule.until) and rule.until <= other.until))
    )


def _paths_within(paths: tuple[str, ...], wide: tuple[str, ...]) -> bool:
    """Whether each path is one of the wide ones, or below one: below `/a` is what begins with `/a/`, for `/a/**`."""
    below = tuple(path[:-2] for path in wide if path.endswith("/**") and "*" not in path[:-2])
    return all(path.startswith(below) for path in set(paths).difference(wide))


def _conditional(rule: Rule) -> bool:
    return bool(rule.methods or rule.paths)


def _shut(compiled: Compiled, rule: Rule) -> bool:
    """Whether nothing gets to the one host that a rule names, whatever the day: other layers or rules forbid it."""
    pattern = _pattern(rule)
    ends = {each.until for layer in compiled.policy.layers for each in (*layer.allow, *layer.block)} - {""}
    alone = len(compiled.layers) == 1 and not compiled.policy.own.block and pattern.name != LOCALHOST
    if alone or pattern.kind != "host" or len(ends) > _DAYS_LIMIT:
        return False
    known = ready_request(Request(pattern.name, pattern.port or 0), None, _FOREVER)
    if known is None:
        return False
    ports = (pattern.port,) if pattern.port else (0, *compiled.named_ports(known))
    facts = (
        replace(known, port=port, tcp=tcp, today=day)
        for port in ports
        for tcp in (False, True)
        for day in (*ends, _FOREVER)
    )
    return not any(map(compiled.possible, facts))


# --- blocking rules ----------------------------------------------------------------------------------------------


def _closed(pattern: Pattern, rule: Rule, now: _Rules) -> bool:
    """Whether all that a blocking rule closed is closed by one of the same name."""
    opening = now.opening.get(_named(pattern), ())
    for new, other in now.closing.get(_named(pattern), ()):
        if new.kind != pattern.kind or not _as_closed(rule, other):
            continue
        if new.port == pattern.port:
            first = _conditional(rule) and not _conditional(other)  # conditions come first, those that open too
            if not first or not any(found == pattern and _conditional(each) for found, each in opening):
                return True
        elif new.port is None and not opening:
            return True
    return False


def _closed_wider(pattern: Pattern, rule: Rule, now: _Rules) -> bool:
    """Whether a wider blocking rule closes it, that comes before each one that opens something of it.

    Names open nothing that a range closes, nor ranges what a name closes.
    """
    alike = ((found, _level(found)) for found, _ in now.allow if (found.kind == "range") == (pattern.kind == "range"))
    first = max((level for found, level in alike if _overlap(pattern, found)), default=-1)
    return any(_level(new) > first and _covers(new, pattern) and _as_closed(rule, other) for new, other in now.block)


def _level(pattern: Pattern) -> int:
    """Of two patterns that speak of the same, both ranges or neither, the one of the higher level comes first."""
    if pattern.network is not None:
        return pattern.network.prefixlen
    if pattern.kind == "host":
        return _HOST_LEVEL
    return pattern.name.count(".") + 1 if pattern.name else 0


def _covers(wide: Pattern, pattern: Pattern) -> bool:
    """Whether it speaks of all that the other one speaks of."""
    if pattern.network is not None or wide.network is not None:
        return _within(pattern, wide)
    if wide.kind == "host" or (wide.kind != "any" and literal(pattern.name) is not None):
        return replace(wide, port=pattern.port) == pattern and wide.port in (None, pattern.port)
    return _holds(wide, pattern)


def _as_closed(rule: Rule, other: Rule) -> bool:
    """Whether the other's conditions hold wherever those of the rule do. What blocks HTTP blocks raw bytes as well."""
    return other.protocol in ("http", rule.protocol) and _narrower(replace(rule, protocol=other.protocol), other)


def _needless(pattern: Pattern, now: _Rules) -> bool:
    """Whether nothing opens any of what a blocking rule closed."""
    if now.layer.mode == "allow":
        return False
    return not any(_overlap(pattern, found) for found, _ in now.allow)


def _overlap(one: Pattern, other: Pattern) -> bool:
    """Whether there may be a request of which both speak; names may have any addresses."""
    if one.port is not None and other.port is not None and one.port != other.port:
        return False
    if one.network is not None and other.network is not None:
        return _within(one, other) or _within(other, one)
    if one.network is not None:  # a range that is closed: any name may lead there
        return True
    if other.network is not None:  # a range that is open: only for addresses
        return one.kind == "any" or literal(one.name) is not None
    return one.kind == "any" or other.kind == "any" or _names_overlap(one, other) or _names_overlap(other, one)


def _names_overlap(one: Pattern, other: Pattern) -> bool:
    if one.name == other.name:
        kinds = {one.kind, other.kind}
        return kinds != {"host", "wildcard"}
    return other.kind in ("wildcard", "deep") and one.name.endswith(f".{other.name}")


def _within(one: Pattern, other: Pattern) -> bool:
    a, b = one.network, other.network
    if a is None or b is None or a.version != b.version or a.prefixlen < b.prefixlen:
        return False
    return int(a.network_address) >> (a.max_prefixlen - b.prefixlen) == int(b.network_address) >> (
        b.max_prefixlen - b.prefixlen
    )


# --- inspection --------------------------------------------------------------------------------------------------


def _less_inspected(before: Policy, after: Policy) -> Iterator[Loosening]:
    was = [(_pattern(rule), rule) for rule in _bypassed(before)]
    for rule in _bypassed(after):
        pattern = _pattern(rule)
        if not any(_as_bypassed(pattern, rule, old, other) for old, other in was):
            yield Loosening("bypass", rule)
    full = [any(layer.inspect == "full" for layer in policy.layers) for policy in (before, after)]
    if full == [True, False]:
        yield Loosening("inspect")


def _as_bypassed(pattern: Pattern, rule: Rule, old: Pattern, other: Rule) -> bool:
    """Method and path do not matter to what is not looked into."""
    longer = not other.until or (bool(rule.until) and rule.until <= other.until)
    return longer and old in (pattern, replace(pattern, port=None))


def _bypassed(policy: Policy) -> Iterable[Rule]:
    return (rule for layer in policy.layers for rule in layer.bypass)
