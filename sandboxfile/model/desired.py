"""What the user wants, fully resolved: defaults applied, references followed, paths absolute, values interpolated.

Made by `resolve`, read by `planning` and by the drivers. Also what a sandbox's record remembers as applied.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.model.policy import NO_POLICY, Policy
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.names import SandboxId, VolumeId

Mode = Literal["ro", "rw"]
NO_AGENT = "shell"
DEFAULT_PROTECT = (".git/config", ".git/hooks")  # of every `rw` workspace, besides the project's own files
PLACES = 16  # for workspaces and volumes in one sandbox
Restart = Literal["no", "on-failure", "always"]
# What has to be true of a sandbox before those that depend on it are started.
Condition = Literal["started", "healthy", "completed"]


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


@dataclass(frozen=True, slots=True, order=True)
class Mount:
    """A volume of the project inside a sandbox. `target` is absolute and normalised."""

    target: str
    volume: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A disk of the project that stays when sandboxes are deleted. `size` in bytes."""

    id: VolumeId
    size: int


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """A command that says by its exit code whether a sandbox does its work. Times in seconds."""

    command: Command
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """A sandbox of the same project that comes before, by name (that of one replica, where it is scaled)."""

    name: str
    condition: Condition = "started"


@dataclass(frozen=True, slots=True)
class FromHost:
    """Variables of this host: the one called `name`, or without one all. `derived`: only what the files make of it.

    `place`: `environment` (that of sbx), `.env`, or the absolute path of a file of variables outside the project.
    """

    place: str
    name: str = ""
    derived: bool = False


@dataclass(frozen=True, slots=True)
class DesiredSandbox:
    """One sandbox as the file asks for it. `env` is sorted by name. The first workspace is the working directory.

    `docker`: its template asks for a private Docker daemon. `agent` is the name of a built-in one. `ports`, `mounts`
    and `depends_on` are sorted. `idle_stop` in seconds, 0 for never. `profiles`: it is there when one of them is asked
    for, or always. `service`: the name in the file of which this is a replica, empty when it is not scaled.
    `from_host`: what of this host it is given.
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
    mounts: tuple[Mount, ...] = ()
    healthcheck: Healthcheck | None = None
    depends_on: tuple[Dependency, ...] = ()
    idle_stop: float = 0.0
    profiles: tuple[str, ...] = field(default=(), compare=False)
    service: str = field(default="", compare=False)
    from_host: tuple[FromHost, ...] = field(default=(), compare=False)

    @property
    def workdir(self) -> str:
        """Where commands start: the first workspace, else the user's home."""
        if self.workspaces:
            return self.workspaces[0].target
        return "/root" if self.user == "root" else f"/home/{self.user}"


@dataclass(frozen=True, slots=True, order=True)
class FileContent:
    """A file that shapes sandboxes, and what was in it when it was read. `path` is absolute, `..` in it are kept.

    `digest`: `sha256:...`, of a directory that of all in it; empty when there was no such file, or nothing in it.
    """

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything one project asks for. `source` is the absolute path of its file, empty for what commands made.

    Everything is sorted by name; `templates` are all of the file and the built-in ones in use. Sandboxes of all
    profiles are in it: which of them are meant is the planner's to say (`PlanOptions.profiles`).
    `files`: all that it was read from, and where more would have been read from. `chosen`: the profiles that `.env`, or
    a file in its place, asks for; those of the environment are the caller's to know.
    """

    project: str
    source: str
    sandboxes: tuple[DesiredSandbox, ...] = ()
    templates: tuple[DesiredTemplate, ...] = ()
    volumes: tuple[Volume, ...] = ()
    files: tuple[FileContent, ...] = field(default=(), compare=False)
    chosen: tuple[str, ...] = field(default=(), compare=False)
