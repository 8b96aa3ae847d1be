"""An agent's settings and binary, looked after by the script that runs inside: here with this host's programs."""

import json
import os
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sandboxfile.agents import AGENTS, find_agent, find_service
from sandboxfile.agents.command import agent_command
from sandboxfile.errors import GuestError
from sandboxfile.guest.channel import Ended, Guest
from sandboxfile.model.agent import Agent, AgentFile
from sandboxfile.model.desired import DesiredSandbox, Image, Workspace
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.agent import prepare_agent

pytestmark = pytest.mark.anyio
SPEC = DesiredSandbox(
    SandboxId("p", "box"), "claude", Image("d" * 64), workspaces=(Workspace("/src", '/a "b"'),), agent="claude"
)
SERVICE = find_service("anthropic")
FILES = (
    AgentFile(".agent/settings.json", '{"{workdir_json}": {workdir_json}, "key": "{placeholder}", "{x}": {{}}}'),
    AgentFile("with space/of {workdir}", "plain\n", 0o644),
    AgentFile(".empty", ""),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Home:
    """A guest whose only user's home is a directory here."""

    def __init__(self, home: Path) -> None:
        self.home = home / "home"
        self.programs = home / "bin"
        self.home.mkdir()
        self.programs.mkdir()
        self.program("claude")
        self.asked = 0

    def program(self, name: str, text: str = "") -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{text}")
        (self.programs / name).chmod(0o755)

    async def run(self, argv: Sequence[str], *, user: str, env: Sequence[tuple[str, str]], **_: Any) -> Ended:
        self.asked += 1
        assert user == "agent"
        path = f"{self.programs}:{os.environ['PATH']}"
        words = [word.replace("PATH=/run/sbx/bin", f"PATH={path}") for word in argv]
        done = subprocess.run(  # noqa: ASYNC221 - nothing else waits
            words,
            env={**dict(env), "HOME": str(self.home), "PATH": path},
            capture_output=True,
            check=False,
        )
        return Ended(done.returncode, (done.stdout + done.stderr).decode())

    async def prepare(self, spec: DesiredSandbox = SPEC) -> None:
        await prepare_agent(cast(Guest, self), spec)

    def read(self, path: str) -> str:
        return (self.home / path).read_text()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> tuple[AgentFile, ...]:
    """Claude with files of this test."""
    agent = Agent("claude", "Claude", "claude", services=("anthropic",), files=FILES)
    monkeypatch.setattr("sandboxfile.agents.find_agent", lambda _: agent)
    return FILES


async def test_settings_are_written_with_their_words_replaced(home: Home, files: object) -> None:
    await home.prepare()
    quoted = json.dumps(SPEC.workdir)
    assert (
        home.read(".agent/settings.json")
        == f'{{"{quoted}": {quoted}, "key": "{SERVICE.placeholder}", "{{x}}": {{{{}}}}}}'
    )
    assert home.read("with space/of {workdir}") == "plain\n"
    assert home.read(".empty") == ""
    assert stat.S_IMODE((home.home / ".agent/settings.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((home.home / "with space/of {workdir}").stat().st_mode) == 0o644
    assert stat.S_IMODE((home.home / ".agent").stat().st_mode) == 0o700
    assert not list(home.home.rglob(".sbx-*"))
    assert home.asked == 1


async def test_the_placeholder_is_the_one_that_the_sandboxs_variable_has(home: Home, files: object) -> None:
    policy = replace(NO_POLICY, settings=((SERVICE.variables[0], "another"),))
    await home.prepare(replace(SPEC, policy=policy))
    assert '"key": "another"' in home.read(".agent/settings.json")


async def test_what_is_there_already_stays(home: Home, files: object) -> None:
    (home.home / ".agent").mkdir()
    (home.home / ".agent/settings.json").write_text("mine")
    (home.home / ".empty").symlink_to("nowhere")
    await home.prepare()
    await home.prepare()
    assert home.read(".agent/settings.json") == "mine"
    assert (home.home / ".empty").is_symlink()
    assert not (home.home / "nowhere").exists()


async def test_nothing_is_written_into_a_workspace(home: Home, files: object, tmp_path: Path) -> None:
    """A directory of the host that is mounted in the home, or that a link there leads to."""
    (tmp_path / "shared").mkdir()
    (home.home / ".agent").symlink_to(tmp_path / "shared")
    home.program("stat", 'case $(readlink -f "$4") in */shared) echo 65735546 ;; *) echo ef53 ;; esac')
    await home.prepare()
    assert list((tmp_path / "shared").iterdir()) == []
    assert home.read(".empty") == ""


async def test_when_it_cannot_be_told_whether_it_is_a_workspace_nothing_is_written(home: Home, files: object) -> None:
    home.program("stat", "exit 1")
    with pytest.raises(GuestError, match="settings of Claude cannot be written"):
        await home.prepare()
    assert list(home.home.iterdir()) == []


async def test_settings_that_cannot_be_written_are_an_error_with_its_reason(home: Home, files: object) -> None:
    (home.home / ".agent").write_text("a file")
    with pytest.raises(GuestError, match="settings of Claude cannot be written") as failure:
        await home.prepare()
    assert "File exists" in failure.value.output


async def test_a_missing_binary_is_said_word_for_word(home: Home) -> None:
    (home.programs / "claude").unlink()
    with pytest.raises(GuestError) as failure:
        await home.prepare()
    assert str(failure.value) == ('agent binary "claude" not found in sandbox: verify this is the correct sandbox type')
    assert list(home.home.iterdir()) == []


async def test_without_an_agent_nobody_is_asked(home: Home) -> None:
    await home.prepare(replace(SPEC, agent="shell"))
    assert home.asked == 0


@pytest.mark.parametrize("name", [name for name in AGENTS if name != "shell"])
async def test_the_settings_of_every_agent_can_be_written(home: Home, name: str) -> None:
    agent = find_agent(name)
    home.program(agent.binary)
    await home.prepare(replace(SPEC, agent=name, workspaces=(Workspace("/src", "/src"),)))
    for file in agent.files:
        text = home.read(file.path)
        assert not {word for word in ("{workdir}", "{workdir_json}", "{placeholder}") if word in text}
        if file.path.endswith(".json"):
            json.loads(text)


def test_an_agents_command_ends_with_the_users_arguments() -> None:
    agent = find_agent("claude")
    assert agent_command("claude", ("-p", "x")) == ("claude", *agent.arguments, "-p", "x")


def test_a_shell_is_the_users_login_shell_and_takes_arguments() -> None:
    command = agent_command("shell", ("-c", 'echo "$0:$1"', "a", "b c"))
    done = subprocess.run(command, env={"SHELL": "/bin/sh"}, capture_output=True, text=True, check=True)
    assert done.stdout == "a:b c\n"
