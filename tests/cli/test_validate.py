"""`sbx validate` also runs the tests that are written with policies."""

import json
import os
from pathlib import Path

import pytest

from .. import forking

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = """\
policies:
  p:
    allow: [a.example.com, {host: old.example.com, until: 2020-01-31}]
    tests: {allow: [a.example.com, b.example.com]}
sandboxes: {web: {policy: p}}
"""


@pytest.fixture
def validate(clean_home):
    (clean_home / "sandbox.yaml").write_text(FILE)

    def run(*arguments):
        environment = {"HOME": str(clean_home), "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
        return forking.run(("validate", *arguments), cwd=clean_home, env=environment, timeout=60)

    return run


def test_a_failed_policy_test_is_shown_at_its_place(validate):
    done = validate()
    assert done.returncode == 1
    assert "error: Policy test failed\n --> " in done.stderr
    assert "sandbox.yaml:4:36" in done.stderr
    assert "By policy p, b.example.com must be allowed, and is denied: " in done.stderr
    assert "warning: Rule expired" in done.stderr
    assert "is valid" not in done.stderr


def test_programs_are_told_the_same(validate):
    said = json.loads(validate("--format", "json").stdout)
    assert said["valid"] is False
    assert sorted(item["summary"] for item in said["diagnostics"]) == ["Policy test failed", "Rule expired"]


def test_warnings_leave_a_file_valid(validate, clean_home):
    (clean_home / "sandbox.yaml").write_text(FILE.replace(", b.example.com", ""))
    done = validate()
    assert done.returncode == 0
    assert "warning: Rule expired" in done.stderr
    assert "is valid" in done.stderr
