"""What the user wants, fully resolved: defaults applied, references followed, paths absolute, values interpolated.

Made by `resolve`, read by `planning` and by the drivers. Also what a sandbox's record remembers as applied.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.model.policy import NO_POLICY, Policy
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId

Mode = Literal["ro", "rw"]
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


@dataclass(frozen=True, slots=True)
class DesiredSandbox:
    """One sandbox as the file asks for it. `env` is sorted by name. The first workspace is the working directory.

    `docker`: its template asks for a private Docker daemon.
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

    @property
    def workdir(self) -> str:
        """Where commands start: the first workspace, else the user's home."""
        if self.workspaces:
            return self.workspaces[0].target
        return "/root" if self.user == "root" else f"/home/{self.user}"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything one project asks for. `source` is the absolute path of its file.

    Sandboxes and templates are sorted by name; `templates` are all of the file and the built-in ones in use.
    """

    project: str
    source: str
    sandboxes: tuple[DesiredSandbox, ...] = ()
    templates: tuple[DesiredTemplate, ...] = ()
