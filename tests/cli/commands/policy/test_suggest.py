"""`sbx policy suggest`: from what was blocked, or used, to a patch of the file."""

import subprocess

import pytest

from sandboxfile.model.policy import Layer, Policy, Rule

FILE = """\
name: shop
sandboxes:
  web:
    policy:  # mine
      allow:
        - api.example.com  # the API
"""
BLOCKED = {"verdict": "blocked", "status": 403, "rule": "mode deny"}


@pytest.fixture
def file(project):
    path = project / "sandbox.yaml"
    path.write_text(FILE)
    return path


@pytest.fixture
def web(stopped, file):
    return stopped("web", Policy((Layer("policy of web", allow=(Rule("api.example.com"),)),)))


def test_what_was_blocked_becomes_a_patch_that_applies(cli, web, file, logged, project):
    logged("web", {}, BLOCKED | {"host": "cdn.example.com", "method": "CONNECT", "path": ""})
    logged("web", BLOCKED | {"host": "db.example.com", "port": 5432, "protocol": "tcp", "method": "", "path": ""})
    logged("web", BLOCKED | {"host": "repo.example.com", "method": "GET"})
    done = cli("policy", "suggest", "web")
    assert file.read_text() == FILE
    subprocess.run(["patch", "-p0"], cwd=project, input=done.stdout, text=True, check=True, capture_output=True)
    added = file.read_text().removeprefix(FILE).splitlines()
    assert file.read_text().startswith(FILE)
    assert added == [
        "        - cdn.example.com:443",
        "        - {host: db.example.com, port: 5432, protocol: tcp}",
        "        - {host: repo.example.com, port: 443, methods: [GET]}",
    ]
    assert "cdn.example.com:443: seen" in done.stderr
    cli("validate")
    assert "has these rules" in cli("policy", "suggest", "web").stderr


def test_nothing_to_suggest_is_no_failure(cli, web, logged):
    assert "nothing to suggest" in cli("policy", "suggest", "web").stderr
    logged("web", {}, BLOCKED | {"host": "cdn.example.com", "time": "2026-11-20T11:00:00Z"})
    assert "nothing to suggest" in cli("policy", "suggest", "web", "--since", "2026-11-21T00:00:00Z").stderr


def test_under_mode_allow_what_was_used_is_suggested_and_the_mode_turns(cli, stopped, project, logged):
    path = project / "sandbox.yaml"
    path.write_text("name: shop\nsandboxes:\n  web:\n    policy: {mode: allow, block: [x.example.com]}\n")
    stopped("web", Policy((Layer("policy of web", "allow", block=(Rule("x.example.com"),)),)))
    logged("web", {"method": "POST"}, BLOCKED | {"host": "x.example.com", "rule": "x.example.com"})
    cli("policy", "suggest", "web", "--apply", "-y")
    assert "policy: {mode: deny, block: [x.example.com], allow: [api.example.com:443]}\n" in path.read_text()


def test_names_that_were_only_looked_up_count(cli, web, file, logged):
    logged(
        "web",
        BLOCKED
        | {"protocol": "dns", "host": "only.example.com", "port": 53, "method": None, "path": None, "status": None},
    )
    assert "+        - only.example.com:443\n" in cli("policy", "suggest", "web").stdout


def test_applying_writes_the_file_when_told_so(cli, web, file, logged):
    logged("web", BLOCKED | {"host": "cdn.example.com", "method": "POST"})
    assert "--yes" in cli("policy", "suggest", "web", "--apply", code=1).stderr
    assert file.read_text() == FILE
    assert "sbx up" in cli("policy", "suggest", "web", "--apply", "-y").stderr
    assert file.read_text() == FILE + "        - cdn.example.com:443\n"


def test_what_somebody_inside_chose_cannot_write_into_the_file(cli, web, file, logged):
    for host in ("x.example.com]\n    env: {A: b}", "*", "a b", "\x1b[2J", "", "${HOME}.example.com", "- x"):
        logged("web", BLOCKED | {"host": host, "method": "GET"})
    logged("web", BLOCKED | {"host": "a.example.com", "port": -1}, BLOCKED | {"host": "b.example.com", "port": 70000})
    logged("web", BLOCKED | {"host": "c.example.com", "method": "GET, evil: [x"})
    cli("policy", "suggest", "web", "--apply", "-y")
    assert file.read_text() == FILE + "        - c.example.com:443\n"


def test_hosts_of_agents_and_secrets_are_not_suggested_and_stay(cli, stopped, project, logged):
    path = project / "sandbox.yaml"
    text = (
        "name: shop\nsecrets: {forge: {store: forge, inject: [{host: git.example.com, git: true}]}}\n"
        "sandboxes:\n  web:\n    agent: claude\n    template: shell\n    secrets: [forge]\n    policy: {mode: allow}\n"
    )
    path.write_text(text)
    allow = (Rule("api.anthropic.com:443", origin="agent claude"), Rule("git.example.com:443", origin="secret forge"))
    stopped("web", Policy((Layer("policy of web", "allow", allow=allow),)))
    logged("web", {"host": "api.anthropic.com", "method": "POST"}, {"host": "cdn.example.com", "method": "GET"})
    cli("policy", "suggest", "web", "--apply", "-y")
    assert "policy: {mode: deny, allow: [{host: cdn.example.com, port: 443, methods: [GET]}]}" in path.read_text()


def test_a_suggestion_may_take_the_place_of_the_rule_of_a_secret(cli, stopped, project, logged):
    path = project / "sandbox.yaml"
    path.write_text(
        "name: shop\nsecrets: {forge: {store: forge, inject: [{host: git.example.com, git: true}]}}\n"
        "sandboxes:\n  web: {secrets: [forge], policy: {allow: [api.example.com]}}\n"
    )
    allow = (Rule("api.example.com"), Rule("git.example.com:443", paths=("/**/info/refs",), origin="secret forge"))
    stopped("web", Policy((Layer("policy of web", allow=allow),)))
    logged("web", BLOCKED | {"host": "git.example.com", "method": "POST", "path": "/other"})
    cli("policy", "suggest", "web", "--apply", "-y")
    assert "allow: [api.example.com, git.example.com:443]" in path.read_text()
