"""Compiling refuses what is malformed; deciding is total and fails closed; questions besides `decide`."""

import dataclasses
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.errors import PolicyError
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.policy import NO_POLICY, Decision, Layer, Policy, Request, Rule
from sandboxfile.policy.compiled import compile_policy

TODAY = "2026-11-21"
OPEN = compile_policy(
    Policy(
        (
            Layer("policy team", "allow", block=(Rule("*.bad.example.com", methods=("DELETE",), paths=("/x/**",)),)),
            Layer("policy web", "allow", allow=(Rule("localhost:80"), Rule("**.example.com", paths=("/a/*",)))),
        )
    )
)


@given(
    host=st.text(max_size=60) | st.text("0123456789abcdefx.:[]%/*\u3002", max_size=30),
    port=st.integers() | st.integers(1, 65535),
    protocol=st.sampled_from(["http", "https", "tcp", "ftp", ""]),
    method=st.none() | st.text(max_size=10),
    path=st.none() | st.text(max_size=40),
    today=st.just(TODAY) | st.text(max_size=12),
    addresses=st.none() | st.lists(st.ip_addresses(), max_size=3),
)
def test_whatever_is_asked_there_is_a_decision(host, port, protocol, method, path, today, addresses):
    decision = OPEN.decide(Request(host, port, protocol, method, path), addresses, today)
    assert isinstance(decision, Decision)
    assert decision.reason.isprintable()
    assert decision.host.isprintable()
    assert not (decision.inspect and decision.bypass)
    if not 1 <= port <= 65535 or protocol in ("ftp", "") or addresses == []:
        assert not decision.allowed
    OPEN.resolvable(host, today)


@pytest.mark.parametrize(
    "request_",
    [
        Request("a b", 443),
        Request("", 443),
        Request("example.com", 0),
        Request("example.com", -1),
        Request("example.com", 65536),
        Request("example.com", 10**5000),
        Request("example.com", 443, "ftp"),
        Request("\ud800\x1b[31m" * 1000, 443),
    ],
    ids=range(8),
)
def test_what_is_not_understood_is_denied_in_mode_allow_too(request_):
    decision = OPEN.decide(request_, None, TODAY)
    assert (decision.allowed, decision.rule, decision.layer) == (False, "malformed request", "default")
    assert len(decision.reason) < 300


@pytest.mark.parametrize("today", ["", "tomorrow", "2026-11-21T00:00:00Z", "\u0662026-11-21"])
def test_without_a_day_nothing_is_allowed(today):
    assert not OPEN.decide(Request("example.net", 443), None, today).allowed
    assert not OPEN.resolvable("example.net", today)


@pytest.mark.parametrize(
    "rule",
    [
        Rule("http://example.com"),
        Rule(""),
        Rule("10.0.0.1/8"),
        Rule("db.example.com", "tcp"),
        Rule("10.0.0.0/8", "tcp"),
        Rule("db.example.com:5432", "udp"),
        Rule("db.example.com:5432", "tcp", methods=("GET",)),
        Rule("db.example.com:5432", "tcp", paths=("/",)),
        Rule("example.com", methods=("get",)),
        Rule("example.com", methods=("",)),
        Rule("example.com", paths=("repos",)),
        Rule("example.com", until="tomorrow"),
        Rule("example.com", until="2027-1-31"),
    ],
)
@pytest.mark.parametrize("where", ["allow", "block", "bypass"])
def test_a_malformed_rule_spoils_the_whole_policy(rule, where):
    placed = dataclasses.replace(rule, place="sandbox.yaml:3:5")
    with pytest.raises(PolicyError, match=r"sandbox\.yaml:3:5"):
        compile_policy(Policy((Layer("policy web", **{where: (Rule("ok.example.com"), placed)}),)))


@pytest.mark.parametrize(
    "layers", [(), (Layer("policy web", "open"),), (Layer("policy web", inspect="none"), Layer("policy other"))]
)
def test_a_malformed_layer_spoils_the_whole_policy(layers):
    with pytest.raises(PolicyError):
        compile_policy(Policy(layers))


def test_a_compiled_policy_is_known_by_the_fingerprint_of_its_data():
    assert OPEN.fingerprint == fingerprint(OPEN.policy)


def test_a_compiled_policy_cannot_be_changed():
    own = OPEN.layers[-1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.layer = None
    with pytest.raises(TypeError):
        own.names.hosts["evil.example.com"] = own.names.hosts["localhost"]
    with pytest.raises(TypeError):
        own.ranges.lengths[4] = ()
    with pytest.raises(TypeError):
        del own.ranges.lengths[4][0][1][10]


def compiled(*layers):
    return compile_policy(Policy(layers))


@pytest.mark.parametrize(
    ("host", "resolvable"),
    [
        ("api.example.com", True),
        ("API.example.com.", True),
        ("read.example.com", True),
        ("db.example.com", True),
        ("x.wild.example.com", True),
        ("wild.example.com", False),
        ("blocked.wild.example.com", False),
        ("half.wild.example.com", True),
        ("old.example.com", False),
        ("localhost", True),
        ("host.docker.internal", True),
        ("evil.example.com", False),
        ("data.exfiltrated.api.example.com", False),
        ("203.0.113.5", False),
        ("0xcb007105", False),
        ("not a name", False),
    ],
)
def test_a_name_resolves_when_something_of_it_could_be_allowed(host, resolvable):
    policy = compiled(
        Layer(
            "policy web",
            "deny",
            allow=(
                Rule("api.example.com:8443"),
                Rule("read.example.com", methods=("GET",), paths=("/x",)),
                Rule("db.example.com:5432", "tcp"),
                Rule("*.wild.example.com"),
                Rule("old.example.com", until="2026-11-20"),
                Rule("localhost:80"),
                Rule("203.0.113.0/24"),
                Rule("203.0.113.5"),
            ),
            block=(Rule("blocked.wild.example.com"), Rule("half.wild.example.com:443")),
        )
    )
    assert policy.resolvable(host, TODAY) == resolvable


def test_a_name_resolves_only_when_all_layers_could_allow_the_same_port():
    secure, plain = (Layer(f"policy {port}", allow=(Rule(f"*:{port}"),)) for port in (443, 80))
    assert compiled(secure, Layer("own", "allow")).resolvable("example.com", TODAY)
    assert not compiled(secure, plain).resolvable("example.com", TODAY)
    assert not compiled(Layer("closed"), Layer("own", "allow")).resolvable("example.com", TODAY)


def test_in_mode_allow_every_name_resolves_but_blocked_ones():
    policy = compiled(Layer("policy web", "allow", block=(Rule("*.bad.example.com"),)))
    assert policy.resolvable("example.net", TODAY)
    assert not policy.resolvable("x.bad.example.com", TODAY)
    assert not policy.resolvable("localhost", TODAY)


def test_ports_are_those_of_allowing_rules_of_every_layer():
    policy = compiled(
        Layer("policy team", allow=(Rule("*:8443"),), block=(Rule("*:25"),)),
        Layer("policy web", allow=(Rule("db.example.com:5432", "tcp"), Rule("example.com"), Rule("*.example.com:443"))),
    )
    assert policy.ports() == {443, 5432, 8443}
    assert compile_policy(NO_POLICY).ports() == frozenset()


def test_of_many_ports_the_64_smallest_are_listened_on():
    policy = compiled(Layer("policy web", allow=tuple(Rule(f"example.com:{port}") for port in range(2000, 1000, -1))))
    assert policy.ports() == frozenset(range(1001, 1065))


def test_addresses_to_dial_are_those_that_were_checked():
    found = [ip_address("93.184.216.34"), ip_address("2606:4700::1111")]
    assert OPEN.decide(Request("example.net", 443), found, TODAY).addresses == ("93.184.216.34", "2606:4700::1111")
    assert OPEN.decide(Request("0x5db8d822", 443), None, TODAY).addresses == ("93.184.216.34",)
    assert OPEN.decide(Request("example.net", 443), None, TODAY).addresses == ()


def test_a_literal_host_that_leads_elsewhere_is_checked_there_too():
    decision = OPEN.decide(Request("93.184.216.34", 443), [ip_address("127.0.0.1")], TODAY)
    assert (decision.allowed, decision.rule) == (False, "default block")
    assert decision.reason.startswith("93.184.216.34 leads to 127.0.0.1")
