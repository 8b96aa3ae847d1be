"""Warnings about secrets that do not come to the places that they are bound to."""

import pytest

TEXT = (
    "secrets: {{s: {{store: s, inject: [{{host: a.example.com, {}}}]}}}}\n"
    "sandboxes: {{web: {{secrets: [s], policy: {{{}}}}}}}"
)


@pytest.mark.parametrize(
    ("way", "policy", "summaries"),
    [
        ("bearer: true", "", []),
        ("bearer: true", "mode: allow", []),
        ("bearer: true", "block: ['**.example.com']", []),  # the more specific rule is the secret's
        ("bearer: true", "block: [a.example.com]", ["Secret without a way"]),
        ("bearer: true", "block: ['a.example.com:443']", ["Secret without a way"]),
        ("bearer: true", "block: ['a.example.com:8443']", []),
        ("bearer: true", "block: [{host: a.example.com, methods: [DELETE]}]", ["Secret without a way"]),
        ("bearer: true", "mode: allow, block: [{host: a.example.com, methods: [DELETE]}]", []),
        ("bearer: true", "allow: [{host: a.example.com, methods: [GET]}]", []),
        ("bearer: true", "bypass: [a.example.com]", ["Secret not injected"]),
        ("bearer: true", "bypass: ['*.example.com']", ["Secret not injected"]),
        ("bearer: true", "bypass: ['a.example.com:8443', b.example.com]", []),
        ("git: true", "bypass: [a.example.com]", ["Bypass without effect"]),
    ],
)
def test_what_a_policy_makes_of_a_bound_place(host, way, policy, summaries):
    assert host.summaries(TEXT.format(way, policy)) == summaries


def test_a_range_of_addresses_may_hold_a_bound_address(host):
    text = TEXT.replace("a.example.com", "203.0.113.5").format("bearer: true", "bypass: [203.0.113.0/24]")
    assert host.summaries(text) == ["Secret not injected"]


def test_nothing_is_said_of_a_file_that_is_wrong_anyway(host):
    text = "policies: {p: {allow: [{host: a.b, protocol: tcp}]}}\n" + TEXT.format("bearer: true", "extends: p")
    from sandboxfile.language.validate import load
    from sandboxfile.resolve.inputs import ResolveInputs
    from sandboxfile.resolve.policies import resolve_policies

    file, _, problems = load(text, "f")
    assert [problem.summary for problem in problems] == ["Port missing"]
    found, more = resolve_policies(file, ResolveInputs("/p/f", "/home", (), {}, {}))
    assert (more, len(found.sandboxes["web"].credentials)) == ((), 1)
