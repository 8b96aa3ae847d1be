"""Suggestions: exact hosts for what was seen, nothing for what is meant to be blocked."""

from dataclasses import replace

import pytest

from sandboxfile.model.policy import Policy, Request, Rule
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.suggest import suggest

TODAY = "2026-11-21"


def get(host, port=443, method="GET", protocol="https"):
    return Request(host, port, protocol, method, "/")


@pytest.fixture
def short():
    def make(policy, *seen):
        return [(each.pattern, each.protocol, each.methods, each.count) for each in suggest(policy, seen, TODAY)]

    return make


def test_one_rule_for_one_host_and_port(layer, short):
    seen = [get("api.example.com", method=method) for method in ("GET", "POST", "GET")]
    assert short(Policy((layer(),)), *seen) == [("api.example.com:443", "http", (), 3)]


def test_ports_of_a_host_are_one_rule(layer, short):
    seen = [get("API.example.com."), get("api.example.com", 80, protocol="http")]
    assert short(Policy((layer(),)), *seen) == [("api.example.com", "http", ("GET",), 2)]
    (suggestion,) = suggest(Policy((layer(),)), seen, TODAY)
    assert suggestion.port is None
    assert suggestion.reason == "seen 2 times on ports 80, 443"


def test_methods_are_suggested_where_all_of_them_only_read(layer, short):
    policy = Policy((layer(),))
    assert short(policy, get("a.example.com"), get("a.example.com", method="HEAD"))[0][2] == ("GET", "HEAD")
    assert short(policy, get("a.example.com"), get("a.example.com", method=None))[0][2] == ()
    assert short(policy, get("a.example.com"), get("a.example.com", method="DELETE"))[0][2] == ()


def test_raw_tcp_and_ports_of_the_host_are_opened_one_by_one(layer, short):
    seen = [get("db.example.com", port, None, "tcp") for port in (5432, 5433)]
    seen += [get("host.docker.internal", port, "POST", "http") for port in (8080, 8081)]
    assert short(Policy((layer(),)), *seen) == [
        ("db.example.com:5432", "tcp", (), 1),
        ("db.example.com:5433", "tcp", (), 1),
        ("localhost:8080", "http", (), 1),
        ("localhost:8081", "http", (), 1),
    ]


def test_mode_allow_is_learned_from_as_if_it_were_deny(layer, short):
    assert short(
        Policy((layer(mode="allow", allow=["known.example.com"]),)), get("a.example.com"), get("known.example.com")
    ) == [("a.example.com:443", "http", ("GET",), 1)]


def test_what_is_blocked_by_a_rule_is_left_out(layer, short):
    team = layer("policy team", "allow", block=["*.internal.example.com"], enforced=True)
    own = layer(block=["ads.example.com", "203.0.113.0/24"])
    seen = [get(host) for host in ("ads.example.com", "x.internal.example.com", "203.0.113.7", "224.0.0.1", "a b")]
    assert short(Policy((team, own)), *seen) == []


def test_what_an_enforced_layer_denies_is_left_out_port_by_port(layer, short):
    team = layer("policy team", "deny", allow=["*:443"], enforced=True)
    seen = [get("a.example.com"), get("a.example.com", 80, protocol="http")]
    assert short(Policy((team, layer())), *seen) == [("a.example.com:443", "http", ("GET",), 1)]


def test_a_rule_that_is_in_force_needs_no_suggestion(layer, short):
    policy = Policy((layer(allow=[("a.example.com", {"until": TODAY}), ("b.example.com", {"until": "2026-11-20"})]),))
    assert [each[0] for each in short(policy, get("a.example.com"), get("b.example.com"))] == ["b.example.com:443"]
    assert len(suggest(policy, [get("a.example.com")])) == 1  # it will end


def test_private_addresses_are_pointed_out(layer):
    (suggestion,) = suggest(Policy((layer(),)), [get("10.9.8.7")], TODAY)
    assert suggestion.pattern == "10.9.8.7:443"
    assert "private" in suggestion.reason


def test_a_wildcard_is_only_a_remark(layer):
    hosts = ["a.example.com", "b.example.com", "c.example.com", "x.co.uk", "y.co.uk", "z.co.uk", "1.2.3.4"]
    made = suggest(Policy((layer(),)), [get(host) for host in hosts], TODAY)
    assert [each.host for each in made] == sorted(hosts)
    remarked = [each.host for each in made if '"*.example.com" would allow 3 hosts' in each.reason]
    assert remarked == hosts[:3]
    assert not any("*.co.uk" in each.reason for each in made)
    assert not any("*" in each.pattern for each in made)


def test_what_is_suggested_allows_what_was_seen(layer):
    own = layer(allow=[("api.example.com", {"methods": ("GET",)})], block=["*.example.net"])
    seen = [get("api.example.com", method="POST"), get("x.example.org"), get("y.example.net"), get("2001:db8::1", 8443)]
    made = suggest(Policy((own,)), seen, TODAY)
    rules = tuple(Rule(each.pattern, each.protocol, each.methods) for each in made)
    widened = Policy((replace(own, allow=own.allow + rules),))
    allowed = [compile_policy(widened).decide(request, None, TODAY).allowed for request in seen]
    assert allowed == [True, True, False, True]
