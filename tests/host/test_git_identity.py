"""Who commits are by on this host. Against the real git."""

import os
import shutil
import subprocess

import pytest

from sandboxfile.host.git_identity import git_config, git_identity

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def environ(tmp_path):
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def configured(home, text):
    (home / ".gitconfig").write_text(text)


def test_name_and_address_of_the_users_configuration(tmp_path, environ):
    assert git_identity(tmp_path, environ) is None
    configured(tmp_path, "[user]\nname = Ada Löwe\n")
    assert git_identity(tmp_path, environ) is None
    configured(tmp_path, "[user]\nname = Ada Löwe\nemail = ada@example.com\n")
    assert git_identity(tmp_path, environ) == ("Ada Löwe", "ada@example.com")


def test_included_files_count(tmp_path, environ):
    (tmp_path / "who").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    configured(tmp_path, "[include]\npath = who\n")
    assert git_identity(tmp_path, environ) == ("Ada", "ada@example.com")


def test_every_file_that_says_who_is_told_and_those_that_may_begin_to(tmp_path, environ):
    own = {f"{tmp_path}/.gitconfig", f"{tmp_path}/.config/git/config"}
    empty = git_config(tmp_path, environ)
    assert ({file.path for file in empty.files}, {file.digest for file in empty.files}) == (own, {""})
    configured(tmp_path, '[include]\npath = who\npath = ~/later\n[includeIf "gitdir:/x"]\npath = /there/x\n')
    (tmp_path / "who").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    before = told(tmp_path, environ)
    assert before.keys() == {*own, f"{tmp_path}/who", f"{tmp_path}/later", "/there/x"}
    assert {path for path, digest in before.items() if digest} == {f"{tmp_path}/.gitconfig", f"{tmp_path}/who"}
    (tmp_path / "who").write_text("[user]\nname = Ada\nemail = ada@example.com\n[alias]\nco = checkout\n")
    assert told(tmp_path, environ) == before
    (tmp_path / "later").write_text("[user]\nemail = eve@example.com\n")
    assert git_identity(tmp_path, environ) == ("Ada", "eve@example.com")
    assert {path for path, digest in told(tmp_path, environ).items() if before[path] != digest} == {f"{tmp_path}/later"}


def test_the_file_that_the_environment_names_is_the_one(tmp_path, environ):
    (tmp_path / "mine").write_text("[user]\nname = Ada\nemail = ada@example.com\n")
    given = {**environ, "GIT_CONFIG_GLOBAL": f"{tmp_path}/mine"}
    assert git_identity(tmp_path, given) == ("Ada", "ada@example.com")
    assert told(tmp_path, given).keys() == {f"{tmp_path}/mine"}


def told(home, environ):
    return {file.path: file.digest for file in git_config(home, environ).files}


def test_the_configuration_of_a_repository_does_not_count(tmp_path, environ):
    configured(tmp_path, "[user]\nname = Ada\nemail = ada@example.com\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=environ)
    subprocess.run(["git", "-C", str(tmp_path), "config", "user.name", "Eve"], check=True, env=environ)
    assert git_identity(tmp_path, environ) == ("Ada", "ada@example.com")
    inside = {**environ, "GIT_DIR": str(tmp_path / ".git")}
    assert git_identity(tmp_path, inside) == ("Ada", "ada@example.com")


@pytest.mark.parametrize("name", ['"a\\nb"', '""', "x" * 2000, "\xff"])
def test_what_cannot_be_a_variable_is_no_identity(tmp_path, environ, name):
    (tmp_path / ".gitconfig").write_bytes(f"[user]\nname = {name}\nemail = ada@example.com\n".encode("latin-1"))
    assert git_identity(tmp_path, environ) is None


def test_without_git_there_is_none(tmp_path, environ):
    assert git_identity(tmp_path, {**environ, "PATH": str(tmp_path)}) is None
