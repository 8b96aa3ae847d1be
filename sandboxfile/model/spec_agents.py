"""What the language says of who works in a sandbox: the agent, and the identity its commits have."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from sandboxfile.model.strict import Strict
from sandboxfile.model.values import FORMS, MAP, TEXT, problem, without_control

OF_THE_HOST = "host"
# As `agents.AGENTS`, which a test compares: models know no data files.
if TYPE_CHECKING:
    AgentName = str
else:
    AgentName = Literal["claude", "codex", "copilot", "docker-agent", "gemini", "kiro", "opencode", "shell"]


def _identity(text: str) -> str:
    if not text.strip() or any(character in text for character in "<>"):
        raise problem("Invalid identity", f"`{text}` cannot be a name or an address in a commit.")
    return without_control("An identity")(text)


class GitSpec(Strict):
    """Who commits are by."""

    name: Annotated[str, AfterValidator(_identity)] = Field(description="The name, as in `user.name`.")
    email: Annotated[str, AfterValidator(_identity)] = Field(description="The address, as in `user.email`.")


def _host(text: str) -> str:
    if text != OF_THE_HOST:
        raise problem("Invalid identity", f"`{text}` is no identity.", "write `host`, or {name: NAME, email: ADDRESS}")
    return text


# `host`, or the identity itself. Empty: not given.
if TYPE_CHECKING:
    AnyGit = str | GitSpec
else:
    AnyGit = Annotated[
        Annotated[str, AfterValidator(_host), WithJsonSchema({"type": "string", "const": OF_THE_HOST}), TEXT]
        | Annotated[GitSpec, MAP],
        FORMS,
    ]
