"""`sbx trust`: what it shows, what it approves, and that a script can only approve what it knows."""

import json

import pytest

from sandboxfile.host.trust import expose, read_trust

FILE = "name: shop\ninclude: [team.yaml]\nsandboxes: {web: {env_file: web.env, env: {A: '${A:-b}'}}}\n"


@pytest.fixture
def files(project, layout):
    """A project in a directory that a sandbox has had."""
    (project / "sandbox.yaml").write_text(FILE)
    (project / "team.yaml").write_text("x-team: yes\n")
    (project / "web.env").write_text("B=c\n")
    (project / "sandbox.override.yaml").write_text("x-mine: yes\n")
    (project / ".env").write_text("A=x\n")
    expose(layout, dict.fromkeys([str(project)], frozenset()))
    return project


def digest(done):
    return done.stdout.partition("digest of all: ")[2].strip()


def test_everything_that_was_read_is_shown_with_what_is_known_of_it(cli, files, layout):
    shown = cli("trust", "--show").stdout
    for name in (".env", "sandbox.override.yaml", "sandbox.yaml", "team.yaml", "web.env"):
        assert f"{files}/{name}" in shown
    assert shown.count("new; a sandbox could have written it") == 5
    assert "sandbox.lock" not in shown
    assert read_trust(layout).approved == {}


def test_only_who_knows_the_digest_approves_unasked(cli, files, layout):
    assert "--digest" in cli("trust", "--yes", code=1).stderr
    assert "no terminal" in cli("trust", code=1).stderr
    known = digest(cli("trust", "--show"))
    (files / "team.yaml").write_text("x-team: no\n")
    assert "not those of this digest" in cli("trust", "--yes", "--digest", known, code=1).stderr
    assert read_trust(layout).approved == {}
    known = digest(cli("trust", "--show"))
    done = cli("trust", "--yes", "--digest", known)
    assert done.stderr == "approved\n"
    assert "could have" not in done.stdout
    assert done.stdout.count(" approved\n") == 5
    assert len(read_trust(layout).approved) == 5
    assert "approved already" in cli("trust").stderr
    assert "could have" not in cli("trust", "--show").stdout


def test_what_configures_this_host_is_in_a_digest_only_where_it_lies_in_the_project(cli, files, layout, clean_home):
    open_directory = clean_home / "dotfiles"
    open_directory.mkdir()
    (open_directory / "policy.yaml").write_text("policies: {}\n")
    layout.user_policy.parent.mkdir(parents=True)
    layout.user_policy.symlink_to(open_directory / "policy.yaml")
    expose(layout, dict.fromkeys([str(open_directory)], frozenset()))
    known = digest(cli("trust", "--show"))
    (open_directory / "policy.yaml").write_text("policies: {mine: {}}\n")
    assert digest(cli("trust", "--show")) == known
    said = cli("trust", "--yes", "--digest", known).stderr
    assert f"in no digest, and to be approved at a terminal: {layout.user_policy}: new" in said
    assert str(layout.user_policy) not in read_trust(layout).approved


def test_a_change_of_a_file_is_seen_and_of_no_other(cli, files, layout):
    cli("trust", "--yes", "--digest", digest(cli("trust", "--show")))
    expose(layout, {str(files): frozenset({"sandbox.yaml"})})
    (files / "sandbox.yaml").write_text(FILE + "# more\n")
    for name in ("team.yaml", ".env"):
        with (files / name).open("a") as file:
            file.write("# more\n")
    lines = [line for line in cli("trust", "--show").stdout.splitlines() if "changed; a sandbox could" in line]
    assert [line.split()[0] for line in lines] == [f"{files}/.env", f"{files}/team.yaml"]


def test_a_file_that_is_gone_or_newly_there_is_a_change(cli, files, layout):
    cli("trust", "--yes", "--digest", digest(cli("trust", "--show")))
    expose(layout, {str(files): frozenset()})
    (files / "sandbox.override.yaml").unlink()
    (files / ".env").unlink()
    (files / "sandbox.override.yml").write_text("x-evil: yes\n")
    shown = cli("trust", "--show").stdout
    assert shown.count("gone; a sandbox could have written it") == 2
    assert shown.count("new; a sandbox could have written it") == 1


def test_a_wrong_file_is_shown_and_not_approved(cli, files, layout):
    (files / "team.yaml").write_text("sandboxes: {web: {nothing: 1}}\n")
    known = digest(cli("trust", "--show"))
    assert "has errors" in cli("trust", "--yes", "--digest", known, code=1).stderr
    assert read_trust(layout).approved == {}


def test_a_plan_says_that_yes_would_refuse_it(cli, files):
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [.]}}\n")
    said = cli("plan").stderr
    assert "`up --yes` refuses this plan" in said
    assert f"{files}/sandbox.yaml: new, in the workspace {files}" in said


def test_a_plan_says_so_as_data_and_as_a_comment(cli, files):
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [.]}}\n")
    doubts = json.loads(cli("plan", "--format", "json").stdout)["doubts"]
    assert {"path": f"{files}/sandbox.yaml", "state": "new", "directory": str(files)} in doubts
    assert "(`up --yes` refuses this plan)" in cli("plan", "--format", "markdown").stdout
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {}\n")
    assert json.loads(cli("plan", "--format", "json").stdout)["doubts"] == []


def test_up_without_a_question_refuses_and_changes_nothing(cli, files, layout):
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [.]}}\n")
    said = cli("up", "--yes", "--overcommit", code=1).stderr
    assert "nothing was changed: a sandbox could have written these files" in said
    assert "sandbox web: create" in said
    assert f"{files}/sandbox.yaml: new" in said
    assert not layout.sandboxes.exists()


def test_a_saved_plan_is_asked_the_same_of_its_files(cli, files, layout):
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [.]}}\n")
    said = cli("plan", "-o", "saved.plan").stderr
    assert "`up --yes` refuses this plan" in said
    (files / "sandbox.yaml").write_text("somebody else's\n")  # it is the plan's files that count, as they were read
    said = cli("apply", "--yes", "--overcommit", "saved.plan", code=1).stderr
    assert f"{files}/sandbox.yaml: new, in the workspace {files}" in said
    assert not layout.sandboxes.exists()


def test_an_older_plan_in_the_place_of_the_last_one_is_in_doubt(cli, files, layout):
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [.]}}\n")
    cli("trust", "--yes", "--digest", digest(cli("trust", "--show")))
    cli("plan", "-o", "saved.plan")
    older = (files / "saved.plan").read_bytes()
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: ['.:ro']}}\n")
    cli("trust", "--yes", "--digest", digest(cli("trust", "--show")))
    cli("plan", "-o", "saved.plan")
    newer = (files / "saved.plan").read_bytes()
    (files / "saved.plan").write_bytes(older)
    said = cli("apply", "--yes", "--overcommit", "saved.plan", code=1).stderr
    assert f"{files}/saved.plan: changed, in the workspace {files}" in said
    assert f"{files}/sandbox.yaml: " not in said
    assert not layout.sandboxes.exists()
    (files / "saved.plan").write_bytes(newer)
    assert "saved.plan: " not in cli("apply", "--overcommit", "saved.plan", code=1).stderr


def test_the_name_of_a_file_makes_no_line(cli, files):
    (files / "sandbox.yaml").write_text('name: shop\ninclude: ["a\\nb.yaml"]\nsandboxes: {web: {}}\n')
    (files / "a\nb.yaml").write_text("sandboxes: {}\n")
    assert not any(line.startswith("b.yaml") for line in cli("trust", "--show").stdout.splitlines())
    said = cli("up", "--yes", "--overcommit", code=1).stderr
    assert f"{files}/a\N{REPLACEMENT CHARACTER}b.yaml: new, in the workspace {files}" in said


def test_a_saved_plan_knows_which_of_its_files_were_in_no_doubt_when_it_was_made(cli, files):
    file = f"{files}/sandbox.yaml"
    (files / "sandbox.yaml").write_text("name: shop\nsandboxes: {web: {workspaces: [.]}}\n")
    cli("plan", "-o", "before.plan")
    cli("trust", "--yes", "--digest", digest(cli("trust", "--show")))
    cli("plan", "-o", "after.plan")
    assert file not in json.loads((files / "before.plan").read_text())["vouched"]
    assert file in json.loads((files / "after.plan").read_text())["vouched"]
