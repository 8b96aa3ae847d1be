"""Who commits are by on this host. Against the real git."""

import os
import shutil
import subprocess

import pytest

from sandboxfile.host.git_identity import git_identity

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
