"""`compare`: with a file or a revision, looking at nothing that runs; and --deny-widening wherever there is one."""

import json
import os
import subprocess

import pytest

BASE = "name: shop\nsandboxes:\n  web: {policy: {allow: [a.example.com]}}\n"
WIDER = "name: shop\nsandboxes:\n  web: {policy: {allow: [a.example.com, b.example.com]}}\n"
NARROW = "name: shop\nsandboxes:\n  web: {policy: {allow: []}}\n"


def git(top, *words):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    subprocess.run(["git", *who, *words], cwd=top, env=environment, capture_output=True, check=True)


@pytest.fixture
def committed(project):
    """Write files into the project, which is a repository, and commit them."""
    git(project, "init", "-q", "-b", "main")

    def write(**files):
        for name, text in files.items():
            path = project / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(project, "add", "-A", "-f")
        git(project, "commit", "-q", "-m", "x", "--allow-empty")

    return write


def file(project, text):
    (project / "sandbox.yaml").write_text(text)


def test_a_revision_is_compared_with(sbx, project, committed):
    committed(sandbox_DOT_yaml=BASE)
    assert sbx("compare", "git:main", "--detailed-exitcode").stdout.startswith("No differences")
    file(project, WIDER)
    said = sbx("compare", "git:main")
    assert "~ sandbox web: changed" in said.stdout
    assert "! widens: web can now reach b.example.com [sandbox.yaml:3:" in said.stdout
    sbx("compare", "git:main", "--detailed-exitcode", code=2)
    denied = sbx("compare", "git:main", "--detailed-exitcode", "--deny-widening", code=3)
    assert "web can now reach b.example.com" in denied.stderr
    assert json.loads(sbx("compare", "git:main", "--format", "json").stdout)["widens"] is True
    assert "#### Widens" in sbx("compare", "git:main", "--format", "markdown").stdout


def test_a_saved_plan_is_no_base(sbx, project):
    file(project, BASE)
    sbx("plan", "-o", "change.plan")
    said = sbx("compare", "change.plan", code=1).stderr
    assert said.startswith("error: change.plan is a saved plan, and no sandbox file\nhint: sbx apply change.plan")
    (project / "other.yaml").write_text(f"# sandboxfile_plan\n{WIDER}")
    assert "can no longer reach b.example.com" in sbx("compare", "other.yaml").stdout


def test_what_tightens_is_not_denied(sbx, project, committed):
    committed(sandbox_DOT_yaml=BASE)
    file(project, NARROW)
    said = sbx("compare", "git:main", "--deny-widening", "--detailed-exitcode", code=2)
    assert "web can no longer reach a.example.com" in said.stdout
    assert "nothing widens" in said.stdout


def test_all_files_are_those_of_the_revision(sbx, project, committed):
    text = (
        "name: shop\ninclude: [team/policy.yaml]\nsandboxes:\n"
        "  web: {policy: open, extends: {file: more.yaml, sandbox: base}, env_file: .env.web, template: dev}\n"
        "templates: {dev: {base: 'debian:trixie', files: [{source: ./gitconfig, target: /etc/gitconfig}]}}\n"
    )
    committed(
        sandbox_DOT_yaml=text,
        team__policy_DOT_yaml="policies: {open: {allow: ['${HOST}.example.com']}}\n",
        more_DOT_yaml="sandboxes: {base: {resources: {cpus: 3}}}\n",
        sandbox_DOT_override_DOT_yaml="sandboxes: {web: {restart: always}}\n",
        _DOT_env="HOST=a\n",
        _DOT_env_DOT_web="A=hunter2\n",
        gitconfig="[user]\n",
    )
    assert sbx("compare", "git:main").stdout.startswith("No differences")
    for name in ("team/policy.yaml", "more.yaml", "sandbox.override.yaml", "gitconfig", ".env.web", ".env"):
        (project / name).rename(project / f"{name}.kept")
        (project / name).write_text(
            {
                "team/policy.yaml": "policies: {open: {allow: ['${HOST}.example.com', 'new.example.com']}}\n",
                "more.yaml": "sandboxes: {base: {resources: {cpus: 5}}}\n",
                "sandbox.override.yaml": "sandboxes: {web: {restart: 'no'}}\n",
                "gitconfig": "[other]\n",
                ".env.web": "A=hunter3\n",
                ".env": "HOST=b\n",
            }[name]
        )
        said = sbx("compare", "git:main", "--detailed-exitcode", code=2).stdout
        wanted = {
            "team/policy.yaml": "web can now reach new.example.com [team/policy.yaml",
            "more.yaml": "resources.cpus: 3 -> 5",
            "sandbox.override.yaml": "restart: always -> no",
            "gitconfig": "files./etc/gitconfig: ",
            ".env.web": "env.A: (old value) -> (new value)",
            ".env": "web can now reach b.example.com",
        }
        assert wanted[name] in said
        assert "hunter" not in said
        (project / f"{name}.kept").rename(project / name)


def test_an_override_that_git_does_not_have_is_a_difference(sbx, project, committed):
    committed(sandbox_DOT_yaml=BASE)
    (project / ".git/info/exclude").write_text("sandbox.override.yaml\n")
    (project / "sandbox.override.yaml").write_text("sandboxes: {web: {policy: {allow: [evil.example.com]}}}\n")
    assert "web can now reach evil.example.com" in sbx("compare", "git:main", "--deny-widening", code=3).stderr


def test_a_base_without_the_file_is_empty(sbx, project, committed):
    committed(other="x")
    file(project, BASE)
    said = sbx("compare", "git:main", "--deny-widening", code=3)
    assert "git:main has no" in said.stderr
    assert "+ sandbox web: added" in said.stdout


def test_errors_of_the_base_are_told_as_such(sbx, project, committed):
    committed(sandbox_DOT_yaml="name: shop\nsandboxes:\n  web: {cpu: 3}\n")
    file(project, BASE)
    said = sbx("compare", "git:main", code=1).stderr
    assert "git:main:" in said
    assert "sandbox.yaml:3:" in said
    assert "cpu: 3" in said  # the base's own text
    assert "the base git:main has errors" in said


def test_errors_of_the_file_come_first(sbx, project, committed):
    committed(sandbox_DOT_yaml=BASE)
    file(project, "sandboxes: {web: {cpu: 3}}\n")
    assert "the sandbox file has errors" in sbx("compare", "git:main", code=1).stderr


def test_a_file_is_compared_with_as_if_it_lay_here(sbx, project, tmp_path):
    (project / "src").mkdir()
    text = "name: shop\nsandboxes:\n  web: {workspaces: [./src]}\n"
    file(project, text)
    other = tmp_path / "old.yaml"
    other.write_text(text)
    assert sbx("compare", str(other)).stdout.startswith("No differences")
    other.write_text("name: shop\nsandboxes:\n  web: {workspaces: ['./src:ro']}\n")
    said = sbx("compare", str(other), "--deny-widening", code=3).stderr
    assert f"web may now write to {project}/src" in said


def test_what_lies_beside_the_other_file_counts(sbx, project, tmp_path):
    text = "name: shop\ninclude: [team.yaml]\nsandboxes:\n  web: {policy: p}\n"
    file(project, text)
    (project / "team.yaml").write_text("policies: {p: {allow: [a.example.com, b.example.com]}}\n")
    (tmp_path / "base").mkdir()
    (tmp_path / "base/sandbox.yaml").write_text(text)
    (tmp_path / "base/team.yaml").write_text("policies: {p: {allow: [a.example.com]}}\n")
    assert "web can now reach b.example.com" in sbx("compare", f"{tmp_path}/base/sandbox.yaml").stdout
    (tmp_path / "base/team.yaml").unlink()
    assert "there is no such file" in sbx("compare", f"{tmp_path}/base/sandbox.yaml", code=1).stderr


def test_what_cannot_be_compared_with_is_said(sbx, project, committed):
    committed(sandbox_DOT_yaml=BASE)
    said = sbx("compare", "nope", code=1).stderr
    assert "there is no file nope\nhint: BASE is a file, or git:REV: is git:nope meant?" in said
    assert "has no revision nope" in sbx("compare", "git:nope", code=1).stderr


# --- --deny-widening of plans ------------------------------------------------------------------------------------


def test_a_plan_that_widens_is_denied_and_not_saved(sbx, project, stopped):
    file(project, "name: shop\nsandboxes: {web: {policy: {allow: [a.example.com]}}}\n")
    stopped("web", image="x")
    said = sbx("plan", "--deny-widening", "--detailed-exitcode", "-o", "change.plan", code=3)
    assert "! widens: web can now reach a.example.com" in said.stdout
    assert "denied, and nothing was changed" in said.stderr
    assert not (project / "change.plan").exists()


def test_up_changes_nothing_when_it_would_widen(sbx, project, applied, layout):
    file(project, BASE)
    said = sbx("up", "--yes", "--deny-widening", code=3)
    assert "web can reach a.example.com" in said.stderr
    assert applied == []
    file(project, "name: shop\nsandboxes: {web: {}}\n")
    sbx("up", "--yes", "--deny-widening")
    assert len(applied) == 1


def test_a_saved_plan_that_widens_is_not_applied(sbx, project, applied):
    file(project, BASE)
    sbx("plan", "-o", "change.plan")
    said = sbx("apply", "change.plan", "--yes", "--deny-widening", code=3)
    assert "web can reach a.example.com" in said.stderr
    assert applied == []


def test_json_of_a_plan_says_whether_it_widens(sbx, project):
    file(project, BASE)
    assert json.loads(sbx("plan", "--format", "json").stdout)["widens"] is True
    file(project, "name: shop\nsandboxes: {web: {}}\n")
    told = json.loads(sbx("plan", "--format", "json").stdout)
    assert told["widens"] is False
    assert sbx("plan", "--deny-widening").stdout


def test_a_variable_of_this_host_that_comes_inside_is_told_and_its_value_is_not(sbx, project, committed, monkeypatch):
    monkeypatch.setenv("DEPLOY_KEY", "hunter2")
    committed(sandbox_DOT_yaml="name: shop\nsandboxes:\n  web: {env: {STAGE: test}}\n")
    file(project, 'name: shop\nsandboxes:\n  web: {env: {STAGE: "x-${DEPLOY_KEY}"}}\n')
    said = sbx("compare", "git:main", "--deny-widening", code=3)
    assert "web is given DEPLOY_KEY of the environment of sbx" in said.stderr
    assert "hunter2" not in said.stdout + said.stderr


def test_a_link_that_is_added_where_the_revision_has_nothing_is_told(sbx, project, committed, clean_home):
    committed(sandbox_DOT_yaml="name: shop\nsandboxes:\n  web: {workspaces: ['./data:/data']}\n")
    (project / "data").mkdir()
    assert sbx("compare", "git:main", "--deny-widening").stdout.startswith("No differences")
    (project / "data").rmdir()
    (clean_home / ".ssh").mkdir()
    (project / "data").symlink_to("../.ssh")
    said = sbx("compare", "git:main", "--deny-widening", code=3)
    assert f"web now sees {clean_home}/.ssh at /data" in said.stderr
