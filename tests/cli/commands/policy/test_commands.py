"""`sbx policy show`, `explain` and `test`: from the record where there is one, else from the file."""

import json

import pytest

from sandboxfile.model.policy import Layer, Policy, Rule

FILE = """\
name: shop
policies:
  team:
    allow:
      - api.example.com:443
      - {host: repo.example.com, methods: [GET, HEAD]}
    block: ["*.ads.example.com"]
    tests:
      allow: ["https://api.example.com/v1", "GET https://repo.example.com/x"]
      deny: ["https://example.com/", "http://169.254.169.254/", "POST https://repo.example.com/x"]
  open:
    mode: allow
    tests: {deny: ["https://example.com/"]}
sandboxes:
  web: {policy: team}
"""


@pytest.fixture
def file(project):
    path = project / "sandbox.yaml"
    path.write_text(FILE)
    return path


def test_a_sandbox_of_the_file_is_shown_as_the_file_asks(cli, file):
    shown = cli("policy", "show", "web")
    assert "does not exist yet" in shown.stderr
    assert "policy team: mode deny" in shown.stdout
    assert "sandbox.yaml:5:9" in shown.stdout
    found = json.loads(cli("policy", "show", "web", "--format", "json").stdout)
    assert (found["sandbox"], found["source"]) == ("shop/web", "file")
    assert [rule["pattern"] for rule in found["layers"][0]["rules"]] == [
        "api.example.com:443",
        "repo.example.com",
        "*.ads.example.com",
    ]
    assert "10.0.0.0/8" in cli("policy", "show", "web", "--effective").stdout


def test_a_sandbox_that_exists_is_shown_as_applied(cli, file, stopped):
    stopped("web", Policy((Layer("policy old", allow=(Rule("old.example.com"),)),)))
    shown = cli("policy", "show", "web")
    assert "as applied" in shown.stderr
    assert "old.example.com" in shown.stdout
    assert "api.example.com" not in shown.stdout
    assert cli("policy", "show", "shop/web").stdout == shown.stdout


def test_a_sandbox_of_nobody_is_unknown(cli, file):
    assert "there is no sandbox db" in cli("policy", "show", "db", code=1).stderr
    file.write_text("sandboxes: 3\n")
    assert "sbx validate" in cli("policy", "show", "web", code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["https://api.example.com/v1"], 0, "allowed: "),
        (["api.example.com:443"], 0, "sandbox.yaml:5:9"),
        (["api.example.com:80"], 2, "blocked: "),
        (["https://repo.example.com/x", "--method", "get"], 0, "repo.example.com"),
        (["https://repo.example.com/x", "--method", "POST"], 2, "GET"),
        (["POST https://repo.example.com/x"], 2, "repo.example.com"),
        (["https://x.ads.example.com/"], 2, "*.ads.example.com"),
        (["169.254.169.254"], 2, "blocked: "),
        (["tcp://api.example.com:5432"], 2, "blocked: "),
    ],
)
def test_a_decision_is_explained_and_is_the_exit_code(words, code, reason, cli, file):
    said = cli("policy", "explain", "web", *words, code=code)
    assert reason in said.stdout
    found = json.loads(cli("policy", "explain", "web", *words, "--format", "json", code=code).stdout)
    assert found["allowed"] == (code == 0)
    assert found["reason"] in said.stdout


def test_names_are_judged_by_name_unless_they_are_to_be_resolved(cli, file):
    assert "--resolve" in cli("policy", "explain", "web", "https://api.example.com/").stderr
    assert "--resolve" not in cli("policy", "explain", "web", "10.0.0.1", code=2).stderr
    file.write_text(FILE.replace("api.example.com:443", "'*:443'"))
    assert "localhost" in cli("policy", "explain", "web", "https://localhost/", "--resolve", code=2).stdout
    cli("policy", "explain", "web", "--resolve", "https://10.0.0.1/", code=2)


def test_what_is_no_target_is_said(cli, file):
    assert "hint:" in cli("policy", "explain", "web", "ftp://example.com/", code=1).stderr
    assert "\x1b" not in cli("policy", "explain", "web", "http://\x1b[2J/", code=1).stderr


def test_the_tests_of_policies_are_run(cli, file):
    done = cli("policy", "test", code=1)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["POLICY", "EXPECTED", "REQUEST", "RESULT", "REASON"]
    assert [(row[1], row[2], "FAILED" in row) for row in rows[1:]] == [
        ("team", "allow", False),
        ("team", "allow", False),
        ("team", "deny", False),
        ("team", "deny", False),
        ("team", "deny", False),
        ("open", "deny", True),
    ]
    assert "6 tests, 1 failed" in done.stderr
    assert "0 failed" in cli("policy", "test", "team").stderr
    assert "did you mean team" in cli("policy", "test", "tean", code=1).stderr
    found = json.loads(cli("policy", "test", "open", "--format", "json", code=1).stdout)
    assert found[0]["reason"]


def test_completion_knows_the_policies_with_tests(cli, file):
    assert cli("complete-words", "--", "policy", "test", "").stdout == "team\nopen\n"
    assert cli("complete-words", "--", "policy", "explain", "w").stdout == "web\n"


def test_a_wrong_file_is_not_tested(cli, file):
    file.write_text(FILE + "colour: red\n")
    assert "nothing was tested" in cli("policy", "test", code=1).stderr
