"""Targets as people write them, and tests of policies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.policy import Policy, Request
from sandboxfile.policy.checks import check_policy, parse_target
from sandboxfile.policy.patterns import PatternProblem


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("https://api.example.com/v1", Request("api.example.com", 443, "https", "GET", "/v1")),
        ("https://api.example.com", Request("api.example.com", 443, "https", "GET", "/")),
        ("https://api.example.com?x=/y", Request("api.example.com", 443, "https", "GET", "/")),
        ("https://api.example.com#f", Request("api.example.com", 443, "https", "GET", "/")),
        ("HTTP://API.example.com.:8080/a?b#c", Request("api.example.com", 8080, "http", "GET", "/a")),
        ("POST https://api.example.com/v1/", Request("api.example.com", 443, "https", "POST", "/v1/")),
        ("m-search   http://api.example.com", Request("api.example.com", 80, "http", "M-SEARCH", "/")),
        ("https://api.example.com/a/../b", Request("api.example.com", 443, "https", "GET", "/a/../b")),
        ("api.example.com:443", Request("api.example.com", 443)),
        ("api.example.com:80", Request("api.example.com", 80, "http")),
        ("api.example.com:5432", Request("api.example.com", 5432)),
        ("api.example.com", Request("api.example.com", 443)),
        ("203.0.113.5", Request("203.0.113.5", 443)),
        ("2001:db8::1", Request("2001:db8::1", 443)),
        ("[2001:db8::1]:8443", Request("2001:db8::1", 8443)),
        ("http://0x7f.1/", Request("127.0.0.1", 80, "http", "GET", "/")),
        ("https://[2001:db8::1]:8443/x", Request("2001:db8::1", 8443, "https", "GET", "/x")),
        ("tcp://db.example.com:5432", Request("db.example.com", 5432, "tcp")),
    ],
)
def test_a_target_is_read(text, request_):
    assert parse_target(text) == request_


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "GET api.example.com",
            "POST tcp://db.example.com:1",
            "tcp://db.example.com",
            "tcp://a.com:1/x",
        ),
        *("ftp://example.com/", "https://", "https:///x", "https://user@example.com/", "https://example.com:0/"),
        *(
            "*.example.com",
            "https://*/",
            "203.0.113.0/24",
            "api.example.com/v1",
            "https://exa mple.com",
            "https://a\\b/",
        ),
    ],
)
def test_what_is_no_target_is_refused_with_an_example(text):
    problem = parse_target(text)
    assert isinstance(problem, PatternProblem)
    assert problem.summary == "Invalid target"
    assert "https://api.example.com/v1" in problem.hint


@given(st.text(max_size=60))
def test_every_text_is_a_target_or_a_problem(text):
    assert isinstance(parse_target(text), Request | PatternProblem)


def test_tests_that_hold_say_nothing(layer):
    policy = Policy((layer(allow=["api.example.com:443", ("db.example.com:5432", {"protocol": "tcp"})]),))
    allow = ["https://api.example.com/v1", "POST https://api.example.com/", "tcp://db.example.com:5432"]
    deny = ["http://169.254.169.254/", "https://example.com/", "tcp://db.example.com:22", "http://api.example.com/"]
    assert check_policy(policy, allow, deny, "2026-11-21") == ()


def test_each_test_that_does_not_hold_is_told_with_its_reason(layer):
    policy = Policy((layer(allow=["api.example.com"]),))
    failures = check_policy(policy, ["https://example.com/", "ftp://x"], ["api.example.com:22"], "2026-11-21")
    assert [(each.target, each.expected) for each in failures] == [
        ("https://example.com/", True),
        ("ftp://x", True),
        ("api.example.com:22", False),
    ]
    assert "names below it" not in failures[0].reason
    assert failures[0].decision is not None
    assert failures[0].reason == failures[0].decision.reason
    assert "not ftp" in failures[1].reason
    assert 'allowed by rule "api.example.com"' in failures[2].reason
