"""Which files act, and which part of them."""

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.host.review_rules import WHY, kind_of, kind_of_sum, kind_of_tree


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/.envrc", "environment"),
        ("/.pre-commit-config.yaml", "commit hook"),
        ("/.lefthook-local.yml", "commit hook"),
        (".vscode/tasks.json", "editor"),
        ("/shop.code-workspace", "editor"),
        (".claude/settings.local.json", "agent"),
        ("/.mcp.json", "agent"),
        ("web/package.json", "package manager"),
        ("web/Makefile", "build"),
        (".cargo/config.toml", "build"),
        ("tests/conftest.py", "tests"),
        ("/sandbox.yaml", "sandbox"),
        ("src/main.py", None),
        ("src/settings.json", None),
        ("/tasks.json", None),
        (".github/CODEOWNERS", None),
    ],
)
def test_a_file_counts_by_its_name_and_its_directory(place, kind):
    assert kind_of(*place.split("/")) == kind


@pytest.mark.parametrize(
    ("above", "name", "kind"),
    [
        ("", ".husky", "commit hook"),
        ("repo", ".devcontainer", "container"),
        (".github", "workflows", "pipeline"),
        ("src", "workflows", None),
        (".idea", "runConfigurations", "editor"),
    ],
)
def test_of_some_directories_every_file_counts(above, name, kind):
    assert kind_of_tree(above, name) == kind


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


def test_the_last_place_of_hooks_counts():
    assert hooks_path(git_settings(b'[core]\nhooksPath = a\nhookspath = "b c"\n')) == "b c"
    assert hooks_path(git_settings(b"[core]\nhooksPath\n")) is None
    assert hooks_path({}) is None


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
    hooks_path(git_settings(content))
    parts_of("package manager", "package.json", content)


def test_every_kind_says_why():
    assert all(why and why[0].islower() for why in WHY.values())
