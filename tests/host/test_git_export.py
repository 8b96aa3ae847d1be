"""Writing a commit's files where hostile programs write too: nothing outside is touched, whatever lies in the way."""

import os
import subprocess
from pathlib import Path

import pytest

from sandboxfile.errors import HostError
from sandboxfile.host import git_export
from sandboxfile.host.git_clone import Clone
from sandboxfile.host.git_export import export, lay, stays_inside


class Commits:
    """Makes commits in a bare clone, of trees given as dicts: content, `-> target` for symlinks, `#!...` is run."""

    def __init__(self, root: Path) -> None:
        self.work = root / "work"
        self.work.mkdir()
        self.clone = Clone(root / "clone.git")
        self.clone.prepare()

    def git(self, *words: str) -> str:
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "core.symlinks=true")
        argv = ["git", f"--git-dir={self.clone.directory}", f"--work-tree={self.work}", *settings, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=self.work).stdout.strip()

    def __call__(self, files: dict[str, str]) -> str:
        subprocess.run(["find", str(self.work), "-mindepth", "1", "-delete"], check=True)
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                path.symlink_to(content[3:])
            else:
                path.write_text(content)
                path.chmod(0o755 if content.startswith("#!") else 0o644)
        self.git("add", "-A")
        tree = self.git("write-tree")
        return self.git("commit-tree", "-m", "x", tree)


@pytest.fixture
def commits(tmp_path):
    return Commits(tmp_path)


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def outside(tmp_path):
    """A directory that an agent would like us to write to."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "keys").write_text("untouched")
    yield place
    assert [path.name for path in place.iterdir()] == ["keys"]
    assert (place / "keys").read_text() == "untouched"


def found(root):
    """What is there, in the words of `Commits`."""
    files = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            files[name] = f"-> {path.readlink()}"
        elif path.is_file():
            files[name] = path.read_text()
            assert os.access(path, os.X_OK) == files[name].startswith("#!") or os.geteuid() == 0
            assert path.stat().st_mode & 0o777 == (0o755 if files[name].startswith("#!") else 0o644)
    return files


FILES = {"a": "1\n", "run": "#!/bin/sh\n", "deep/er/b": "2\n", "link": "-> deep/er", "ä": "3\n"}


def test_a_commit_is_written_as_it_is(commits, root):
    commit = commits(FILES)
    lay(commits.clone, commit, (), root)
    assert found(root) == FILES
    export(commits.clone, commit, root)
    assert found(root) == FILES


def test_a_file_that_is_as_it_should_be_is_not_written_again(commits, root):
    commit = commits(FILES)
    lay(commits.clone, commit, (), root)
    before = {name: (root / name).lstat().st_ino for name in FILES}
    (root / "a").write_text("8\n")
    lay(commits.clone, commit, (), root)
    assert {name for name in FILES if (root / name).lstat().st_ino != before[name]} == {"a"}
    assert found(root) == FILES


def test_the_next_commit_is_laid_in_place_and_what_is_nobodys_file_stays(commits, root):
    first, second = (
        commits({"a": "1", "gone/x": "2", "both/y": "3", "turned": "4", "dir/z": "5"}),
        commits({"a": "1", "both/new": "6", "turned/into": "7", "dir": "8"}),
    )
    lay(commits.clone, first, (), root)
    (root / "both/agents").write_text("work")
    (root / "untracked").write_text("work")
    kept = (root / "both").stat().st_ino
    lay(commits.clone, second, (first,), root)
    assert set(found(root)) == {"a", "both/new", "turned/into", "dir", "both/agents", "untracked"}
    assert not (root / "gone").exists()
    assert (root / "both").stat().st_ino == kept


def test_an_export_has_nothing_else_in_it(commits, root, outside):
    (root / "other/deep").mkdir(parents=True)
    (root / "other/deep/x").touch()
    (root / "deep").mkdir()
    (root / "deep/stranger").symlink_to(outside)
    (root / ".git").mkdir()
    export(commits.clone, commits(FILES), root)
    assert found(root) == FILES
    assert not (root / "other").exists()
    assert not (root / ".git").exists()


def in_the_way(root, outside):
    """What an agent may have put where files and directories of the commit belong."""
    return {
        "a symlink as directory": lambda: (root / "deep").symlink_to(outside),
        "a symlink below": lambda: ((root / "deep").mkdir(), (root / "deep/er").symlink_to(outside)),
        "a symlink as file": lambda: (root / "a").symlink_to(outside / "keys"),
        "a hard link": lambda: os.link(outside / "keys", root / "a"),
        "a directory as file": lambda: (root / "a").mkdir(),
        "a full directory": lambda: ((root / "a/b").mkdir(parents=True), (root / "a/b/c").symlink_to(outside)),
        "a file as directory": lambda: (root / "deep").write_text("x"),
        "a pipe": lambda: os.mkfifo(root / "a"),
        "our own name": lambda: (root / ".sbx-reconcile.part").symlink_to(outside / "keys"),
        "our own name as directory": lambda: (root / ".sbx-reconcile.part").mkdir(),
        "a broken link": lambda: (root / "a").symlink_to(outside / "new"),
    }


@pytest.mark.parametrize("what", in_the_way(Path(), Path()))
def test_whatever_is_in_the_way_is_taken_out_of_it_and_nothing_outside_is_touched(commits, root, outside, what):
    in_the_way(root, outside)[what]()
    lay(commits.clone, commits(FILES), (), root)
    assert found(root) == FILES


@pytest.mark.parametrize("how", ["directory", "file", "nothing"])
def test_taking_files_away_follows_no_symlink(commits, root, outside, how):
    first, second = commits({"d/keys": "x", "a": "1"}), commits({"a": "1"})
    lay(commits.clone, first, (), root)
    (root / "d/keys").unlink()
    if how == "directory":
        (root / "d").rmdir()
        (root / "d").symlink_to(outside)
    if how == "file":
        (root / "d/keys").symlink_to(outside / "keys")
    lay(commits.clone, second, (first,), root)
    assert (root / "a").read_text() == "1"
    assert not (root / "d/keys").is_symlink()


def test_an_export_leaves_out_symlinks_that_lead_out_of_it(commits, root):
    files = {
        "in": "-> a",
        "deep/in": "-> ../a",
        "out": "-> ../x",
        "absolute": "-> /etc/passwd",
        "round": "-> deep/../../x",
        "a": "1",
    }
    commit = commits(files)
    export(commits.clone, commit, root)
    assert set(found(root)) == {"in", "deep/in", "a"}
    lay(commits.clone, commit, (), root)
    assert set(found(root)) == set(files), "in the tree it is as the commit has it"


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [
        ("x", "a", True),
        ("x", "a/b", True),
        ("d/x", "../a", True),
        ("d/e/x", "../../a", True),
        ("x", "..", False),
        ("d/x", "../..", False),
        ("d/x", "../../a", False),
        ("x", "/a", False),
        ("x", "", False),
        ("y", "d/x/../c", False),  # where d/x leads to is not known here
    ],
)
def test_whether_a_symlink_stays_inside(path, target, inside):
    assert stays_inside(path, target) == inside


def test_a_root_that_is_a_symlink_or_missing_is_an_error(commits, tmp_path, outside):
    (tmp_path / "link").symlink_to(outside)
    for root in (tmp_path / "link", tmp_path / "nowhere"):
        with pytest.raises(HostError, match="cannot open the directory"):
            lay(commits.clone, commits({"a": "1"}), (), root)


def test_an_interrupted_one_is_finished_by_the_next(commits, root, monkeypatch):
    first, second, third = commits({"a": "1"}), commits({"a": "2", "b": "2"}), commits({"a": "3"})
    lay(commits.clone, first, (), root)
    real = os.rename

    def killed(source, target, **options):
        if target == "b":
            raise KeyboardInterrupt
        real(source, target, **options)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        lay(commits.clone, second, (first,), root)
    monkeypatch.undo()
    lay(commits.clone, second, (first, second), root)
    assert found(root) == {"a": "2", "b": "2"}
    lay(commits.clone, third, (first, second), root)
    assert found(root) == {"a": "3"}


# --- deeper than anybody can count -------------------------------------------------------------------------------

DEEP = 1500  # the stack ends at 1000


def dig(directory, name, depth=DEEP):
    """Directories in each other below `directory`, with a file in every tenth, and a symlink at the end."""
    (directory / name).mkdir(parents=True)
    handle = os.open(directory / name, os.O_RDONLY)
    for level in range(depth):
        if level % 10 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.symlink("/etc/passwd", "link", dir_fd=handle)
    os.close(handle)


def test_a_directory_thousands_deep_in_the_way_is_removed(commits, root, outside):
    dig(root, "app")
    (root / "app" / ".sbx-reconcile.part.0" / "full").mkdir(parents=True)  # where it would be moved to
    (root / "app" / ".sbx-reconcile.part.1").write_text("a file")
    (root / "app" / "way").symlink_to(outside)
    lay(commits.clone, commits({"app": "a file now"}), [], root)
    assert (root / "app").read_text() == "a file now"
    assert (outside / "keys").read_text() == "untouched"
    assert [path.name for path in root.iterdir()] == ["app"]


def test_what_is_thousands_deep_and_not_in_the_commit_goes(commits, root):
    dig(root, "old")
    export(commits.clone, commits({"web.txt": "x"}), root)
    assert [path.name for path in root.iterdir()] == ["web.txt"]


def test_directories_without_files_go_to_the_last(commits, root):
    path = f"{'d/' * 99}web.txt"
    deep, flat = commits({path: "x"}), commits({"web.txt": "y"})
    export(commits.clone, deep, root)
    export(commits.clone, deep, root)
    assert (root / path).read_text() == "x"
    lay(commits.clone, flat, [deep], root)
    assert [each.name for each in root.iterdir()] == ["web.txt"]


def test_it_ends_although_somebody_makes_directories_without_end(commits, root, monkeypatch):
    monkeypatch.setattr(git_export, "_MOVES", 100)
    dig(root, "app", 200)
    with pytest.raises(HostError, match="no end of directories"):
        lay(commits.clone, commits({"app": "a file now"}), [], root)
    monkeypatch.undo()
    lay(commits.clone, commits({"app": "a file now"}), [], root)
    assert (root / "app").is_file()
