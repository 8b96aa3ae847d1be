"""Tests that are written with a policy fail where they are written."""

from sandboxfile.resolve.policies import policy_tests
from sandboxfile.resolve.policy_tests import run_policy_tests

TEXT = """\
policies:
  p:
    allow: [api.example.com:443, {host: old.example.com, until: 2026-11-20}]
    tests:
      allow: ["https://api.example.com/v1", "https://www.example.com/"]
      deny: ["http://169.254.169.254/", "POST https://api.example.com/", "https://old.example.com/"]
sandboxes: {web: {policy: p}}
"""


def test_each_failure_is_an_error_at_its_test(host):
    _, inputs = file_and_inputs = host.inputs(TEXT)
    problems = run_policy_tests(policy_tests(*file_and_inputs), inputs.today)
    assert [(problem.summary, problem.span.line, problem.span.column) for problem in problems] == [
        ("Policy test failed", 5, 45),
        ("Policy test failed", 6, 41),
    ]
    assert "By policy p, https://www.example.com/ must be allowed, and is denied: " in problems[0].detail
    assert "must be denied, and is allowed: " in problems[1].detail


def test_tests_that_hold_say_nothing(host):
    text = "policies: {p: {allow: [a.example.com], tests: {allow: [a.example.com]}}}\nsandboxes: {}"
    file, inputs = host.inputs(text)
    assert run_policy_tests(policy_tests(file, inputs), inputs.today) == ()
