"""Where credentials may go: exactly there, and that what is bound is looked into unless it is bypassed."""

import pytest

from sandboxfile.errors import PolicyError
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.bindings import Bindings
from sandboxfile.policy.compiled import compile_policy


def credential(*injections: Injection, name: str = "tracker") -> Credential:
    return Credential(name, SecretSource("env", "TRACKER"), injections)


def names(bindings: Bindings, host: str, port: int, path: str = "/") -> list[str]:
    return [binding.injection.name for binding in bindings.applying(host, port, path)]


@pytest.mark.parametrize(
    ("host", "port", "bound"),
    [
        ("api.example.com", 443, True),
        ("api.example.com", 80, False),
        ("api.example.com", 8443, False),
        ("example.com", 443, False),
        ("x.api.example.com", 443, False),
        ("api.example.com.evil.org", 443, False),
        ("203.0.113.5", 443, False),
    ],
)
def test_a_credential_is_bound_to_one_host_and_port(host: str, port: int, bound: bool) -> None:
    bindings = Bindings([credential(Injection("api.example.com", name="x-api-key"))])
    assert bindings.binds(host, port) is bound
    assert names(bindings, host, port) == (["x-api-key"] if bound else [])


@pytest.mark.parametrize(
    ("path", "applies"),
    [
        ("/team/repo.git/info/refs", True),
        ("/other/repo.git/info/refs", False),
        ("/team/../other/info/refs", False),
        ("/team/%2e%2e/other/info/refs", False),
        ("//team/repo.git/info/refs", False),
        ("*", False),
    ],
)
def test_an_injection_with_paths_applies_to_them_in_their_one_spelling(path: str, applies: bool) -> None:
    injection = Injection("git.example.com", name="Authorization", paths=("/team/**/info/refs",))
    assert bool(Bindings([credential(injection)]).applying("git.example.com", 443, path)) is applies


def test_an_injection_without_paths_applies_to_any_spelling() -> None:
    bindings = Bindings([credential(Injection("api.example.com", name="x-api-key"))])
    assert names(bindings, "api.example.com", 443, "/a/../b") == ["x-api-key"]


def test_several_credentials_may_be_bound_to_one_place() -> None:
    place = "api.example.com"
    found = Bindings([credential(Injection(place, name="a")), credential(Injection(place, name="b"), name="other")])
    assert names(found, place, 443) == ["a", "b"]


@pytest.mark.parametrize(
    "injection",
    [
        Injection("*.example.com", name="x"),
        Injection("API.example.com", name="x"),
        Injection("api.example.com:443", name="x"),
        Injection("10.0.0.0/8", name="x"),
        Injection("", name="x"),
        Injection("api.example.com", 0, name="x"),
        Injection("api.example.com", 65536, name="x"),
        Injection("api.example.com", name="two words"),
        Injection("api.example.com", name="x\r\ny"),
        Injection("api.example.com", name="Host"),
        Injection("api.example.com", name="content-LENGTH"),
        Injection("api.example.com", name="x", drops=("transfer-encoding",)),
        Injection("api.example.com", name="x", value="nothing in it"),
        Injection("api.example.com", name="x", value="{secret}\r\nX: 1"),
        Injection("api.example.com", name="x", paths=("no-slash",)),
        Injection("api.example.com", kind="cookie", name="x"),  # type: ignore[arg-type]
        Injection("api.example.com", kind="query", name="x", basic=True),
    ],
)
def test_what_cannot_be_gone_by_makes_the_policy_invalid(injection: Injection) -> None:
    with pytest.raises(PolicyError, match='the secret "tracker" cannot be gone by'):
        compile_policy(Policy((Layer("policy web"),), credentials=(credential(injection),)))


def policy(inspect: str, bypass: tuple[str, ...] = ()) -> Policy:
    rules = (Rule("api.example.com"), Rule("other.example.com"))
    layer = Layer("policy web", allow=rules, bypass=tuple(map(Rule, bypass)), inspect=inspect)  # type: ignore[arg-type]
    return Policy((layer,), credentials=(credential(Injection("api.example.com", name="x-api-key")),))


@pytest.mark.parametrize(
    ("host", "port", "inspected"),
    [("api.example.com", 443, True), ("api.example.com", 8443, False), ("other.example.com", 443, False)],
)
def test_with_minimal_inspection_bound_places_are_looked_into(host: str, port: int, inspected: bool) -> None:
    decision = compile_policy(policy("minimal")).decide(Request(host, port), None, "2026-11-21")
    assert (decision.allowed, decision.inspect) == (True, inspected)


@pytest.mark.parametrize("inspect", ["minimal", "full"])
def test_a_bypassed_place_is_not_looked_into_whatever_is_bound_to_it(inspect: str) -> None:
    compiled = compile_policy(policy(inspect, bypass=("api.example.com",)))
    decision = compiled.decide(Request("api.example.com", 443), None, "2026-11-21")
    assert (decision.allowed, decision.bypass, decision.inspect) == (True, True, False)


def test_a_binding_allows_nothing() -> None:
    denied = Policy((Layer("policy web"),), credentials=policy("full").credentials)
    assert not compile_policy(denied).decide(Request("api.example.com", 443), None, "2026-11-21").allowed
