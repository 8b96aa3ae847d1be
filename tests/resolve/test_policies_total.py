"""Whatever the language accepts can be decided by: no policy of a right file is malformed for the gateway."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxfile.diagnostics import has_errors
from sandboxfile.language.validate import load
from sandboxfile.model.policy import Request
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.patterns import Pattern, parse_pattern
from sandboxfile.resolve.inputs import ResolveInputs
from sandboxfile.resolve.policies import resolve_policies

HOSTS = st.sampled_from([
    "example.com", "API.example.com.", "bücher.example", "*.example.com", "**.example.com", "*", "localhost",
    "host.docker.internal", "203.0.113.5", "0xcb007105", "2001:db8::1", "[::ffff:203.0.113.5]", "_srv.example.com",
    "127.1", "a" * 63 + ".example", "xn--bcher-kva.example", "*.com", "::", "fe80::1",
]) | st.text(max_size=6)  # fmt: skip
CIDRS = st.sampled_from(
    ["203.0.113.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:203.0.113.0/120", "10.0.0.1/32"]
)
PORTS = st.sampled_from([1, 22, 80, 443, 65535])
PATHS = st.sampled_from(
    ["/", "/**", "/a/*/b", "/a%20b", "/é", "/a b", "/a%2fb", "/**/x/**", "/;x", "/*.git"]
) | st.text(max_size=4).map("/".__add__)
METHODS = st.sampled_from(["GET", "post", "M-SEARCH", "x"])
DETAILED = st.fixed_dictionaries(
    {"host": HOSTS},
    optional={
        "port": PORTS,
        "protocol": st.sampled_from(["http", "tcp"]),
        "methods": st.lists(METHODS, min_size=1, max_size=2),
        "paths": st.lists(PATHS, min_size=1, max_size=2),
        "until": st.sampled_from(["2020-01-31", "2027-01-31"]),
    },
)
RULES = HOSTS | st.builds("{}:{}".format, HOSTS, PORTS) | CIDRS | st.fixed_dictionaries({"cidr": CIDRS}) | DETAILED
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["allow", "deny"]),
        "inspect": st.sampled_from(["full", "minimal"]),
        "enforce": st.booleans(),
        **{name: st.lists(RULES, max_size=2) for name in ("allow", "block", "bypass")},
    },
)
REQUESTS = [
    Request("example.com", 443),
    Request("203.0.113.5", 80, "http", "GET", "/a"),
    Request("localhost", 22, "tcp"),
]


def text_of(policies: dict[str, Any]) -> str:
    return json.dumps({"policies": policies, "sandboxes": {"web": {"policy": "own"}}}).replace("$", "$$")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(POLICIES, POLICIES)
def test_what_the_language_accepts_can_be_compiled_and_decided(own: Any, base: Any) -> None:
    file, _, problems = load(text_of({"own": own | {"extends": "base"}, "base": base}), "f")
    assert file is not None
    assert file.whole != has_errors(problems)
    found, _ = resolve_policies(file, ResolveInputs("/p/f", "/home", (), {}, {}, today="2026-11-21"))
    policy = found.sandboxes["web"]
    for layer in policy.layers:
        for rule in (*layer.allow, *layer.block, *layer.bypass):
            pattern = parse_pattern(rule.pattern)
            assert isinstance(pattern, Pattern)
            assert pattern.text == rule.pattern
    if file.whole:
        compiled = compile_policy(policy)
        for request in REQUESTS:
            assert compiled.decide(request, None, "2026-11-21").reason
