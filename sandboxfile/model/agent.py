"""What sandboxfile knows about an agent and about a service that agents use, as data. Read from `agents/*.toml`."""

from dataclasses import dataclass, field

from sandboxfile.model.credential import Injection


@dataclass(frozen=True, slots=True)
class Service:
    """Who wants a credential: `anthropic`, `openai`, `github`.

    `variables` are where a host's users keep it, the first one set counts; inside, each of them holds `placeholder`,
    which looks like a key of the service to whoever checks. `injections` are where it goes.
    """

    name: str
    title: str
    variables: tuple[str, ...]
    injections: tuple[Injection, ...]
    placeholder: str


@dataclass(frozen=True, slots=True)
class AgentFile:
    """A file in the agent's home that is written when there is none: settings for running unattended.

    `path` is relative to the home. In `content`, `{workdir}`, `{workdir_json}` (a JSON string) and `{placeholder}`
    are replaced.
    """

    path: str
    content: str
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent. `name` is that of its built-in template as well.

    `hosts` are patterns of policies that it needs besides its services' (login, models, telemetry left out);
    `services` what credentials it can use, `variables` those of their variables that it looks at, where it does not
    look at all of them; `arguments` make it run unattended; `environment` is for its sandbox.
    `verified` says how this definition was checked.
    """

    name: str
    title: str
    binary: str
    services: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    files: tuple[AgentFile, ...] = ()
    verified: str = field(default="", compare=False)
