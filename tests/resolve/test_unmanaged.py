"""The text of a sandbox that a command makes is read like every other file, whatever is in it."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxfile.language.validate import load
from sandboxfile.model.spec import Workspace
from sandboxfile.resolve.unmanaged import unmanaged_text

PATHS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20).map(lambda text: f"/{text}")


@given(st.lists(st.tuples(PATHS, st.sampled_from(["ro", "rw"])), max_size=3))
def test_every_path_arrives_as_it_is(workspaces):
    file, _, problems = load(unmanaged_text("claude-app", "claude", workspaces), "f")
    assert problems == ()
    sandbox = file.sandboxes["claude-app"]
    assert sandbox.agent == "claude"
    assert [(item.source, item.mode) for item in sandbox.workspaces] == workspaces
    assert all(isinstance(item, Workspace) and not item.target for item in sandbox.workspaces)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: "\0" not in text))
def test_further_fields_arrive_as_they_are(value):
    text = unmanaged_text("x", "shell", [], extra={"env": {"A": value}, "ports": ["8080:80"]})
    file, _, problems = load(text, "f")
    assert problems == ()
    assert file.sandboxes["x"].env == {"A": value}
    assert file.sandboxes["x"].ports[0].guest == 80


def test_what_is_not_given_is_not_written(host):
    assert unmanaged_text("x", "shell", []) == "sandboxes:\n  x:\n    agent: shell\n"
    text = unmanaged_text("x", "codex", [("/w", "ro")], "dev", "corp")
    assert json.loads(json.dumps(load(text, "f")[0].sandboxes["x"].model_dump(exclude_unset=True))) == {
        "agent": "codex",
        "template": "dev",
        "workspaces": [{"source": "/w", "mode": "ro"}],
        "policy": "corp",
    }


def test_it_belongs_to_no_file_and_protects_none(host):
    host.project = "_run"
    state = host.state(unmanaged_text("app", "shell", [("/home/user/project", "rw")]))
    (sandbox,) = state.sandboxes
    assert (state.project, state.source, str(sandbox.id)) == ("_run", "", "app")
    assert sandbox.workspaces[0].protect == (".git/config", ".git/hooks")
