"""The command by which an agent is started. Pure."""

from collections.abc import Sequence

from sandboxfile.agents.reading import find_agent
from sandboxfile.model.desired import NO_AGENT

# $SHELL is what the user's line in the sandbox's passwd says.
_LOGIN_SHELL = ("/bin/sh", "-c", 'exec "${SHELL:-/bin/sh}" -l "$@"', "sh")


def agent_command(name: str, arguments: Sequence[str] = ()) -> tuple[str, ...]:
    """The argument list for one of AGENTS, the user's arguments last. Without an agent: a login shell."""
    if name == NO_AGENT:
        return (*_LOGIN_SHELL, *arguments)
    agent = find_agent(name)
    return (agent.binary, *agent.arguments, *arguments)
