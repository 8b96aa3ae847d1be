"""What of a file acts, and what else it names."""

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.host.review_parts import git_settings, named_by_manifest, named_by_settings, parts_of


def test_of_package_json_only_what_is_run_counts():
    content = {"name": "web", "scripts": {"build": "tsc", "test": "jest"}, "lint-staged": {"*.js": ["eslint"]}}
    parts = parts_of("package manager", "package.json", json.dumps(content).encode())
    assert set(parts) == {"scripts.build", "scripts.test", "lint-staged.*.js"}
    assert parts_of("package manager", "package.json", b"{}") == {}
    for broken in (b"not JSON", b"[" * 100_000, b'["a list"]', b"\xff"):
        assert parts_of("package manager", "package.json", broken) == {"": broken}


def test_of_a_git_configuration_everything_counts_but_what_is_harmless():
    settings = git_settings(
        b"""\
[core]
\trepositoryformatversion = 0
\tbare = false
\thooksPath = tools/hooks ; of ours
[Core] fsmonitor=tools/watch
[remote "origin"]
\turl = https://git.example.com/a.git
\tfetch = +refs/heads/*:refs/remotes/origin/*
[branch "main"]
\tremote = origin
[alias]
\tst = !sh -c 'echo'
[filter "lfs"]
\tclean = git-lfs clean
# fsmonitor = no
[user]
\temail = me@example.com
"""
    )
    assert set(settings) == {"core.hookspath", "core.fsmonitor", "remote.origin.url", "alias.st", "filter.lfs.clean"}


def test_a_setting_that_hides_behind_a_continued_line_or_is_no_setting_counts():
    assert "user.fsmonitor" in git_settings(b"[user]\nname = a # \\\nfsmonitor = x\n")
    assert git_settings(b"[user]\nname = a\n[core]\n= odd\n") == {"core.?": b"= odd\n"}
    assert git_settings(b"[core]\rfsmonitor = x") == {"core.fsmonitor": b"fsmonitor = x\n"}
    assert set(git_settings(b"[core]\nfsmonitor\n[broken\nx = y\n")) == {"core.fsmonitor", "core.?", "core.x"}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"[core]\nhooksPath = a/b ; of ours", [("hooks", "a/b")]),
        (b'[core]\nhooksPath = "a # b"\nhookspath = c', [("hooks", "a # b"), ("hooks", "c")]),
        (b'[include]\npath = "tools/\\"x\\"" # more', [("settings", 'tools/"x"')]),
        (b'[includeIf "gitdir:~/a/"]\npath = x', [("settings", "x")]),
        (b"[core]\nhooksPath", []),
    ],
)
def test_directories_of_hooks_and_further_settings_are_named_as_git_reads_them(line, named):
    assert list(named_by_settings(git_settings(line))) == named


@pytest.mark.parametrize(
    "value",
    [
        "tools/x",
        "!tools/x --all",
        "sh -c 'cd . && tools/x $1'",
        "PAGER=less tools/x|cat",
        "$(git rev-parse --show-toplevel)/tools/x",
        "${HOME}/tools/x",
        '"tools/x',
        "a " * 2000 + "tools/x",
    ],
)
def test_whatever_may_be_the_name_of_a_program_is_named(value):
    named = [name.lstrip("/") for _, name in named_by_settings({"alias.a": b"a = " + value.encode()})]
    assert "tools/x" in named


def test_names_with_spaces_are_named():
    settings = git_settings(b"[core]\nfsmonitor = 'my tools/x' -v\n[pager]\nlog = my tools/y\n")
    assert {("program", "my tools/x"), ("program", "my tools/y")} <= set(named_by_settings(settings))


def test_other_programs_than_build_rs_are_named_by_cargo_toml():
    assert named_by_manifest("Cargo.toml", b'[package]\nbuild = "tools/b.rs"\n') == ["tools/b.rs"]
    assert named_by_manifest("Cargo.toml", b"package = { name = 'a', build = 'b.rs' }") == ["b.rs"]
    assert named_by_manifest("pyproject.toml", b'build = "x"') == []


def test_of_composer_json_only_what_is_run_or_fetched_counts():
    content = {"name": "a", "scripts": {"test": "phpunit"}, "repositories": [{"url": "https://example.com"}]}
    parts = parts_of("package manager", "composer.json", json.dumps(content).encode())
    assert set(parts) == {"scripts.test", "repositories"}


def test_attributes_are_no_settings():
    assert parts_of("git setting", ".gitattributes", b"* filter=x") == {"": b"* filter=x"}


@given(
    section=st.sampled_from(["core", "alias", "filter.a b", "diff.x", "credential", "gpg", "include"]),
    name=st.sampled_from(["fsmonitor", "sshCommand", "pager", "clean", "path", "helper", "program"]),
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=20),
)
def test_whatever_git_itself_writes_is_seen(section, name, value, tmp_path_factory):
    file = tmp_path_factory.mktemp("git") / "config"
    subprocess.run(["git", "config", "--file", file, f"{section}.{name}", value], check=True)
    seen = git_settings(file.read_bytes())
    assert f"{section}.{name.lower()}" in seen


@given(st.binary(max_size=200))
def test_no_content_breaks_it(content):
    git_settings(b"[core]\n" + content)
    list(named_by_settings(git_settings(b"[a]\nb = " + content)))
    named_by_manifest("Cargo.toml", content)
    parts_of("package manager", "package.json", content)
