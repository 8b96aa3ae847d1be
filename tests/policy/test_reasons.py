"""Reasons: one sentence that names rule, layer and place, and the rule that was probably meant."""

import pytest

from sandboxfile.model.policy import NO_POLICY, Request


@pytest.fixture
def web(layer):
    return layer(
        allow=[
            ("api.example.com:443", {"origin": "agent claude"}),
            ("*.wild.example.com", {"reason": "migration"}),
            ("api.github.com", {"methods": ("GET", "HEAD"), "paths": ("/repos/**",), "place": "sandbox.yaml:12:9"}),
            ("db.example.com:5432", {"protocol": "tcp"}),
            ("old.example.com", {"until": "2026-01-31"}),
            *(f"ports.example.com:{port}" for port in range(1, 9)),
        ],
        block=["ads.example.com", "198.51.100.0/24"],
    )


@pytest.mark.parametrize(
    ("target", "addresses", "reason"),
    [
        (
            "api.example.com:443",
            None,
            'api.example.com:443 is allowed by rule "api.example.com:443" of policy web, from agent claude (allow:0)',
        ),
        (
            "GET https://x.wild.example.com/y",
            None,
            'GET https://x.wild.example.com/y is allowed by rule "*.wild.example.com" of policy web, migration'
            " (allow:1)",
        ),
        ("ads.example.com", None, 'ads.example.com:443 is blocked by rule "ads.example.com" of policy web (block:0)'),
        (
            "POST https://api.github.com/repos/x",
            None,
            "POST https://api.github.com/repos/x is not allowed: policy web allows only GET, HEAD there "
            "(sandbox.yaml:12:9)",
        ),
        (
            "https://api.github.com/user",
            None,
            "GET https://api.github.com/user is not allowed: policy web allows only /repos/** there"
            " (sandbox.yaml:12:9)",
        ),
        (
            Request("api.github.com", 443, "https", "GET", "/repos/../user"),
            None,
            "GET https://api.github.com/repos/../user is not allowed: policy web allows only /repos/** there, and "
            "servers may read this path in several ways (sandbox.yaml:12:9)",
        ),
        (
            "db.example.com:5432",
            None,
            "db.example.com:5432 is not allowed: policy web allows only raw TCP there (allow:3)",
        ),
        (
            "tcp://api.example.com:443",
            None,
            "api.example.com:443 over raw TCP is not allowed: policy web allows only HTTP, not raw TCP, there "
            "(allow:0)",
        ),
        (
            "tcp://example.net:22",
            None,
            "example.net:22 over raw TCP is not allowed: policy web has no rule of protocol tcp for it (mode:0)",
        ),
        (
            "old.example.com",
            None,
            'old.example.com:443 is not allowed: policy web allowed it until 2026-01-31 by rule "old.example.com" '
            "(allow:4)",
        ),
        (
            "http://api.example.com/",
            None,
            "GET http://api.example.com/ is not allowed: policy web allows it only on port 443 (allow:0)",
        ),
        (
            "ports.example.com:443",
            None,
            "ports.example.com:443 is not allowed: policy web allows it only on port 1, 2, 3, 4, ... (allow:5)",
        ),
        (
            "wild.example.com",
            None,
            'wild.example.com:443 is not allowed: rule "*.wild.example.com" of policy web is for names below '
            "wild.example.com (allow:1)",
        ),
        (
            "x.api.github.com",
            None,
            'x.api.github.com:443 is not allowed: rule "api.github.com" of policy web is for that name alone, not for '
            "names below it (sandbox.yaml:12:9)",
        ),
        (
            "x.wild.example.com",
            ["10.9.8.7"],
            "x.wild.example.com resolves to 10.9.8.7, which is in 10.0.0.0/8, blocked by default: only an exact-host "
            "rule or an allowed range lets it through",
        ),
        (
            "x.wild.example.com",
            ["198.51.100.7"],
            'x.wild.example.com resolves to 198.51.100.7, which is blocked by rule "198.51.100.0/24" of policy web '
            "(block:1)",
        ),
        (
            "x.wild.example.com",
            ["0.0.0.0"],
            "x.wild.example.com resolves to 0.0.0.0, which is never dialled: it is not the address of one host",
        ),
        (
            "198.51.100.7",
            None,
            '198.51.100.7 is blocked by rule "198.51.100.0/24" of policy web (block:1)',
        ),
        (
            "localhost:80",
            None,
            "localhost:80 is not allowed: only a rule localhost:80 opens a port of the host, and policy web has none "
            "that matches (mode:0)",
        ),
        (
            "[2001:db8::1]:443",
            None,
            "[2001:db8::1]:443 is not allowed: no rule of policy web matches, and its mode is deny (mode:0)",
        ),
    ],
)
def test_the_reason_is(web, target, addresses, reason, decide):
    assert decide([web], target, addresses).reason == reason


def test_mode_allow_is_a_reason_too(layer, decide):
    decision = decide([layer(mode="allow")], "example.com")
    assert (
        decision.reason == "example.com:443 is allowed: no rule of policy web blocks it, and its mode is allow (mode:0)"
    )
    assert decision.rule == "mode allow"


def test_a_sandbox_without_a_policy_is_told_so(decide):
    assert decide(NO_POLICY.layers, "example.com").reason == (
        "example.com:443 is not allowed: this sandbox has no policy, and so allows nothing"
    )


def test_what_a_guest_writes_is_shown_short_and_harmless(web, decide):
    request = Request("api.github.com", 443, "https", "GET\r\n\x1b[2J" * 50, "/\x07" * 5000)
    reason = decide([web], request).reason
    assert reason.isprintable()
    assert len(reason) < 500
