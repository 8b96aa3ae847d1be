"""What the user wants, fully resolved: defaults applied, references followed, paths absolute, values interpolated.

Made by `resolve`, read by `planning` and by the drivers. Also what a sandbox's record remembers as applied.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.model.policy import NO_POLICY, Policy
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId

Mode = Literal["ro", "rw"]
NO_AGENT = "shell"
Restart = Literal["no", "on-failure", "always"]


@dataclass(frozen=True, slots=True)
class Command:
    """A command inside the sandbox. `argv` is never empty; a string in the file becomes `/bin/sh -c STRING`."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A host directory shown inside. `source` and `target` are absolute and normalised.

    `protect` are paths relative to `source` that stay read-only inside an `rw` workspace when they exist.
    """

    source: str
    target: str
    mode: Mode = "rw"
    protect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """`cpus` in whole processors; `memory` and `disk` in bytes."""

    cpus: int = 2
    memory: int = 2 << 30
    disk: int = 20 << 30


@dataclass(frozen=True, slots=True)
class Image:
    """The disk image that a sandbox begins with, by the digest of its recipe. `title` tells people what is in it."""

    digest: str
    title: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A TCP port of the sandbox that is reached on this host. `address` is one of this host's, a literal."""

    host: int
    guest: int
    address: str = "127.0.0.1"

    @property
    def text(self) -> str:
        """As in the file: `127.0.0.1:8080:80`, `[::1]:8080:80`."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.host}:{self.guest}"


@dataclass(frozen=True, slots=True)
class DesiredSandbox:
    """One sandbox as the file asks for it. `env` is sorted by name. The first workspace is the working directory.

    `docker`: its template asks for a private Docker daemon. `agent` is the name of a built-in one. `ports` are sorted.
    `taken`: what of this host is in `env`, in words: a variable of the environment of sbx, a file outside the project.
    """

    id: SandboxId
    template: str
    image: Image
    user: str = "agent"
    workspaces: tuple[Workspace, ...] = ()
    policy: Policy = NO_POLICY
    env: tuple[tuple[str, str], ...] = ()
    resources: Resources = field(default_factory=Resources)
    setup: tuple[Command, ...] = ()
    command: Command | None = None
    restart: Restart = "no"
    protect: bool = False
    docker: bool = False
    agent: str = NO_AGENT
    ports: tuple[Port, ...] = ()
    taken: tuple[str, ...] = field(default=(), compare=False)

    @property
    def workdir(self) -> str:
        """Where commands start: the first workspace, else the user's home."""
        if self.workspaces:
            return self.workspaces[0].target
        return "/root" if self.user == "root" else f"/home/{self.user}"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything one project asks for. `source` is the absolute path of its file, empty for what commands made.

    Sandboxes and templates are sorted by name; `templates` are all of the file and the built-in ones in use.
    """

    project: str
    source: str
    sandboxes: tuple[DesiredSandbox, ...] = ()
    templates: tuple[DesiredTemplate, ...] = ()
