"""Policies as they are written and as they decide; what is shown is all that can be allowed."""

import re
from ipaddress import ip_address

import pytest

from sandboxfile.cli.views.policy import effective, policy_object, show
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.policy import COMMAND, Layer, Policy, Request, Rule
from sandboxfile.policy.addresses import DEFAULT_BLOCKED
from sandboxfile.policy.compiled import compile_policy

TODAY = "2026-11-21"
TEAM = Layer(
    "machine policy team",
    "allow",
    block=(Rule("*.internal.example.com", place="/etc/sandboxfile/policy.yaml:5:9"),),
    enforced=True,
    place="/etc/sandboxfile/policy.yaml:3:3",
)
WEB = Layer(
    "policy web",
    allow=(
        Rule("*", place="f:1"),
        Rule("*:443", place="f:2"),
        Rule("**.example.com", place="f:3"),
        Rule("*.example.com", place="f:4"),
        Rule("*.example.com:443", place="f:5"),
        Rule("*.api.example.com", place="f:6"),
        Rule("api.example.com", place="f:7"),
        Rule("api.example.com", methods=("GET", "HEAD"), paths=("/v1/**",), place="f:8"),
        Rule("api.example.com:443", place="f:9"),
        Rule("10.1.0.0/16", place="f:10"),
        Rule("db.example.com:5432", protocol="tcp", place="f:11"),
        Rule("old.example.com", until="2026-11-20", reason="migration", owner="platform", place="f:12"),
        Rule("registry.example.com", origin="preset npm", place="f:13"),
        Rule("new.example.com", origin=COMMAND, place="sbx network proxy"),
    ),
    block=(Rule("api.example.com", place="f:14"), Rule("10.1.2.0/24", place="f:15")),
    bypass=(Rule("pinned.example.com", place="f:16"),),
    place="f:0",
)
POLICY = Policy((TEAM, WEB), (("NPM_CONFIG_REGISTRY", "https://registry.example.com/"),))


def test_rules_are_shown_as_they_are_written_with_who_made_them():
    text = show(POLICY)
    assert text.startswith("machine policy team: mode allow, enforced  (/etc/sandboxfile/policy.yaml:3:3)\n")
    assert re.search(r"  block   \*\.internal\.example\.com +/etc/sandboxfile/policy\.yaml:5:9\n", text)
    assert re.search(r"  allow   api\.example\.com GET,HEAD /v1/\*\* +f:8\n", text)
    assert re.search(r"  allow   db\.example\.com:5432 tcp +f:11\n", text)
    assert re.search(r"  allow   old\.example\.com, until 2026-11-20 +f:12, “migration”, owner platform\n", text)
    assert re.search(r"  allow   registry\.example\.com +preset npm, f:13\n", text)
    assert re.search(r"  allow   new\.example\.com +command, sbx network proxy\n", text)
    assert re.search(r"  block   everything else +mode deny\n", text)
    assert text.endswith("set inside by presets:\n  NPM_CONFIG_REGISTRY=https://registry.example.com/")


def test_secrets_are_shown_by_where_they_are_and_where_they_go():
    credential = Credential(
        "tracker",
        SecretSource("file", "/home/user/token"),
        (Injection("tracker.example.com", 8443, name="X-Key"),),
        "TRACKER_TOKEN",
        "sbx-secret-tracker",
        "secret tracker",
        place="f:2",
    )
    policy = Policy((WEB,), (("NPM", "url"), ("TRACKER_TOKEN", "sbx-secret-tracker")), (credential,))
    assert show(policy).endswith(
        "set inside by presets:\n  NPM=url\nsecrets, which requests get outside:\n  tracker: "
        "file /home/user/token for tracker.example.com:8443 (header X-Key), as a placeholder in TRACKER_TOKEN"
    )
    assert policy_object(policy)["secrets"] == [
        {
            "name": "tracker",
            "source": "file /home/user/token",
            "places": ["tracker.example.com:8443"],
            "variable": "TRACKER_TOKEN",
            "origin": "secret tracker",
            "place": "f:2",
        }
    ]


def test_effective_is_the_order_in_which_the_rules_decide():
    own = effective(POLICY, TODAY).partition("policy web: mode deny")[2]
    places = re.findall(r"\bf:(\d+)", own)
    names = [place for place in places if place not in ("0", "10", "15", "16")]
    order = ["9", "11", "8", "14", "7", "12", "13", "6", "5", "4", "3", "2", "1"]
    assert [place for place in names if place not in ("11", "12", "13")] == [
        place for place in order if place not in ("11", "12", "13")
    ]
    assert set(names) == set(order)
    assert "expired, does not count, f:12" in own
    ranges = own.partition("the addresses that they resolve to")[2]
    assert ranges.index("10.1.2.0/24") < ranges.index("10.1.0.0/16") < ranges.index("10.0.0.0/8")
    assert all(str(network) in ranges for network in DEFAULT_BLOCKED)
    assert "reserved addresses" in ranges


def test_what_an_enforced_layer_lets_pass_is_said():
    text = effective(POLICY, TODAY).partition("policy web")[0]
    assert re.search(r"    allow   everything else +mode allow", text)
    assert "10.0.0.0/8" not in text


@pytest.mark.parametrize("mode", ["allow", "deny"])
def test_nothing_is_allowed_that_is_not_shown(mode):
    layer = Layer("policy x", mode, allow=(Rule("a.example.com:443"), Rule("203.0.113.0/24")))
    policy = Policy((layer,))
    text = effective(policy, TODAY)
    compiled = compile_policy(policy)
    for host, port in (("a.example.com", 443), ("a.example.com", 80), ("b.example.com", 443), ("203.0.113.9", 80)):
        allowed = compiled.decide(Request(host, port), [ip_address("203.0.113.9")], TODAY).allowed
        named = f"{host}:{port}" in text or "allow   everything else" in text or host.startswith("203")
        assert not allowed or named
    assert ("allow   everything else" in text) == (mode == "allow")
    assert "localhost" in text


def test_the_object_has_every_rule_with_its_origin():
    found = policy_object(POLICY)
    assert [layer["name"] for layer in found["layers"]] == ["machine policy team", "policy web"]
    rules = found["layers"][1]["rules"]
    assert len(rules) == len(WEB.allow) + len(WEB.block) + len(WEB.bypass)
    assert {"effect": "allow", "pattern": "registry.example.com", "origin": "preset npm"}.items() <= rules[12].items()
    assert found["default_blocks"] == [str(network) for network in DEFAULT_BLOCKED]
    assert found["settings"] == {"NPM_CONFIG_REGISTRY": "https://registry.example.com/"}
