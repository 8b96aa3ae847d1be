"""Credentials that workspaces bring along: told of once, whatever else lies there."""

import os
from dataclasses import replace

import pytest

from sandboxfile.host.agent_files import workspace_credentials
from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.model.desired import DesiredSandbox, DesiredState, Image, Workspace
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.names import SandboxId


def found(directory, agent="claude", key=True):
    workspace = Workspace(str(directory), str(directory))
    policy = replace(NO_POLICY, credentials=(Credential("anthropic", SecretSource("env", "KEY")),) if key else ())
    spec = DesiredSandbox(
        SandboxId("shop", "web"), "shell", Image(""), workspaces=(workspace,), agent=agent, policy=policy
    )
    return list(workspace_credentials(DesiredState("shop", "", (spec,))))


def test_a_key_in_the_workspace_is_told_of_in_the_words_of_the_document(tmp_path):
    (tmp_path / ".claude.json").write_text('{"primaryApiKey": "sk-ant-1"}')
    (told,) = found(tmp_path)
    assert "the workspace's credential is ignored in favour of the sandbox's" in told.detail
    assert "sk-ant-1" not in str(told)


def test_it_is_told_of_to_claude_alone_and_where_there_is_another_credential(tmp_path):
    (tmp_path / ".claude.json").write_text('{"primaryApiKey": "sk-ant-1"}')
    assert found(tmp_path, agent="codex") == []
    assert found(tmp_path, key=False) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"primaryApiKey": ""}', "[" * 100_000, "\udcff"])
def test_anything_else_is_nothing_to_tell_of(tmp_path, text):
    (tmp_path / ".claude.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert found(tmp_path) == []


def test_what_is_no_file_of_its_own_is_not_read(tmp_path):
    (tmp_path / "elsewhere").write_text('{"primaryApiKey": "sk-ant-1"}')
    (tmp_path / ".claude.json").symlink_to("elsewhere")
    assert found(tmp_path) == []
    (tmp_path / ".claude.json").unlink()
    os.mkfifo(tmp_path / ".claude.json")
    assert found(tmp_path) == []
