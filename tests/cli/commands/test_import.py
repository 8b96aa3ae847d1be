"""`sbx import`: from files, standard input and words, into a file that `validate` accepts."""

import pytest

from ... import forking

COMPOSE = "services: {web: {image: 'alpine:3', command: [sleep, inf], privileged: true, volumes: ['./src:/app:ro']}}\n"


def test_a_compose_file_becomes_a_valid_sandbox_file_and_what_is_missing_is_told(cli, project):
    (project / "compose.yaml").write_text(COMPOSE)
    (project / "src").mkdir()
    said = cli("import", "compose.yaml")
    assert said.stdout == ""
    assert "compose.yaml:1:" in said.stderr
    assert "services.web.privileged" in said.stderr
    assert "services.web.privileged" in (project / "sandbox.yaml").read_text()
    cli("validate")


def test_what_this_host_lacks_for_the_new_file_is_told(cli, project):
    (project / "compose.yaml").write_text(COMPOSE)
    said = cli("import", "compose.yaml").stderr
    assert f"{project}/src" in said
    assert (project / "sandbox.yaml").exists()


def test_a_file_that_would_be_mounted_is_told_and_what_is_written_loads(cli, project, clean_home):
    (project / "compose.yaml").write_text(
        "services: {web: {volumes: ['./a.conf:/etc/a.conf', '~/.netrc:/n', './b:/b']}}"
    )
    (project / "a.conf").touch()
    (clean_home / ".netrc").touch()
    (project / "b").mkdir()
    assert cli("import", "compose.yaml").stderr.count("it is a file, and a workspace is a directory") == 2
    cli("validate")


def test_nothing_is_overwritten_unasked(cli, project):
    (project / "compose.yaml").write_text(COMPOSE)
    (project / "sandbox.yml").write_text("mine")
    assert "exists already" in cli("import", "compose.yaml", code=1).stderr
    assert not (project / "sandbox.yaml").exists()
    cli("import", "compose.yaml", "-o", "other.yaml")
    before = (project / "other.yaml").read_text()
    cli("import", "compose", "compose.yaml", "-o", "other.yaml", code=1)
    (project / "other.yaml").write_text("mine")
    (project / "other.yaml").chmod(0o600)
    cli("import", "compose", "compose.yaml", "-o", "other.yaml", "--force")
    assert (project / "other.yaml").read_text() == before
    assert (project / "other.yaml").stat().st_mode & 0o777 == 0o600
    assert (project / "sandbox.yml").read_text() == "mine"


def test_a_link_in_the_file_s_place_is_not_written_through(cli, project):
    (project / "compose.yaml").write_text(COMPOSE)
    (project / "elsewhere").write_text("mine")
    (project / "sandbox.yaml").symlink_to("elsewhere")
    cli("import", "compose.yaml", code=1)
    cli("import", "compose.yaml", "--force")
    assert (project / "elsewhere").read_text() == "mine"
    assert not (project / "sandbox.yaml").is_symlink()


def test_words_after_two_dashes_are_a_command_line(cli, project):
    printed = cli("import", "-o", "-", "--", "docker", "sandbox", "run", "--name", "web", "-e", "A=$B c", "claude", ".")
    assert 'A: "$$B c"' in printed.stdout
    assert "agent: claude" in printed.stdout
    assert list(project.iterdir()) == []


def test_relative_paths_count_from_the_new_file(cli, project):
    place = project / ".devcontainer"
    place.mkdir()
    (place / "devcontainer.json").write_text('{"build": {"dockerfile": "Dockerfile"}, "workspaceFolder": "/w"}')
    printed = cli("import", "devcontainer", ".devcontainer/devcontainer.json", "-o", "-").stdout
    assert "context: ./.devcontainer" in printed
    assert 'workspaces: [".:/w"]' in printed


def test_standard_input_is_read(project, environment):
    words = ("import", "compose", "-", "-o", "-")
    done = forking.run(words, cwd=project, env=environment, input=COMPOSE, timeout=60)
    assert done.returncode == 0
    assert 'base: "oci:alpine:3"' in done.stdout
    assert "standard input:1:" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.yaml"], "there is no file nothing.yaml"),
        ([], "one source is imported at a time"),
        (["a", "b", "c"], "one source is imported at a time"),
        (["unclear"], "does not show in it"),
        (["binary"], "is not text"),
        (["compose", "wrong"], "Wrong type"),
    ],
)
def test_what_cannot_be_imported_says_why_and_writes_nothing(words, said, cli, project):
    (project / "unclear").write_text("hello\n")
    (project / "binary").write_bytes(b"\xff\xfe")
    (project / "wrong").write_text("services: [a]\n")
    assert said in cli("import", *words, code=1).stderr
    assert not (project / "sandbox.yaml").exists()
