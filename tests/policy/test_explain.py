"""Reach and its changes in words that agree with decisions, and what a denied program gets to read."""

import random

import pytest

from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.model.policy import NO_POLICY, Policy, Request
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.explain import denial_text, reach, reach_changes, widenings

PRIVATE = "private networks"


def test_a_denial_says_why_and_what_to_run(layer, decide):
    decision = decide([layer()], "evil.example.com")
    assert denial_text(decision, "web", "https://evil.example.com/a b") == (
        "Blocked by the network policy of sandbox 'web': evil.example.com:443 is not allowed: policy web allows "
        "nothing (mode:0)\nsbx policy explain web 'https://evil.example.com/a b'\n"
    )


def test_a_denial_is_two_lines_whatever_was_asked(layer, decide):
    text = denial_text(decide([layer()], "evil.example.com"), "web", "https://x/\r\n\x1b[2J$(reboot)`" * 100)
    assert text.count("\n") == 2
    assert text.replace("\n", "").isprintable()
    assert text.splitlines()[1].endswith("'")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({}, ()),
        ({"allow": ["b.example.com", "a.example.com:443"]}, ("a.example.com:443", "b.example.com")),
        ({"allow": ["*:443"]}, ("every host on port 443",)),
        ({"allow": ["*"]}, (f"everything but {PRIVATE}",)),
        ({"mode": "allow"}, (f"everything but {PRIVATE}",)),
        (
            {"mode": "allow", "block": ["*.x.example.com", "198.51.100.0/24"], "allow": ["api.x.example.com"]},
            (f"everything but *.x.example.com, 198.51.100.0/24 and {PRIVATE}", "api.x.example.com"),
        ),
        ({"mode": "allow", "block": ["*"], "allow": ["api.example.com"]}, ("api.example.com",)),
        (
            {"allow": ["*.example.com", "example.com"], "block": ["ads.example.com", "ads.example.net", "example.com"]},
            ("*.example.com", "but not ads.example.com"),
        ),
        (
            {"allow": [("api.github.com", {"methods": ("GET", "HEAD"), "paths": ("/repos/**",)})]},
            ("api.github.com (GET, HEAD /repos/**)",),
        ),
        ({"allow": [("db.example.com:5432", {"protocol": "tcp"})]}, ("db.example.com:5432 (raw TCP)",)),
        ({"allow": [("old.example.com", {"until": "2027-01-31"})]}, ("old.example.com (until 2027-01-31)",)),
        ({"allow": ["localhost:8080", "localhost"]}, ("localhost:8080",)),
        (
            {"allow": ["203.0.113.0/24", "10.0.0.0/8", "203.0.113.5:443"]},
            ("10.0.0.0/8", "203.0.113.0/24", "203.0.113.5:443"),
        ),
        ({"allow": ["10.0.0.0/8"], "block": ["10.9.0.0/16"]}, ("10.0.0.0/8", "but not 10.9.0.0/16")),
        (
            {"mode": "allow", "block": [("api.example.com", {"methods": ("DELETE",)})]},
            (f"everything but api.example.com (DELETE) and {PRIVATE}",),
        ),
    ],
)
def test_reach_in_words(own, words, layer):
    assert reach(Policy((layer(**own),))) == words


def test_reach_is_what_all_layers_allow(layer):
    team = layer("policy team", "deny", allow=["*:443", "*.corp.example.com"], enforced=True)
    own = layer(allow=["api.example.com", "www.example.com:80", "x.corp.example.com", "*.example.com"])
    assert reach(Policy((team, own))) == (
        "*.corp.example.com",
        "*.example.com:443",
        "api.example.com:443",
        "x.corp.example.com",
    )


def test_reach_agrees_with_decisions(layer):
    """Whatever exact host and port the words name can be reached, and others of the same policy cannot."""
    rng = random.Random(7)
    names = [f"{label}.example.com" for label in "abcd"] + ["*.example.com", "**.b.example.com", "*"]
    patterns = names + [f"{name}:443" for name in names] + [f"{name}:80" for name in names]
    seen = 0
    for _ in range(300):
        layers = [
            layer(f"policy {n}", rng.choice(["allow", "deny"]), rng.sample(patterns, 3), rng.sample(patterns, 2))
            for n in "xy"
        ]
        policy = Policy(tuple(layers))
        compiled, words = compile_policy(policy), reach(policy)
        for rule in {
            rule.pattern for each in layers for rule in each.allow if ":" in rule.pattern and "*" not in rule.pattern
        }:
            host, port = rule.split(":")
            allowed = compiled.decide(Request(host, int(port)), None, "2026-11-21").allowed
            assert allowed == (rule in words), (words, layers)
            seen += allowed
    assert seen > 20


@pytest.mark.parametrize(
    ("before", "after", "changes", "widening"),
    [
        ({}, {"allow": ["api.example.com:443"]}, ["can now reach api.example.com:443"], [0]),
        (
            {"allow": ["a.example.com"]},
            {"allow": ["b.example.com"]},
            ["can now reach b.example.com", "can no longer reach a.example.com"],
            [0],
        ),
        (
            {"allow": ["a.example.com"]},
            {"mode": "allow"},
            [f"can now reach everything but {PRIVATE}", "can no longer reach a.example.com"],
            [0],
        ),
        ({"mode": "allow"}, {}, ["can no longer reach everything"], []),
        ({"mode": "allow"}, {"mode": "allow", "block": ["x.example.com"]}, ["can no longer reach x.example.com"], []),
        ({"mode": "allow", "block": ["x.example.com"]}, {"mode": "allow"}, ["can now reach x.example.com"], [0]),
        (
            {"mode": "allow"},
            {"mode": "allow", "bypass": ["x.example.com"]},
            ["is no longer inspected on the way to x.example.com"],
            [0],
        ),
        ({"inspect": "minimal"}, {}, ["is now inspected wherever it can be"], []),
        ({}, {"inspect": "minimal"}, ["is now inspected only where a rule needs it"], [0]),
        ({"allow": ["*"]}, {"allow": ["*", "*:443"]}, ["can now reach every host on port 443"], []),
        ({}, {"block": ["x.example.com"]}, ["reaches the same by other rules"], []),
        ({"allow": ["a.example.com"]}, {"allow": ["a.example.com"]}, [], []),
    ],
)
def test_changes_of_reach(before, after, changes, widening, layer):
    old, new = Policy((layer(**before),)), Policy((layer(**after),))
    assert reach_changes(old, new) == tuple(changes)
    assert widenings(old, new) == tuple(changes[number] for number in widening)


def test_a_new_sandbox_can_now_reach_what_it_reaches(layer):
    assert reach_changes(None, Policy((layer(allow=["api.example.com:443"]),))) == (
        "can now reach api.example.com:443",
    )
    assert reach_changes(None, NO_POLICY) == ()


def test_a_place_is_no_change(layer):
    old = Policy((layer(allow=["a.example.com"]),))
    new = Policy((layer(allow=[("a.example.com", {"place": "elsewhere:1", "reason": "because"})], place="moved:1"),))
    assert reach_changes(old, new) == ()


def test_enforcement_is_told(layer):
    own = layer(mode="allow")
    free = Policy((own,))
    team = layer("policy team", "allow", block=["x.example.com"], enforced=True)
    laxer = layer("policy team", "allow", enforced=True)
    held, loose = Policy((team, own)), Policy((laxer, own))
    assert reach_changes(free, held) == ("can no longer reach x.example.com", "is now held to policy team")
    assert widenings(free, held) == ()
    assert widenings(held, free) == ("can now reach x.example.com", "is no longer held to policy team")
    assert widenings(held, loose) == ("can now reach x.example.com", "is held to a changed policy team")
    assert widenings(loose, held) == ()


def test_settings_are_told_by_name(layer):
    own = layer()
    changed = reach_changes(Policy((own,)), Policy((own,), settings=(("PIP_INDEX_URL", "https://mirror.example.com"),)))
    assert changed == ("gets other network settings: PIP_INDEX_URL",)
    credential = Credential("c", SecretSource("store", "c"), variable="TOKEN", placeholder="x")
    assert reach_changes(Policy((own,)), Policy((own,), (("TOKEN", "x"),), (credential,))) == ()
