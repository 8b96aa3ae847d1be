"""The kernel is asked which addresses are this host's; only a rule for that very place opens them."""

from ipaddress import ip_address

import pytest

from sandboxfile.host import own_addresses
from sandboxfile.host.own_addresses import guarded, is_own
from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import compile_policy


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("203.0.113.7", False), ("2001:db8::7", False), ("::1", True)],
)
def test_own_is_what_may_be_bound(address, own):
    assert is_own(ip_address(address)) is own


@pytest.mark.parametrize(
    ("layer", "allowed"),
    [
        (Layer("web", "allow"), False),
        (Layer("web", "allow", allow=(Rule("*"),)), False),
        (Layer("web", allow=(Rule("*.example.com"),)), False),
        (Layer("web", allow=(Rule("api.example.com"),)), True),
        (Layer("web", allow=(Rule("api.example.com:443"),)), True),
        (Layer("web", "allow", allow=(Rule("203.0.113.0/24"),)), True),
        (Layer("web", "allow", allow=(Rule("198.51.100.0/24"),)), False),
    ],
)
def test_a_name_that_leads_to_this_host_needs_a_rule_for_it(monkeypatch, layer, allowed):
    monkeypatch.setattr(own_addresses, "is_own", lambda address: str(address) == "203.0.113.7")
    policy = Policy((layer,))
    request = Request("api.example.com", 443)

    def ask(*addresses):
        decision = compile_policy(policy).decide(request, [ip_address(each) for each in addresses], "2026-11-21")
        assert decision.allowed
        return guarded(decision, policy)

    assert ask("203.0.113.8").allowed
    for found in (ask("203.0.113.7"), ask("203.0.113.8", "203.0.113.7")):
        assert found.allowed is allowed
        assert allowed or "an address of this host" in found.reason
