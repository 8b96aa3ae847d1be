"""What has changed since somebody looked."""

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.review import accept, compare, look, remember
from sandboxfile.model.desired import Workspace


@pytest.fixture
def paths(tmp_path):
    root = tmp_path / "state"
    root.mkdir()
    return SandboxPaths(root, tmp_path / "control.sock")


@pytest.fixture
def workspace(tmp_path):
    source = tmp_path / "shop"
    source.mkdir()
    (source / "Makefile").write_text("all:\n")
    (source / "package.json").write_text('{"scripts": {"dev": "vite", "test": "jest"}, "version": "1"}')
    return Workspace(str(source), str(source))


def changes(paths, *workspaces):
    return [(f.path.rpartition("/shop/")[2], f.part, f.change) for f in compare(paths, workspaces)]


def test_nothing_has_changed_until_something_does(paths, workspace, tmp_path):
    remember(paths, [workspace])
    assert compare(paths, [workspace]) == []
    source = tmp_path / "shop"
    (source / ".envrc").write_text("")
    (source / "Makefile").unlink()
    (source / "package.json").write_text('{"scripts": {"dev": "evil", "test": "jest"}, "version": "2"}')
    (source / "main.py").write_text("anything")
    assert changes(paths, workspace) == [
        (".envrc", "", "new"),
        ("Makefile", "", "gone"),
        ("package.json", "scripts.dev", "changed"),
    ]
    assert all(finding.why for finding in compare(paths, [workspace]))


def test_what_was_there_at_first_is_remembered_once(paths, workspace, tmp_path):
    remember(paths, [workspace])
    (tmp_path / "shop/.envrc").write_text("")
    remember(paths, [workspace])  # the sandbox starts again
    assert changes(paths, workspace) == [(".envrc", "", "new")]


def test_a_workspace_that_comes_later_is_remembered_when_it_comes(paths, workspace, tmp_path):
    remember(paths, [workspace])
    other = tmp_path / "other"
    other.mkdir()
    (other / "Makefile").touch()
    later = Workspace(str(other), str(other))
    assert [finding.change for finding in compare(paths, [workspace, later])] == ["new"]
    remember(paths, [workspace, later])
    assert compare(paths, [workspace, later]) == []


def test_only_what_can_be_written_is_looked_at(paths, workspace, tmp_path):
    assert compare(paths, [Workspace(workspace.source, workspace.target, "ro")]) == []


def test_what_was_shown_is_accepted_and_nothing_later(paths, workspace, tmp_path):
    remember(paths, [workspace])
    (tmp_path / "shop/.envrc").write_text("")
    looked = look(paths, [workspace])
    (tmp_path / "shop/justfile").write_text("")  # the agent goes on
    accept(paths, looked)
    assert changes(paths, workspace) == [("justfile", "", "new")]


def test_what_could_not_be_looked_at_is_said_each_time(paths, workspace, tmp_path):
    (tmp_path / "shop" / "/".join(["d"] * 100)).mkdir(parents=True)
    remember(paths, [workspace])
    [finding] = compare(paths, [workspace])
    assert finding.kind == "not looked at"
    accept(paths, look(paths, [workspace]))
    assert compare(paths, [workspace]) == [finding]


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1, "workspaces": 3}', "[" * 100_000])
def test_a_record_that_cannot_be_read_is_no_clean_bill(paths, workspace, text):
    paths.review.write_text(text)
    with pytest.raises(StateError) as caught:
        compare(paths, [workspace])
    assert "--done" in str(caught.value.hint)
    with pytest.raises(StateError):
        remember(paths, [workspace])
    accept(paths, look(paths, [workspace], forget=True))
    assert compare(paths, [workspace]) == []


def test_no_content_is_written_down(paths, workspace, tmp_path):
    (tmp_path / "shop/.env").write_text("PASSWORD=hunter2")
    remember(paths, [workspace])
    assert "hunter2" not in paths.review.read_text()
    assert paths.review.stat().st_mode & 0o777 == 0o600
