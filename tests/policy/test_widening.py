"""What is called no wider lets nothing more through; what only closes is never called wider."""

from dataclasses import replace
from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.errors import PolicyError
from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.explain import reach_changes, tightenings, widened, widenings
from sandboxfile.policy.widening import loosenings

DAYS = ("2026-01-01", "2027-06-01", "2030-01-01")
UNTIL = ("", "2026-06-01", "2028-01-01")
NAMES = ("x.test", "*.x.test", "**.x.test", "a.x.test", "*.a.x.test", "**.a.x.test", "b.a.x.test", "*", "localhost")
LITERALS = ("10.1.2.3", "203.0.113.5")
RANGES = ("10.0.0.0/8", "10.1.0.0/16", "203.0.113.0/24", "0.0.0.0/0")
PATTERNS = (*(f"{name}{port}" for name in (*NAMES, *LITERALS) for port in ("", ":443", ":80")), *RANGES)

HOSTS = ("x.test", "a.x.test", "b.a.x.test", "y.test", "localhost", *LITERALS)
KINDS = (
    ("tcp", None, None),
    ("https", None, None),
    ("https", "GET", "/r/a"),
    ("https", "GET", "/q"),
    ("https", "POST", "/r/b"),
    ("http", "POST", "/a//b"),
)
ADDRESSES = (None, ("203.0.113.5",), ("10.1.2.3",), ("10.9.9.9", "198.51.100.1"))
REQUESTS = [
    (Request(host, port, protocol, method, path), addresses and tuple(map(ip_address, addresses)), day)
    for host, port, (protocol, method, path), addresses, day in product(HOSTS, (443, 80, 81), KINDS, ADDRESSES, DAYS)
    if addresses is None or host not in LITERALS
]


@st.composite
def rules(draw):
    pattern = draw(st.sampled_from(PATTERNS))
    until = draw(st.sampled_from(UNTIL))
    if pattern.endswith((":443", ":80")) and draw(st.integers(0, 4)) == 0:
        return Rule(pattern, "tcp", until=until)
    methods = draw(st.sampled_from(((), (), ("GET",), ("GET", "POST"))))
    paths = draw(st.sampled_from(((), (), ("/r/**",), ("/r/a", "/r/**"), ("/r/a/**", "/r/b"), ("/**",))))
    return Rule(pattern, methods=methods, paths=paths, until=until)


def several(most):
    return st.lists(rules(), max_size=most).map(tuple)


@st.composite
def layers(draw, name="policy web", **fields):
    mode = draw(st.sampled_from(("deny", "deny", "allow")))
    return Layer(name, mode, draw(several(4)), draw(several(3)), draw(several(1)), **fields)


@st.composite
def policies(draw):
    enforced = draw(st.lists(layers("policy team", enforced=True), max_size=1))
    return Policy((*enforced, draw(layers())))


@st.composite
def variant(draw, rule):
    """Much the same rule: other conditions, another port, or something wider or narrower of the same name."""
    fields = draw(rules())
    what = draw(st.integers(0, 3))
    if what == 0:
        return replace(rule, until=fields.until)
    if what == 1 and rule.protocol == "http":
        return replace(rule, methods=fields.methods, paths=fields.paths)
    if what == 2 and rule.protocol == "http" and "/" not in rule.pattern:
        return replace(rule, pattern=rule.pattern.partition(":")[0] + draw(st.sampled_from(("", ":443"))))
    return fields


@st.composite
def neighbours(draw):
    """A policy and one that differs from it in little, so that often nothing more gets through."""
    before = draw(policies())

    def moved(found):
        kept = [rule for rule in found if draw(st.integers(0, 5))]
        return tuple(draw(variant(rule)) if draw(st.integers(0, 2)) == 0 else rule for rule in kept)

    changed = [
        replace(
            layer,
            mode=layer.mode if draw(st.integers(0, 4)) else draw(st.sampled_from(("deny", "allow"))),
            allow=moved(layer.allow) + draw(several(1)),
            block=moved(layer.block) + draw(several(1)),
        )
        for layer in before.layers
    ]
    return before, Policy(tuple(changed))


def newly_allowed(before, after):
    old, new = compile_policy(before), compile_policy(after)
    return [
        (request, addresses, day)
        for request, addresses, day in REQUESTS
        if new.decide(request, addresses, day).allowed and not old.decide(request, addresses, day).allowed
    ]


@settings(max_examples=60, deadline=None)
@given(st.one_of(neighbours(), st.tuples(policies(), policies())))
def test_what_is_called_no_wider_lets_nothing_more_through(pair):
    if not widenings(*pair):
        assert newly_allowed(*pair) == []


@settings(max_examples=60, deadline=None)
@given(policies(), st.data())
def test_what_only_closes_is_never_called_wider(policy, data):
    own = policy.own
    kept = tuple(rule for rule in own.allow if data.draw(st.booleans()))
    closed = replace(own, allow=kept, block=own.block + data.draw(several(2)), bypass=())
    held = [data.draw(layers("policy corp", enforced=True))] if data.draw(st.booleans()) else []
    held = [replace(layer, bypass=()) for layer in held]
    after = Policy((*held, *policy.layers[:-1], closed))
    assert loosenings(policy, after) == ()


@settings(max_examples=60, deadline=None)
@given(policies())
def test_the_same_policy_is_neither_wider_nor_tighter(policy):
    assert loosenings(policy, policy) == ()
    assert widenings(policy, policy) == tightenings(policy, policy) == ()


def one(layer, **fields):
    return Policy((layer(**fields),))


@pytest.mark.parametrize(
    ("before", "after", "sentences"),
    [
        # narrower rules of the same name
        ({"allow": ["a.test"]}, {"allow": ["a.test:443"]}, ()),
        ({"allow": ["a.test:443"]}, {"allow": ["a.test"]}, ("can now reach a.test",)),
        ({"allow": ["a.test"]}, {"allow": [("a.test", {"methods": ("GET",)})]}, ()),
        (
            {"allow": [("a.test", {"methods": ("GET",)})]},
            {"allow": [("a.test", {"methods": ("GET", "POST")})]},
            ("can now reach a.test (GET, POST)",),
        ),
        ({"allow": [("a.test", {"paths": ("/a", "/b")})]}, {"allow": [("a.test", {"paths": ("/b",)})]}, ()),
        ({"allow": ["a.test"]}, {"allow": [("a.test", {"until": "2027-01-31"})]}, ()),
        (
            {"allow": [("a.test", {"until": "2027-01-31"})]},
            {"allow": [("a.test", {"until": "2027-02-28"})]},
            ("can now reach a.test (until 2027-02-28)",),
        ),
        (
            {"allow": ["a.test:5432"]},
            {"allow": [("a.test:5432", {"protocol": "tcp"})]},
            ("can now reach a.test:5432 (raw TCP)",),
        ),
        # narrower ones of other names; an exact host also opens private addresses
        ({"allow": ["*.x.test"]}, {"allow": ["*.a.x.test", "**.b.x.test:443"]}, ()),
        ({"mode": "allow"}, {"allow": ["*.x.test"]}, ()),
        ({"allow": ["*.x.test"]}, {"allow": ["a.x.test"]}, ("can now reach a.x.test at private addresses",)),
        ({"mode": "allow"}, {"allow": ["a.test:443"]}, ("can now reach a.test:443 at private addresses",)),
        (
            {"mode": "allow"},
            {"allow": [("a.test", {"methods": ("GET",)})]},
            ("can now reach a.test (GET) at private addresses",),
        ),
        (
            {"mode": "allow"},
            {"allow": ["localhost:80", "10.1.2.3"]},
            ("can now reach 10.1.2.3", "can now reach localhost:80"),
        ),
        (
            {"mode": "allow"},
            {"allow": [("a.test:25", {"protocol": "tcp"})]},
            ("can now reach a.test:25 (raw TCP)",),
        ),
        (
            {"mode": "allow", "block": ["*.x.test"]},
            {"allow": ["a.x.test"], "block": ["*.x.test"]},
            ("can now reach a.x.test",),
        ),
        ({"allow": ["*.x.test:443"]}, {"allow": ["a.x.test"]}, ("can now reach a.x.test",)),
        # paths below others
        (
            {"allow": [("a.test", {"paths": ("/r/**",)})]},
            {"allow": [("a.test", {"paths": ("/r/a/**", "/r/*/b", "/r/c")})]},
            (),
        ),
        (
            {"allow": [("a.test", {"paths": ("/r/*", "/*/s/**")})]},
            {"allow": [("a.test", {"paths": ("/r/a/**",)})]},
            ("can now reach a.test (/r/a/**)",),
        ),
        (
            {"allow": [("a.test", {"paths": ("/r/**",)})]},
            {"allow": [("a.test", {"paths": ("/rest/a",)})]},
            ("can now reach a.test (/rest/a)",),
        ),
        ({"allow": ["203.0.113.0/24"]}, {"allow": ["203.0.113.0/25"]}, ()),
        ({"allow": ["0.0.0.0/0"]}, {"allow": ["10.0.0.0/8"]}, ("can now reach 10.0.0.0/8",)),
        # a condition comes before a block of the same name, which it did not before
        (
            {"allow": ["*", "a.test"], "block": ["a.test"]},
            {"allow": ["*", ("a.test", {"methods": ("GET",)})], "block": ["a.test"]},
            ("can now reach a.test (GET)",),
        ),
        # blocks
        ({"allow": ["a.test"], "block": ["b.test"]}, {"allow": ["a.test"]}, ()),
        ({"allow": ["*"], "block": ["b.test:443"]}, {"allow": ["*"], "block": ["b.test"]}, ()),
        ({"allow": ["*"], "block": ["b.test"]}, {"allow": ["*"], "block": ["b.test:443"]}, ("can now reach b.test",)),
        (
            {"allow": ["a.test"], "block": ["10.0.0.0/8"]},
            {"allow": ["a.test"]},
            ("can now reach 10.0.0.0/8",),
        ),
        # blocks that wider ones replace, and what comes between
        ({"mode": "allow", "block": ["b.test"]}, {"mode": "allow", "block": ["**.b.test"]}, ()),
        ({"allow": ["*"], "block": ["b.test", "*.b.test:80"]}, {"allow": ["*"], "block": ["**.b.test"]}, ()),
        ({"mode": "allow", "block": ["203.0.113.0/24"]}, {"mode": "allow", "block": ["203.0.112.0/20"]}, ()),
        (
            {"mode": "allow", "allow": ["a.test", "203.0.0.0/8"], "block": ["203.0.113.0/24"]},
            {"mode": "allow", "allow": ["a.test", "203.0.0.0/8"], "block": ["203.0.112.0/20"]},
            (),
        ),
        (
            {"mode": "allow", "block": [("b.test", {"paths": ("/x/y",)})]},
            {"mode": "allow", "block": [("*.test", {"paths": ("/x/**",)})]},
            (),
        ),
        (
            {"mode": "allow", "block": ["b.test"]},
            {"mode": "allow", "block": ["*.b.test"]},
            ("can now reach b.test",),
        ),
        (
            {"mode": "allow", "block": ["b.test"]},
            {"mode": "allow", "block": [("*.test", {"until": "2027-01-31"})]},
            ("can now reach b.test",),
        ),
        (
            {"allow": ["*.test"], "block": ["a.b.test"]},
            {"allow": ["*.test"], "block": ["*"]},
            ("can now reach a.b.test",),
        ),
        (
            {"allow": ["*.test:443"], "block": ["a.b.test"]},
            {"allow": ["*.test:443"], "block": ["**.test"]},
            ("can now reach a.b.test",),
        ),
        (
            {"allow": ["*", "203.0.113.0/24"], "block": ["203.0.113.8/29"]},
            {"allow": ["*", "203.0.113.0/24"], "block": ["203.0.0.0/8"]},
            ("can now reach 203.0.113.8/29",),
        ),
        # what the sandbox is held to otherwise does not let through
        ({"allow": [], "block": ["a.test"]}, {"allow": ["a.test"], "block": ["a.test"]}, ()),
        ({"bypass": ["a.test"]}, {"bypass": ["a.test:443"]}, ()),
        (
            {"bypass": [("a.test", {"until": "2027-01-31"})]},
            {"bypass": ["a.test"]},
            ("is no longer inspected on the way to a.test",),
        ),
    ],
)
def test_a_policy_is_wider_by(before, after, sentences, layer):
    assert widenings(one(layer, **before), one(layer, **after)) == sentences


def test_what_an_enforced_policy_forbids_is_not_opened(layer):
    corp = layer("policy corp", "allow", block=["a.test"], enforced=True)
    assert widenings(Policy((corp, layer())), Policy((corp, layer(allow=["a.test:443"])))) == ()
    assert widenings(Policy((corp, layer())), Policy((corp, layer(allow=["*.a.test"])))) == ("can now reach *.a.test",)
    ended = layer("policy corp", "allow", block=[("a.test", {"until": "2027-01-31"})], enforced=True)
    assert len(widenings(Policy((ended, layer())), Policy((ended, layer(allow=["a.test:443"]))))) == 1


def test_an_enforced_policy_may_change_its_name(layer):
    corp = layer("policy corp", "allow", block=["a.test"], enforced=True)
    held = layer("machine policy corp", "allow", block=["a.test", "b.test"], enforced=True)
    assert widenings(Policy((corp, layer())), Policy((held, layer()))) == ()
    assert widenings(Policy((held, layer())), Policy((corp, layer()))) == ("is no longer held to machine policy corp",)


def test_a_rule_that_a_wider_one_replaces_is_not_closed(layer):
    wide, named = one(layer, allow=["*.x.test"]), one(layer, allow=["a.x.test"])
    assert tightenings(wide, named) == ("can no longer reach *.x.test",)
    assert tightenings(named, wide) == ("can no longer reach a.x.test at private addresses",)
    assert reach_changes(wide, named) == (
        "can no longer reach *.x.test",
        "can now reach a.x.test at private addresses",
    )
    few, all_ = one(layer, allow=[("a.test", {"methods": ("GET",)})]), one(layer, allow=["a.test"])
    assert tightenings(few, all_) == ()
    assert tightenings(all_, few) == ("can no longer reach a.test",)
    assert tightenings(one(layer, mode="allow"), few) == ("can no longer reach everything",)
    assert tightenings(one(layer, allow=["*"]), one(layer, allow=["*"], block=["a.test"])) == (
        "can no longer reach a.test",
    )


def test_a_widening_knows_its_rule(layer):
    [found] = widened(one(layer), one(layer, allow=["a.test", ("b.test", {"paths": ("/x",)})][1:]))
    assert (found.rule.pattern, found.rule.place, found.protects) == ("b.test", "allow:0", False)
    [found] = widened(one(layer), one(layer, inspect="minimal"))
    assert (found.rule, found.protects) == (None, True)


def test_what_cannot_be_gone_by_is_not_compared(layer):
    wrong = Policy((Layer("policy web", "deny", (Rule("no host"),)),))
    for before, after in ((wrong, one(layer)), (one(layer), wrong)):
        with pytest.raises(PolicyError):
            loosenings(before, after)
