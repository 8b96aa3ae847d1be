"""`--profile`, and the names of what is scaled, in every command that takes names."""

import io
import json

import pytest

from sandboxfile.cli.editing import Additions, propose
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.trust import approve, expose
from sandboxfile.model.desired import FileContent
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import digest_of

FILE = """\
name: shop
sandboxes:
  web: {scale: 2, depends_on: [db]}
  db: {}
  test: {profiles: [ci, all]}
  lint: {profiles: [lint]}
"""


@pytest.fixture
def file(project):
    (project / "sandbox.yaml").write_text(FILE)


def created(said):
    changes = json.loads(said.stdout)["changes"]
    return [each["subject"].removeprefix("sandbox ") for each in changes if each["action"] == "create"]


@pytest.mark.parametrize(
    ("words", "variable", "names"),
    [
        ([], "", ["db", "web-1", "web-2"]),
        (["--profile", "ci"], "", ["db", "test", "web-1", "web-2"]),
        (["--profile", "ci", "--profile", "lint"], "", ["db", "lint", "test", "web-1", "web-2"]),
        (["--profile", "*"], "", ["db", "lint", "test", "web-1", "web-2"]),
        ([], "lint, ci", ["db", "lint", "test", "web-1", "web-2"]),
        (["--profile", "ci"], "lint", ["db", "test", "web-1", "web-2"]),
        (["test"], "", ["test"]),
        (["web"], "", ["db", "web-1", "web-2"]),
        (["web-2"], "", ["db", "web-2"]),
    ],
)
def test_profiles_and_names_choose_what_is_planned(words, variable, names, file, sbx, monkeypatch):
    monkeypatch.setenv("SBX_PROFILES", variable)
    assert created(sbx("plan", *words, "--format", "json")) == names


@pytest.mark.parametrize(
    ("words", "variable", "names"),
    [
        ([], None, ["db", "lint", "test", "web-1", "web-2"]),
        ([], "", ["db", "web-1", "web-2"]),  # the environment wins, also when it says none
        ([], "ci", ["db", "test", "web-1", "web-2"]),
        (["--profile", "ci"], None, ["db", "test", "web-1", "web-2"]),
    ],
)
def test_profiles_of_dot_env_count_where_nothing_else_says(words, variable, names, file, project, sbx, monkeypatch):
    (project / ".env").write_text("SBX_PROFILES=ci, lint\n")
    if variable is None:
        monkeypatch.delenv("SBX_PROFILES", raising=False)
    else:
        monkeypatch.setenv("SBX_PROFILES", variable)
    assert created(sbx("plan", *words, "--format", "json")) == names


def test_a_dot_env_is_read_and_kept_from_agents_where_there_are_profiles_only(project, sbx):
    (project / ".env").write_text("not a variable =\n")
    workspace = "name: shop\nsandboxes: {web: {workspaces: ['.'], PROFILES}}\n"
    (project / "sandbox.yaml").write_text(workspace.replace(", PROFILES", ""))
    assert ".env" not in sbx("config").stdout
    (project / "sandbox.yaml").write_text(workspace.replace("PROFILES", "profiles: [ci]"))
    sbx("config", code=1)
    (project / ".env").write_text("OTHER=1\n")
    assert ".env" in sbx("config").stdout


def test_an_agents_dot_env_does_not_even_start_what_was_applied_where_nobody_is_asked(
    file, project, layout, sbx, applied, stopped, monkeypatch
):
    monkeypatch.delenv("SBX_PROFILES", raising=False)
    sbx("up", "-y", "--overcommit", "lint", "--profile", "lint")
    expose(layout, {str(project): frozenset()})
    (project / ".env").write_text("SBX_PROFILES=lint\n")
    count = len(applied)
    said = sbx("up", "-y", "--overcommit", code=1).stderr
    assert f"{project}/.env: new, in the workspace" in said
    assert "of the profiles lint" in said
    assert len(applied) == count
    approve(layout, [FileContent(str(project / ".env"), digest_of("SBX_PROFILES=lint\n"))])
    sbx("up", "-y", "--overcommit")
    assert len(applied) == count + 1


def test_a_profile_that_nobody_has_is_told_when_it_was_given(file, sbx, monkeypatch):
    monkeypatch.setenv("SBX_PROFILES", "elsewhere")
    assert "profile" not in sbx("plan").stderr
    assert "no sandbox has the profile lnit: did you mean lint?" in sbx("plan", "--profile", "lnit").stderr
    assert "profile" not in sbx("plan", "--profile", "*").stderr


def test_config_and_validate_are_about_the_whole_file(file, sbx):
    assert "test:" in sbx("config").stdout
    sbx("validate")


def test_verbs_take_all_replicas_and_others_list_them(file, sbx, stopped, applied):
    for name in ("web-1", "web-2", "web-10"):
        stopped(name, service="web")
    stopped("web-3")  # somebody's own
    said = sbx("exec", "web", "true", code=125).stderr
    assert "web is 3 sandboxes" in said
    assert "say which one: shop/web-1, shop/web-2, shop/web-10" in said
    sbx("rm", "--force", "web")
    sbx("rm", "-y", "web", code=1)  # there are none any more: web-3 is not one of them
    assert "web-3" in sbx("ls", "-a").stdout


def test_run_knows_the_replicas_of_the_file(file, sbx, applied, attached):
    assert "did you mean web-2 or web-1?" in sbx("run", "web", code=125).stderr
    sbx("run", "-y", "web-2", code=7)
    assert [call[0] for call in attached] == ["shop/web-2"]


def test_the_policy_of_one_replica_is_not_edited_for_all(file, sbx, stopped, project):
    stopped("web-1", service="web")
    with pytest.raises(SandboxfileError, match="web-1 is one of the sandboxes of web"):
        propose(
            project / "sandbox.yaml",
            SandboxId("shop", "web-1"),
            lambda policy: Additions(allow=("a.example.com",)),
            lambda old, new: True,
            Console(io.StringIO(), io.StringIO(), io.StringIO()),
        )
    assert (project / "sandbox.yaml").read_text() == FILE
