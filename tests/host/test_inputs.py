"""Finding and reading the sandbox file, and what is said about paths."""

import os
from pathlib import Path

import pytest

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.files import read_file
from sandboxfile.host.inputs import find_file, follow, gather, look
from sandboxfile.host.layout import Layout
from sandboxfile.language.document import FILE_LIMIT, parse
from sandboxfile.language.validate import load
from sandboxfile.resolve.inputs import PolicyFiles, ResolveInputs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def test_the_nearest_file_above_is_found(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    assert find_file(root / "a/b") is None
    (root / "sandbox.yml").touch()
    assert find_file(root / "a/b") == root / "sandbox.yml"
    (root / "a/sandbox.yml").touch()
    (root / "a/sandbox.yaml").touch()
    assert find_file(root / "a/b") == root / "a/sandbox.yaml"


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(HostError, match="not a regular file"):
        read_file(root / "fifo")
    with pytest.raises(HostError):
        read_file(root)
    with pytest.raises(NotFoundError):
        read_file(root / "nothing")
    with pytest.raises(HostError):
        read_file(Path("/dev/zero"))


def test_a_huge_file_is_read_no_further_than_needed_to_refuse_it(root: Path) -> None:
    (root / "huge").write_bytes(b"#" * (FILE_LIMIT * 8))
    text = read_file(root / "huge").decode()
    assert len(text) < FILE_LIMIT * 5
    assert parse(text, "f")[1][0].summary == "File too long"


def test_symlinks_are_followed_and_named_by_their_real_place(root: Path) -> None:
    (root / "real/dir").mkdir(parents=True)
    (root / "one").symlink_to("real")
    (root / "real/two").symlink_to("../one/dir")
    path = root / "one/two"
    assert follow(str(path)) == (str(root / "real/dir"), (f"{root}/one", f"{root}/real/two", f"{root}/one"))
    assert follow(str(path))[0] == os.path.realpath(path)


def test_what_is_there_is_said(root: Path) -> None:
    (root / "file").write_text("text")
    (root / "dangling").symlink_to("gone")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    assert look(str(root)).kind == "directory"
    assert look(f"{root}/file").content is None
    assert look(f"{root}/file", read=True).content == b"text"
    assert look(f"{root}/fifo", read=True).kind == "other"
    assert look(f"{root}/gone").kind == "missing"
    assert look(f"{root}/file/below").kind == "missing"
    assert look(f"{root}/dangling").kind == "missing"
    assert "links" in str(look(f"{root}/loop").problem)


def test_a_missing_path_is_still_known_by_its_real_place(root: Path) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    assert look(f"{root}/link/state/deep").real == f"{root}/real/state/deep"
    assert look(f"{root}/link/state/deep").links == (f"{root}/link",)


def test_everything_that_resolve_asks_for_is_gathered(root: Path) -> None:
    (root / ".env").write_text("A=1")
    file, _, _ = load("defaults: {env_file: .env}\nsandboxes: {a: {workspaces: [., ~/x, /nope]}}", "f")
    assert file is not None
    layout = Layout.from_environment({}, root / "home", 1000)
    inputs = gather(file, root / "sandbox.yaml", layout, {"K": "v"}, PolicyFiles(), home=root / "home")
    assert inputs.base == str(root)
    assert inputs.paths[f"{root}/.env"].content == b"A=1"
    assert {str(root), f"{root}/home", f"{root}/home/x", "/nope", f"{root}/sandbox.yaml", *inputs.private} <= set(
        inputs.paths
    )
    assert inputs.environment["K"] == "v"
    assert len(inputs.today) == len("2026-11-21")
    assert inputs.presets == {}


def gathered(root: Path, text: str, **options: str) -> ResolveInputs:
    file, _, problems = load(text, "f")
    assert file is not None
    assert problems == ()
    layout = Layout(root / "state", root / "cache", root / "run")
    return gather(file, root / "sandbox.yaml", layout, dict(os.environ), PolicyFiles(), home=root, **options)


def test_what_secrets_name_is_looked_at_and_never_read(root: Path) -> None:
    (root / "token").write_text("value")
    text = (
        "secrets:\n  a: {file: ./token, inject: [{host: a.b, bearer: true}]}\n"
        "  b: {command: [./print, '--key=~/key'], inject: [{host: b.b, bearer: true}]}\n"
        "sandboxes: {web: {}}"
    )
    paths = gathered(root, text).paths
    assert (paths[f"{root}/token"].kind, paths[f"{root}/token"].content) == ("file", None)
    assert paths[f"{root}/print"].kind == paths[f"{root}/key"].kind == "missing"


def test_git_is_asked_only_for_a_sandbox_that_needs_it(root: Path) -> None:
    (root / ".gitconfig").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    assert gathered(root, "sandboxes: {web: {}}").git_identity is None
    assert gathered(root, "sandboxes: {web: {git: {name: B, email: b@c}}}").git_identity is None
    assert gathered(root, "sandboxes: {web: {git: host}}").git_identity == ("Ada", "ada@example.com")


def test_the_project_of_commands_and_the_names_in_the_store(root: Path) -> None:
    (root / "state/secrets").mkdir(parents=True)
    (root / "state/secrets/index.json").write_text('{"version": 1, "secrets": {"anthropic": "file"}}')
    inputs = gathered(root, "sandboxes: {web: {}}", project="_run")
    assert (inputs.project, inputs.stored) == ("_run", {"anthropic"})
