"""Real agents, from npm, in real sandboxes, against faithful stand-ins for their vendors' APIs on loopback.

A prompt goes out with the host's key, the streamed answer comes back, a call of the agent's own tool writes a file that
appears on the host, and the key is nowhere inside. Claude Code is at a terminal in its own template, Codex in one that
is quick to build. SBX_TEST_AGENTS=all has all five without a terminal as well: ten minutes more, in emulation.
"""

import json
import os
import signal
from dataclasses import dataclass

import pexpect
import pytest

from ..agents.standins.anthropic import Anthropic
from ..agents.standins.github import GitHub
from ..agents.standins.google import Google
from ..agents.standins.openai import OpenAI
from ..agents.standins.server import Standin, Task, publish_all, running
from .roots import CLIENTS
from .searching import found

pytestmark = pytest.mark.vm

FILE = """\
templates:
  clients: CLIENTS
  agents: {base: clients, packages: {npm: [PACKAGES]}}
defaults: {template: agents, resources: {cpus: 2, memory: 2GiB, disk: 8GiB}}
sandboxes:
"""
PACKAGES = {
    "claude": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "copilot": "@github/copilot",
    "gemini": "@google/gemini-cli",
    "opencode": "opencode-ai",
}
TRIED = tuple(PACKAGES) if os.environ.get("SBX_TEST_AGENTS") == "all" else ("codex",)
PROMPT = "Write the file that I want."
ANTHROPIC_KEY = "sk-ant-api03-the-real-key-71f0c2"


@dataclass(frozen=True)
class Case:
    """`words` ask for one prompt without a terminal; `refusal` is in what it says when its key is refused,
    where that is tried: the others take a minute for it, in emulation.
    """

    standin: type[Standin]
    variable: str
    key: str
    words: tuple[str, ...]
    refusal: str = ""


CASES = {
    "claude": Case(Anthropic, "ANTHROPIC_API_KEY", ANTHROPIC_KEY, ("-p", PROMPT), "Invalid API key"),
    "codex": Case(
        OpenAI, "OPENAI_API_KEY", "sk-proj-the-real-key-9d3e57", ("exec", "--skip-git-repo-check", PROMPT), "401"
    ),
    "copilot": Case(GitHub, "GH_TOKEN", "github_pat_the_real_token_52b8aa", ("-p", PROMPT)),
    "gemini": Case(Google, "GEMINI_API_KEY", "AIzaSyTheRealKey-c19b40", ("-p", PROMPT)),
    "opencode": Case(Anthropic, "ANTHROPIC_API_KEY", ANTHROPIC_KEY, ("run", PROMPT)),
}


@pytest.fixture(scope="module")
def project(module_sbx):
    """A file with a sandbox for each agent, each with a workspace of its own."""
    lines = [f"  {agent}: {{agent: {agent}, workspaces: [./{agent}]}}\n" for agent in TRIED]
    for agent in TRIED:
        (module_sbx.project / agent).mkdir()
    packages = ", ".join(f'"{PACKAGES[agent]}"' for agent in TRIED)
    module_sbx.write(FILE.replace("CLIENTS", CLIENTS).replace("PACKAGES", packages) + "".join(lines))
    return module_sbx


@pytest.fixture
def standin(request, project, tmp_path, origin_authority):
    """The stand-in of the agent's vendor, which names lead to."""
    case = CASES[request.param]
    task = Task(file="made.txt", content=f"made by {request.param}\n", marker=f"done-{request.param}")
    with running(case.standin(tmp_path, origin_authority, key=case.key, task=task)) as server:
        publish_all(project.home / ".config/sandboxfile", server)
        yield server


@pytest.mark.parametrize(("agent", "standin"), [(agent, agent) for agent in TRIED], indirect=["standin"])
def test_an_agent_works_with_a_key_that_it_never_sees(project, agent, standin):
    case = CASES[agent]
    project.variables = {case.variable: case.key}
    project("up", "--yes", agent)
    try:
        result = project("run", agent, "--", *case.words, any_code=True)
        assert result.code == 0, result
        assert f"done-{agent}" in result.stdout
        assert (project.project / agent / "made.txt").read_text() == f"made by {agent}\n"
        answered = [request for request in standin.requests if request.keys]
        assert answered, standin.requests
        assert found(project, case.key) == []
        line = json.loads(project("network", "log", agent, "--format", "json").stdout.splitlines()[0])
        assert line["sandbox"].endswith(agent)
        if not case.refusal:
            return
        # The same with a key that the vendor does not know: what it says is what the user reads.
        project.variables = {case.variable: case.key[:-6] + "000000"}
        project("up", "--yes", agent)
        before = len(standin.requests)
        refused = project("run", agent, "--", *case.words, any_code=True, timeout=300)
        assert len(standin.requests) > before
        assert not any(request.keys for request in standin.requests[before:])
        assert f"done-{agent}" not in refused.stdout
        assert case.refusal in refused.stdout + refused.stderr, refused
    finally:
        project.variables = {case.variable: case.key}
        project("down", "--yes")


def test_the_quick_start_with_a_terminal_that_comes_and_goes(sbx, tmp_path, origin_authority):
    """`sbx run claude` from nothing: its own template, no question before the prompt, and back to it."""
    case = CASES["claude"]
    task = Task(file="made.txt", content="made at a terminal\n", marker="done-at-a-terminal")
    with running(case.standin(tmp_path, origin_authority, key=case.key, task=task)) as standin:
        publish_all(sbx.home / ".config/sandboxfile", standin)
        sbx.variables = {case.variable: case.key}
        terminal = at_terminal(sbx, "run", "claude")
        terminal.expect("bypass permissions", timeout=900)  # it waits for a prompt
        terminal.send(PROMPT)
        terminal.send("\r")
        sbx.wait_for(lambda: (sbx.project / task.file).exists(), timeout=180)
        terminal.expect(task.marker, timeout=120)
        terminal.send("\x10\x11")
        terminal.expect("its agent goes on", timeout=60)
        terminal.expect(pexpect.EOF)
        assert terminal.wait() == 0
        assert (sbx.project / task.file).read_text() == task.content

        again = at_terminal(sbx, "run", "claude")
        again.expect(task.marker, timeout=60)
        os.kill(again.pid, signal.SIGKILL)
        again.wait()
        (shown,) = json.loads(sbx("ls", "--format", "json").stdout)
        assert (shown["id"], shown["agent"], shown["managed"]) == ("claude-project", "claude", False)
        assert found(sbx, case.key) == []

        last = at_terminal(sbx, "run", "claude-project")
        last.expect(task.marker, timeout=60)
        for keys in ("/exit", "\r"):
            last.send(keys)
        last.expect(pexpect.EOF, timeout=120)
        assert last.wait() == 0
        sbx("rm", "-y", "claude-project")


def at_terminal(sbx, *words):
    """A command at a terminal of its own."""
    options = {"cwd": str(sbx.project), "env": {**sbx.environment, "TERM": "xterm-256color"}, "encoding": "utf-8"}
    return pexpect.spawn(sbx.argv[0], [*sbx.argv[1:], *words], dimensions=(40, 120), timeout=60, **options)
