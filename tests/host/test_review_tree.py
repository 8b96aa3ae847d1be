"""Looking through trees that somebody made to mislead, to hold up or to fill whoever looks."""

import os
import subprocess
import time

import pytest

from sandboxfile.host import review_files as files
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
        "node_modules": "packages installed",
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


def test_what_is_no_longer_read_is_said_and_its_changes_count_whatever_times_it_is_given(tree, monkeypatch):
    monkeypatch.setattr(files, "SMALL_BYTES", 10)
    root = tree({"a/Makefile": "x" * 10, "b/Makefile": "y" * 10})
    seen = look_through(str(root))
    assert set(seen.omitted) == {"b/Makefile"}
    times = (root / "b/Makefile").stat()
    (root / "b/Makefile").write_text("z" * 10)
    os.utime(root / "b/Makefile", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(root, "b/Makefile") != seen.items["b/Makefile", ""].digest


def test_the_end_of_a_long_file_counts_whatever_times_it_is_given(tree):
    root = tree({"Makefile": "x" * (3 << 20)})
    seen = look_through(str(root))
    times = (root / "Makefile").stat()
    with (root / "Makefile").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"y")
    os.utime(root / "Makefile", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(root, "Makefile") != seen.items["Makefile", ""].digest
    assert seen.omitted == {}


def test_what_settings_name_counts(tree):
    root = tree(
        {
            ".git/HEAD": "",
            ".git/config": """
[include]
path = ../more/settings
[core]
fsmonitor = tools/watch ; of ours
hooksPath = "tools/hooks" # of ours
[alias]
x = !sh -c 'cd . && "$(git rev-parse --show-toplevel)/tools/x"'
[filter "f"]
process = linked/filter --all
""",
            "more/settings": "[include]\npath = deeper\n[user]\nname = a\n",
            "more/deeper": "[diff]\nexternal = tools/diff\n",
            "tools/watch": "",
            "tools/hooks/pre-push": "",
            "tools/x": "",
            "tools/diff": "",
            "tools/filter": "",
            "tools/other": "",
        }
    )
    (root / "linked").symlink_to("tools")
    kinds = found(root)
    assert (
        kinds.items()
        >= {
            "tools/watch": "git program",
            "tools/hooks/pre-push": "git hook",
            "tools/x": "git program",
            "tools/diff": "git program",
            "tools/filter": "git program",
            "more/deeper: diff.external": "git setting",
        }.items()
    )
    assert "tools/other" not in kinds
    before = digest(root, "tools/watch")
    (root / "tools/watch").write_text("evil")
    assert digest(root, "tools/watch") != before


def test_settings_hold_in_further_work_trees_and_those_of_submodules(tree):
    root = tree(
        {
            ".git/config": "[core]\nhooksPath = hooks-here\n",
            ".git/worktrees/fix/gitdir": "WORKTREE",
            "trees/fix/hooks-here/pre-commit": "",
            ".git/modules/lib/HEAD": "",
            ".git/modules/lib/config": "[core]\nworktree = ../../../lib\nfsmonitor = watch\n",
            "lib/watch": "",
        }
    )
    (root / ".git/worktrees/fix/gitdir").write_text(f"{root}/trees/fix/.git\n")
    assert found(root)["trees/fix/hooks-here/pre-commit"] == "git hook"
    assert found(root)["lib/watch"] == "git program"


def test_settings_that_include_themselves_or_name_too_much_come_to_an_end(tree, monkeypatch):
    root = tree({".git/config": "[include]\npath = config\npath = ../a\n", "a": "[include]\npath = a\npath = b\n"})
    assert look_through(str(root)).omitted == {}
    monkeypatch.setattr(module, "TRIED", 3)
    (root / ".git/config").write_text("[alias]\nx = !" + "a b c d e f\n")
    assert "settings may name more than 3 files" in look_through(str(root)).omitted.values()


def test_settings_that_are_too_long_to_be_taken_apart_count_whole_and_are_said(tree, monkeypatch):
    monkeypatch.setattr(module, "SETTINGS_BYTES", 10)
    seen = look_through(str(tree({".git/config": "[alias]\nx = !tools/x\n"})))
    assert set(seen.items) == {(".git/config", "")}
    assert set(seen.omitted) == {".git/config"}


def test_the_program_of_a_cargo_build_counts(tree):
    root = tree({"crate/Cargo.toml": '[package]\nbuild = "tools/b.rs"\n', "crate/tools/b.rs": ""})
    assert found(root) == {"crate/Cargo.toml": "build", "crate/tools/b.rs": "build"}


@pytest.mark.parametrize(
    ("file", "place", "kind"),
    [
        ("web/node_modules/pad/lib/index.js", "web/node_modules", "packages installed"),
        (".venv/bin/ruff", ".venv/bin", "environment"),
        ("env/bin/python", "env/bin", "environment"),
        (".venv/lib/python3/site-packages/x.pth", ".venv/lib/python3/site-packages", "packages installed"),
    ],
)
def test_installed_packages_and_programs_are_one_finding_and_any_change_in_them_counts(tree, file, place, kind):
    root = tree({file: "one", "env/pyvenv.cfg": ""})
    times = (root / file).stat()
    before = look_through(str(root)).items
    assert {path: item.kind for (path, _), item in before.items()} == {place: kind, "env/pyvenv.cfg": "environment"}
    (root / file).write_text("two")
    os.utime(root / file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = look_through(str(root)).items
    assert {path for path, _ in after if after[path, ""] != before[path, ""]} == {place}


def test_what_links_lead_to_in_the_workspace_counts_over_further_links(tree):
    root = tree({"real/x": "one", "docs/deploy.md": "one"})
    (root / "CLAUDE.md").symlink_to("first")
    (root / "first").symlink_to("real/x")
    (root / ".claude").mkdir()
    (root / ".claude/commands").symlink_to("../docs")
    before = digest(root, "CLAUDE.md"), digest(root, ".claude/commands")
    (root / "real/x").write_text("two")
    (root / "docs/deploy.md").write_text("two!")
    assert digest(root, "CLAUDE.md") != before[0]
    assert digest(root, ".claude/commands") != before[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every directory")
def test_a_directory_that_cannot_be_listed_is_said(tree):
    root = tree({"web/.envrc": "", ".git/hooks/pre-commit": ""})
    for path in ("web", ".git/hooks"):
        (root / path).chmod(0o311)
    try:
        assert set(look_through(str(root)).omitted) == {"web", ".git/hooks"}
    finally:
        for path in ("web", ".git/hooks"):
            (root / path).chmod(0o755)


def test_more_omissions_than_are_listed_are_said(tree, monkeypatch):
    monkeypatch.setattr(module, "_OMISSIONS", 1)
    monkeypatch.setattr(files, "SMALL_BYTES", 0)
    omitted = look_through(str(tree({"a/Makefile": "x", "b/Makefile": "x"}))).omitted
    assert omitted[""] == "there are more than 1 places that could not be looked at"


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
