"""Secrets that would be inside after all."""

import pytest

from sandboxfile.resolve.inputs import PathFact

BASE = "/home/user/project"
SECRET = "secrets: {{s: {{{}, inject: [{{host: a.b, bearer: true}}]}}}}\nsandboxes: {{web: {{workspaces: [{}]}}}}"


@pytest.mark.parametrize(
    ("source", "workspaces", "wrong"),
    [
        ("file: ~/token", ".", False),
        ("file: ./token", ".", True),
        ("file: ./token", ".:ro", True),
        ("file: ./token", "", False),
        ("file: ./sub/../../token", ".", False),
        ("command: [token]", ".", False),
        ("command: [./token]", ".", True),
        ("command: [./token]", ".:ro", False),
        ("command: [~/bin/token, ~/project/key]", ".", True),
        ("command: [cat, project/key]", ".", True),  # it runs at home
        ("command: [cat, ./key]", ".", False),
        ("command: [token, '--file=/home/user/project/key']", ".", True),
        ("command: [sh, -c, 'decrypt <~/project/key|head']", ".", True),
        ("command: [token, /home/user/projects/key]", ".", False),
        ("command: [cat, /home/user/project]", ".", False),  # which project it is for
    ],
)
def test_sources_within_a_workspace(host, source, workspaces, wrong):
    expected = ["Secret inside a workspace"] if wrong else []
    assert host.summaries(SECRET.format(source, workspaces)) == expected


def test_links_are_followed_to_and_through_workspaces(host):
    host.facts["/home/user/to"] = PathFact("file", f"{BASE}/token", ("/home/user/to",))
    assert host.summaries(SECRET.format("file: ~/to", ".")) == ["Secret inside a workspace"]
    host.facts["/home/user/through"] = PathFact("file", "/etc/token", (f"{BASE}/link",))
    assert host.summaries(SECRET.format("file: ~/through", ".")) == ["Secret inside a workspace"]
    assert host.summaries(SECRET.format("file: ~/through", ".:ro")) == []
    assert host.summaries(SECRET.format("command: [cat, ~/through]", ".")) == ["Secret inside a workspace"]


def test_a_link_to_a_workspace_is_the_workspace(host):
    host.link("/home/user/alias", BASE)
    host.facts[f"{BASE}/token"] = PathFact("file", f"{BASE}/token")
    assert host.summaries(SECRET.format("file: ./token", "~/alias")) == ["Secret inside a workspace"]


def test_a_secret_is_in_a_workspace_of_any_sandbox_of_the_project(host):
    text = SECRET.format("file: ~/docs/token", "") + "\n  db: {workspaces: [~/docs]}"
    text = text.replace("{web: {workspaces: []}}", "\n  web: {secrets: [s]}")
    assert host.directory("/home/user/docs").summaries(text) == ["Secret inside a workspace"]


# --- variables ---------------------------------------------------------------------------------------------------

LEAK = ["Secret in the environment"]
TRACKER = "secrets: {t: {file: ~/t, env: TOKEN, inject: [{host: a.b}]}}\n"


@pytest.mark.parametrize(
    ("text", "summaries"),
    [
        (TRACKER + "sandboxes: {web: {secrets: [t], env: {TOKEN: abc}}}", LEAK),
        (TRACKER + "sandboxes: {web: {secrets: [t], env: {TOKEN: ''}}}", []),
        (TRACKER + "sandboxes: {web: {secrets: [t], env: {TOKEN: null}}}", []),  # nothing has that name on the host
        (TRACKER + "sandboxes: {web: {env: {TOKEN: abc}}}", []),  # whoever says so
        (TRACKER + "sandboxes: {web: {secrets: [t], template: t}}\ntemplates: {t: {env: {TOKEN: abc}}}", LEAK),
        ("sandboxes: {web: {env: [ANTHROPIC_API_KEY]}}", LEAK),
        ("defaults: {env: [ANTHROPIC_API_KEY]}\nsandboxes: {web: {}}", LEAK),
        ("sandboxes: {web: {env: {ANTHROPIC_API_KEY: dummy}}}", []),
        ("sandboxes: {web: {env: [OTHER]}}", []),
        ("sandboxes: {web: {agent: claude, template: shell, env: {ANTHROPIC_API_KEY: abc}}}", LEAK),
        ("sandboxes: {web: {agent: claude, template: shell, env: [ANTHROPIC_API_KEY]}}", LEAK),
        ("sandboxes: {web: {agent: claude, template: shell, env: {ANTHROPIC_API_KEY: null}}}", LEAK),
    ],
)
def test_variables_that_hold_the_value_itself(host, text, summaries):
    host.environment = {"ANTHROPIC_API_KEY": "abc", "OTHER": "abc"}
    assert host.summaries(text) == summaries


def test_no_value_is_shown_with_the_warning(host):
    host.environment = {"ANTHROPIC_API_KEY": "qrs"}
    _, (literal,) = host.resolve(TRACKER + "sandboxes: {web: {secrets: [t], env: {TOKEN: xyz}}}")
    assert literal.span is None  # no snippet
    assert "sandbox.yaml:2:" in literal.detail
    _, (passed,) = host.resolve("sandboxes: {web: {env: [ANTHROPIC_API_KEY]}}")
    assert "xyz" not in str(literal)
    assert "qrs" not in str(passed)
