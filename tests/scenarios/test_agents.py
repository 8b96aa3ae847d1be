"""Real agents, from npm, in real sandboxes, against faithful stand-ins for their vendors' APIs on loopback.

A prompt goes out with the host's key, the streamed answer comes back, a call of the agent's own tool writes a file that
appears on the host, and the key is nowhere inside. One template has all of them, so that it is built once; that an
agent's own template works is shown with Claude Code's.
"""

import json
from dataclasses import dataclass

import pytest

from ..agents.standins.anthropic import Anthropic
from ..agents.standins.github import GitHub
from ..agents.standins.google import Google
from ..agents.standins.openai import OpenAI
from ..agents.standins.server import Standin, Task, publish_all, running
from .searching import found

pytestmark = pytest.mark.vm

FILE = """\
templates:
  agents:
    base: shell
    packages:
      apt: [nodejs, npm, ripgrep]
      npm: ["@anthropic-ai/claude-code", "@github/copilot", "@google/gemini-cli", "@openai/codex", opencode-ai]
defaults: {template: agents, resources: {cpus: 2, memory: 2GiB, disk: 8GiB}}
sandboxes:
"""
PROMPT = "Write the file that I want."
ANTHROPIC_KEY = "sk-ant-api03-the-real-key-71f0c2"


@dataclass(frozen=True)
class Case:
    """`words` ask for one prompt without a terminal; `refusal` is in what it says when its key is refused."""

    standin: type[Standin]
    variable: str
    key: str
    words: tuple[str, ...]
    refusal: str = "401"


CASES = {
    "claude": Case(Anthropic, "ANTHROPIC_API_KEY", ANTHROPIC_KEY, ("-p", PROMPT), "Invalid API key"),
    "codex": Case(OpenAI, "OPENAI_API_KEY", "sk-proj-the-real-key-9d3e57", ("exec", "--skip-git-repo-check", PROMPT)),
    "copilot": Case(GitHub, "GH_TOKEN", "github_pat_the_real_token_52b8aa", ("-p", PROMPT), "Authentication failed"),
    "gemini": Case(Google, "GEMINI_API_KEY", "AIzaSyTheRealKey-c19b40", ("-p", PROMPT), "API key not valid"),
    "opencode": Case(Anthropic, "ANTHROPIC_API_KEY", ANTHROPIC_KEY, ("run", PROMPT), "invalid x-api-key"),
}


@pytest.fixture(scope="module")
def project(module_sbx):
    """A file with a sandbox for each agent, each with a workspace of its own."""
    lines = [f"  {agent}: {{agent: {agent}, workspaces: [./{agent}]}}\n" for agent in CASES]
    for agent in CASES:
        (module_sbx.project / agent).mkdir()
    module_sbx.write(FILE + "".join(lines))
    return module_sbx


@pytest.fixture
def standin(request, project, tmp_path, origin_authority):
    """The stand-in of the agent's vendor, which names lead to."""
    case = CASES[request.param]
    task = Task(file="made.txt", content=f"made by {request.param}\n", marker=f"done-{request.param}")
    with running(case.standin(tmp_path, origin_authority, key=case.key, task=task)) as server:
        publish_all(project.home / ".config/sandboxfile", server)
        yield server


@pytest.mark.parametrize(("agent", "standin"), [(agent, agent) for agent in CASES], indirect=["standin"])
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
