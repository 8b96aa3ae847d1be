"""Commands that start no machine, as a user runs them: a process in a clean home."""

import json
import sys
from pathlib import Path

import jsonschema
import pexpect
import pytest

from sandboxfile.images.config import ImageConfig
from sandboxfile.images.saved import save_layers

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = "name: shop\nsandboxes:\n  web: {workspaces: [.], env: {A: x}}\n  db: {}\n"


def test_what_init_writes_is_valid_and_is_never_overwritten(cli, project):
    said = cli("init")
    assert said.stdout == ""
    assert "sbx plan" in said.stderr
    assert cli("validate").stderr == f"{project}/sandbox.yaml is valid\n"
    resolved = json.loads(cli("config", "--format", "json").stdout)
    assert resolved["name"] == "my-project"
    assert resolved["sandboxes"]["dev"]["workspaces"][0]["source"] == str(project)
    before = (project / "sandbox.yaml").read_text()
    assert "exists already" in cli("init", code=1).stderr
    assert (project / "sandbox.yaml").read_text() == before
    (project / "sandbox.yaml").rename(project / "sandbox.yml")
    cli("init", code=1)


def test_every_commented_line_of_init_is_valid_when_uncommented(cli, project):
    cli("init")
    (project / ".env.dev").touch()
    (project.parent / "docs").mkdir()
    path = project / "sandbox.yaml"
    lines = path.read_text().splitlines()
    shown = [
        line.replace("# ", "", 1) if line.startswith(" ") and line.strip().startswith("# ") else line for line in lines
    ]
    assert shown != lines
    path.write_text("\n".join(shown))
    cli("validate")


def test_the_example_is_valid(cli):
    assert cli("validate", cwd=REPOSITORY / "examples/hello").returncode == 0


def test_config_is_a_file_that_means_the_same(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    resolved = cli("config").stdout
    (project / "resolved.yaml").write_text(resolved)
    again = json.loads(cli("-f", "resolved.yaml", "config", "--format", "json").stdout)
    first = json.loads(cli("config", "--format", "json").stdout)
    for found in (again, first):  # each protects the file it was loaded from
        found["sandboxes"]["web"]["workspaces"][0].pop("protect")
    assert again == first


def test_config_keeps_the_tests_of_policies(cli, project):
    (project / "team.yaml").write_text(
        "policies:\n"
        "  base: {allow: [team.example.com], tests: {allow: ['https://team.example.com/']}}\n"
        "  web: {extends: [base], allow: [api.example.com], tests: {deny: ['https://other.example.com/$$a']}}\n"
        "sandboxes: {}\n"
    )
    (project / "sandbox.yaml").write_text("include: [team.yaml]\nsandboxes: {a: {policy: web}, b: {policy: base}}\n")
    resolved = cli("config").stdout
    (project / "resolved.yaml").write_text(resolved)
    policies = json.loads(cli("-f", "resolved.yaml", "config", "--format", "json").stdout)["policies"]
    assert policies["base"]["tests"] == {"allow": ["https://team.example.com/"]}
    assert policies["web"]["tests"] == {"deny": ["https://other.example.com/$$a"]}
    assert "2 tests, 0 failed" in cli("-f", "resolved.yaml", "policy", "test").stderr
    (project / "resolved.yaml").write_text(resolved.replace("other.example", "team.example"))
    assert "team.example.com" in cli("-f", "resolved.yaml", "validate", code=1).stderr


def test_the_schema_accepts_what_the_language_accepts(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    schema = json.loads(cli("schema").stdout)
    jsonschema.validate(json.loads(cli("config", "--format", "json").stdout), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"sandboxes": {"a": {"colour": "red"}}}, schema)


def test_plan_says_what_would_be_done_and_does_nothing(cli, project):
    small = "defaults: {resources: {disk: 1GiB}}\n"  # of which no host warns
    (project / "sandbox.yaml").write_text(FILE + small)
    plan = cli("plan", "--detailed-exitcode", code=2)
    assert "sandbox web: create" in plan.stdout
    assert plan.stderr == ""
    assert plan.stdout == cli("plan").stdout
    only = json.loads(cli("plan", "--format", "json", "db").stdout)
    assert [change["subject"] for change in only["changes"] if change["action"] == "create"] == ["sandbox db"]
    assert only["diagnostics"] == []
    assert not (project.parent / "sbx").exists()


def test_a_wrong_file_is_shown_with_all_its_errors_and_nothing_is_planned(cli, project):
    (project / "sandbox.yaml").write_text("sandboxes:\n  web: {colour: red, template: nowhere}\n")
    for command in (["plan", "--detailed-exitcode"], ["up", "-y"], ["config"], ["down", "-y"]):
        said = cli(*command, code=1)
        assert said.stdout == ""
        assert f"{project}/sandbox.yaml:2:9" in said.stderr
        assert "colour" in said.stderr
        assert "nowhere" in said.stderr
        assert "nothing was changed" in said.stderr
    problems = json.loads(cli("validate", "--format", "json", code=1).stdout)
    assert problems["valid"] is False
    assert len(problems["diagnostics"]) == 2


def test_an_unknown_name_is_refused_with_the_names_there_are(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    assert "db, web" in cli("plan", "nothing-like-it", "--detailed-exitcode", code=1).stderr
    assert "did you mean web?" in cli("plan", "wbe", "--detailed-exitcode", code=1).stderr
    assert "sbx ls -a" in cli("stop", "web", code=1).stderr
    assert "sbx ls -a" in cli("exec", "web", "true", code=125).stderr


def test_nothing_is_applied_when_nobody_can_be_asked(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    said = cli("up", code=1)
    assert "sandbox web: create" in said.stderr
    assert "--yes" in said.stderr
    assert cli("ls", "-a", "--format", "json").stdout == "[]\n"


def test_nothing_is_applied_when_the_answer_is_not_yes(project, environment):
    (project / "sandbox.yaml").write_text(FILE)
    child = pexpect.spawn(
        sys.executable, ["-m", "sandboxfile", "up"], cwd=str(project), env=environment, encoding="utf-8", timeout=60
    )
    child.expect(r"Apply this\? \[y/N\] ")
    child.sendline("n")
    child.expect("nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert not (project.parent / "sbx/state").exists()


def test_color_is_for_terminals_only_and_can_be_refused(cli, project, environment):
    (project / "sandbox.yaml").write_text(FILE)

    def colored(*words, **variables):
        child = pexpect.spawn(
            sys.executable,
            ["-m", "sandboxfile", *words],
            cwd=str(project),
            env=environment | variables,
            encoding="utf-8",
            timeout=60,
        )
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        return "\x1b[" in child.before

    assert colored("plan")
    assert not colored("plan", "--no-color")
    assert not colored("--no-color", "plan")
    assert not colored("plan", NO_COLOR="1")
    assert "\x1b[" not in cli("plan").stdout


def test_directories_and_files_can_be_named(cli, project, clean_home):
    (project / "other.yaml").write_text(FILE.replace("shop", "other"))
    assert json.loads(cli("-f", "other.yaml", "config", "--format", "json").stdout)["name"] == "other"
    (project / "sandbox.yaml").write_text(FILE)
    (project / "deep/er").mkdir(parents=True)
    for options in (["-C", "my-project"], ["-C", "my-project/deep/er"]):
        assert json.loads(cli(*options, "config", "--format", "json", cwd=clean_home).stdout)["name"] == "shop"
    assert "no file nowhere.yaml" in cli("-f", "nowhere.yaml", "plan", code=1).stderr
    assert "No such file" in cli("-C", "/nowhere", "plan", code=1).stderr
    assert "sbx init" in cli("plan", code=1, cwd=clean_home).stderr


def test_doctor_names_a_fix_for_everything_that_is_not_well(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    told = json.loads(cli("doctor", "--format", "json").stdout)
    names = [check["name"] for check in told["checks"]]
    assert len(names) == len(set(names))
    assert {"qemu", "qboot", "virtiofsd", "bwrap", "mmdebstrap", "user namespaces", "accelerator", "memory"} <= set(
        names
    )
    assert f"workspace {project}" in names
    for check in told["checks"]:
        assert check["verdict"] in ("ok", "warning", "missing")
        assert (check["verdict"] == "ok") == (check["fix"] is None)
        assert check["detail"]


def test_doctor_fails_when_something_is_missing(cli, clean_home):
    told = json.loads(cli("doctor", "--format", "json", code=1, PATH="/nowhere").stdout)
    missing = {check["name"]: check["fix"] for check in told["checks"] if check["verdict"] == "missing"}
    assert "qemu-system-x86" in missing["qemu"]
    assert missing["bwrap"] == "apt install bubblewrap"
    assert told["verdict"] == "missing"
    shown = cli("doctor", code=1, PATH="/nowhere").stdout
    assert "MISSING" in shown
    assert "fix: apt install bubblewrap" in shown


def test_reset_of_nothing_is_done(cli):
    assert "no sandboxes" in cli("reset", "-y").stderr


def test_completion_knows_the_sandboxes_of_the_file(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    assert cli("complete-words", "--", "up", "").stdout == "db\nweb\n"
    assert cli("complete-words", "--", "exec", "").stdout == ""
    assert cli("complete-words", "--", "policy", "show", "").stdout == "db\nweb\n"
    assert cli("complete-words", "--", "network", "log", "").stdout == ""


def test_completion_knows_agents_and_the_sandboxes_that_run_can_come_back_to(cli, project):
    (project / "sandbox.yaml").write_text(FILE)
    assert {"claude", "shell", "db", "web"} <= set(cli("complete-words", "--", "run", "").stdout.splitlines())
    assert cli("complete-words", "--", "create", "cl").stdout == "claude\n"
    assert cli("complete-words", "--", "adopt", "").stdout == ""


def test_completion_knows_templates_of_the_file_and_saved_ones(cli, layout, project, tmp_path):
    layer = tmp_path / "layer.tar"
    layer.touch()
    save_layers(layout, "kept", [layer], ImageConfig(), {})
    builtin = cli("complete-words", "--", "template", "build", "").stdout.splitlines()
    assert "shell" in builtin
    assert "kept" not in builtin
    assert cli("complete-words", "--", "template", "rm", "ke").stdout == "kept\n"
    (project / "sandbox.yaml").write_text("templates: {dev: {base: shell}}\nsandboxes: {}\n")
    assert cli("complete-words", "--", "template", "build", "de").stdout == "dev\n"
