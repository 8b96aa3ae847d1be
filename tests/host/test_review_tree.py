"""Looking through trees that somebody made to mislead, to hold up or to fill whoever looks."""

import os
import subprocess
import time

import pytest

from sandboxfile.host import review_tree as module
from sandboxfile.host.review_tree import look_through


@pytest.fixture
def tree(tmp_path):
    """A workspace, filled by `tree({path: text})`; gives its directory."""
    root = tmp_path / "workspace"
    root.mkdir()

    def fill(files):
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    return fill


def found(root):
    return {
        f"{path}: {part}" if part else path: item.kind for (path, part), item in look_through(str(root)).items.items()
    }


def digest(root, path, part=""):
    return look_through(str(root)).items[path, part].digest


def test_what_acts_is_found_wherever_it_is(tree):
    root = tree(
        {
            ".envrc": "",
            "src/main.py": "",
            "web/package.json": '{"scripts": {"dev": "vite"}}',
            "web/.vscode/tasks.json": "",
            "a/b/.husky/_/pre-commit": "",
            ".github/workflows/ci.yml": "",
            "node_modules/x/Makefile": "",
        }
    )
    assert found(root) == {
        ".envrc": "environment",
        "web/package.json: scripts.dev": "package manager",
        "web/.vscode/tasks.json": "editor",
        "a/b/.husky/_/pre-commit": "commit hook",
        ".github/workflows/ci.yml": "pipeline",
    }


def test_hooks_and_settings_of_every_repository_are_found(tree):
    root = tree({"tools/hooks/pre-push": "", "tools/hooks/lib/x": "", "vendor/.git/hooks/post-checkout": ""})
    subprocess.run(["git", "init", "-q", root], check=True)
    subprocess.run(["git", "-C", root, "config", "core.hooksPath", "tools/hooks"], check=True)
    subprocess.run(["git", "init", "-q", "--bare", root / "data" / "innocent"], check=True)
    (root / "data/innocent/hooks/post-receive").write_text("x")
    (root / ".git/modules/deep/er").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", "--bare", root / ".git/modules/deep/er/lib"], check=True)
    (root / ".git/modules/deep/er/lib/hooks/pre-commit").write_text("x")
    (root / "lib").mkdir()
    (root / "lib/.git").write_text("gitdir: ../.git/modules/deep/er/lib\n")
    (root / ".git/hooks/pre-commit").write_text("x")
    assert found(root) == {
        ".git/config: core.hookspath": "git setting",
        ".git/hooks/pre-commit": "git hook",
        "tools/hooks/pre-push": "git hook",
        "vendor/.git/hooks/post-checkout": "git hook",
        "data/innocent/hooks/post-receive": "git hook",
        ".git/modules/deep/er/lib/hooks/pre-commit": "git hook",
        "lib/.git": "git link",
    }


def test_what_looks_like_a_repository_hides_nothing(tree):
    root = tree(
        {"HEAD": "", "objects/x": "", "refs/x": "", "Makefile": "", "objects/.envrc": "", "config": "[alias]\nx = !y"}
    )
    assert found(root) == {
        "Makefile": "build",
        "objects/.envrc": "environment",
        "config: alias.x": "git setting",
    }


@pytest.mark.parametrize("path", ["/etc", "../elsewhere", "a/../../elsewhere"])
def test_hooks_outside_the_workspace_are_not_looked_for(tree, path):
    root = tree({".git/HEAD": "", ".git/config": f"[core]\nhooksPath = {path}\n"})
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere/pre-commit").write_text("x")
    assert found(root) == {".git/config: core.hookspath": "git setting"}


def test_no_link_is_followed_and_links_that_matter_are_said(tree):
    root = tree({"real/tasks.json": "", "real/conf": "one"})
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "Makefile").write_text("")
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to(".")
    (root / ".vscode").symlink_to("real")
    (root / ".git").symlink_to(outside)
    (root / "Makefile").symlink_to(outside / "Makefile")
    (root / ".envrc").symlink_to("real/conf")
    assert found(root) == {".vscode": "link", ".git": "link", "Makefile": "build", ".envrc": "environment"}
    before = digest(root, "Makefile"), digest(root, ".envrc")
    (outside / "Makefile").write_text("changed")
    (root / "real/conf").write_text("two")
    assert digest(root, "Makefile") == before[0]
    assert digest(root, ".envrc") != before[1]


def test_what_is_no_file_is_neither_waited_for_nor_read(tree):
    root = tree({".git/HEAD": ""})
    for name in (".envrc", "Makefile", ".git/config"):
        os.mkfifo(root / name)
    (root / "package.json").mkdir()
    (root / ".vscode").write_text("no directory")
    assert found(root) == {}


def test_a_change_of_content_mode_or_of_what_is_beyond_the_beginning_is_seen(tree):
    root = tree({"Makefile": "a", ".envrc": "b", "justfile": ""})
    before = {path: digest(root, path) for path in ("Makefile", ".envrc")}
    (root / "Makefile").write_text("c")
    (root / ".envrc").chmod(0o755)
    assert all(digest(root, path) != old for path, old in before.items())
    with (root / "justfile").open("wb") as file:
        file.truncate(1 << 40)
    old = digest(root, "justfile")
    with (root / "justfile").open("r+b") as file:
        file.seek(1 << 39)
        file.write(b"x")
    os.utime(root / "justfile", ns=(0, 1))
    assert digest(root, "justfile") != old


def test_names_that_are_no_text_are_kept_apart(tree):
    root = tree({})
    for name in (b"a\xff", b"a\xfe", b"\n\x1b[2J"):
        os.mkdir(os.path.join(os.fsencode(root), name))  # noqa: PTH102, PTH118 - bytes
        with open(os.path.join(os.fsencode(root), name, b"Makefile"), "wb"):  # noqa: PTH118, PTH123
            pass
    assert len(found(root)) == 3


def test_fifty_thousand_files_take_seconds(tree):
    root = tree({"z/Makefile": ""})
    for number in range(50):
        (root / f"d{number}").mkdir()
        for name in range(1000):
            (root / f"d{number}" / f"f{name}").touch()
    began = time.monotonic()
    assert found(root) == {"z/Makefile": "build"}
    assert time.monotonic() - began < 15  # 0.3 is usual


def test_too_deep_too_many_and_too_much_is_said_and_the_rest_looked_at(tree, monkeypatch):
    root = tree({"zz/Makefile": "", ".envrc": ""})
    os.makedirs(root / "/".join(["d"] * 300))  # noqa: PTH103
    (root / "/".join(["d"] * 300) / "Makefile").touch()
    seen = look_through(str(root))
    assert set(seen.items) == {("zz/Makefile", ""), (".envrc", "")}
    assert list(seen.omitted.values()) == [f"it is deeper than {module.DEPTH} directories"]

    monkeypatch.setattr(module, "ENTRIES", 3)
    seen = look_through(str(root))
    assert (".envrc", "") in seen.items
    assert "there are more than 3 files" in seen.omitted.values()

    monkeypatch.setattr(module, "ENTRIES", 1000)
    monkeypatch.setattr(module, "FOUND", 1)
    seen = look_through(str(root))
    assert len(seen.items) == 1
    assert "there are more than 1 such files" in seen.omitted.values()


def test_no_more_bytes_are_read_than_may_be_and_changes_of_size_or_time_still_count(tree, monkeypatch):
    monkeypatch.setattr(module, "_ALL_BYTES", 10)
    root = tree({"a/Makefile": "x" * 10, "b/Makefile": "y" * 10})
    before = digest(root, "b/Makefile")
    (root / "b/Makefile").write_text("z" * 11)
    assert digest(root, "b/Makefile") != before


def test_a_chain_of_repositories_in_repositories_ends(tree):
    root = tree({".git/HEAD": ""})
    inner = root / ".git"
    for _ in range(100):
        inner = inner / "modules" / "m"
        inner.mkdir(parents=True)
        (inner / "HEAD").touch()
    assert look_through(str(root)).omitted


def test_a_workspace_that_is_not_there_has_nothing(tmp_path):
    assert look_through(str(tmp_path / "gone")).items == {}
