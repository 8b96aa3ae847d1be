"""The language: what sandbox.yaml may say, as strict models. Field descriptions feed the JSON Schema and the editors.

A model checks what a value can be by itself; references between objects are checked by `language.validate`, paths
and targets by `resolve`. Short forms are brought to one form here (`./src:ro` and `{source: ./src, mode: ro}` are
the same `Workspace`), so nobody below knows two. Fields that start with `x-` are ignored at every level, except
under `templates`, `policies`, `secrets`, `sandboxes` and `env`, whose keys are the user's own names (as in Compose).
An empty string, tuple or map that a field defaults to means "not given"; `model_fields_set` tells what was given.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from sandboxfile.model.references import DEBIAN_SUITES, UBUNTU_SUITES
from sandboxfile.model.spec_agents import AgentName, AnyGit, GitSpec
from sandboxfile.model.spec_life import (
    SCALE_LIMIT,
    AnyMount,
    DependencySpec,
    DependsOn,
    HealthcheckSpec,
    IdleTime,
    MountSpec,
    Profile,
    VolumeSpec,
)
from sandboxfile.model.spec_policies import (
    EXTENDS_LIMIT,
    AnyPolicy,
    Policies,
    PolicyFile,
    PolicySpec,
    RuleSpec,
    TestsSpec,
)
from sandboxfile.model.spec_ports import AnyPort, PortSpec
from sandboxfile.model.spec_secrets import InjectSpec, Secret
from sandboxfile.model.spec_templates import Build, Packages, PlacedFileSpec, RunSpec, Template
from sandboxfile.model.strict import Path, Strict, WholeFile
from sandboxfile.model.values import (
    FORMS,
    GIB,
    LIST,
    MAP,
    TEXT,
    Command,
    DiskSize,
    Env,
    Memory,
    Name,
    Processors,
    problem,
    without_control,
)

__all__ = [
    "DEBIAN_SUITES",
    "EXTENDS_LIMIT",
    "MODES",
    "SCALE_LIMIT",
    "UBUNTU_SUITES",
    "Build",
    "DependencySpec",
    "GitSpec",
    "HealthcheckSpec",
    "InjectSpec",
    "MountSpec",
    "Packages",
    "Path",
    "PlacedFileSpec",
    "PolicyFile",
    "PolicySpec",
    "PortSpec",
    "Resources",
    "RuleSpec",
    "RunSpec",
    "Sandbox",
    "SandboxFile",
    "Secret",
    "Strict",
    "Template",
    "TestsSpec",
    "VolumeSpec",
    "Workspace",
    "used_policies",
    "written_policies",
]

MODES = ("ro", "rw")


def _source(text: str) -> str:
    if not text:
        raise problem("Invalid workspace", "The path is empty.", "write `.` for the directory of this file")
    if text.startswith("~") and text != "~" and not text.startswith("~/"):
        raise problem("Invalid workspace", f"`{text}`: another user's home cannot be named.", "write the path in full")
    return without_control("A path")(text)


def _target(text: str) -> str:
    if not text.startswith("/") or text.startswith("//"):
        hint = "write an absolute path, e.g. /workspace, or `ro` or `rw` for the mode"
        raise problem("Invalid target", f"The target `{text}` is not an absolute path.", hint)
    if ".." in text.split("/"):
        raise problem("Invalid target", f"The target `{text}` contains `..`.", "write the path without it")
    return without_control("A target")(text)


def _inside(text: str) -> str:
    parts = text.split("/")
    if not text or text.startswith(("/", "~")) or ".." in parts or not any(part not in ("", ".") for part in parts):
        raise problem(
            "Invalid path",
            f"`{text}` is not a path inside the workspace.",
            "write it relative to the workspace's source",
        )
    return without_control("A path")("/".join(part for part in parts if part not in ("", ".")))


class Workspace(Strict):
    """A directory of the host, shown inside."""

    source: Annotated[str, AfterValidator(_source)] = Field(
        description="Directory on the host: absolute, relative to this file, or beginning with `~/`."
    )
    target: Annotated[str, AfterValidator(_target)] = Field(
        default="", description="Absolute path inside; default: the same absolute path as on the host."
    )
    mode: Literal["ro", "rw"] = Field(
        default="rw", description="`ro` is enforced on the host: root inside cannot undo it."
    )
    protect: tuple[Annotated[str, AfterValidator(_inside)], ...] = Field(
        default=(),
        description="Paths inside an `rw` workspace that stay read-only, besides .git/hooks, .git/config and every"
        " loaded sandbox file.",
    )


def _short_workspace(text: str) -> Workspace:
    """Read `PATH[:TARGET][:ro|rw]`."""
    source, *rest = text.split(":")
    mode = rest.pop() if rest and rest[-1] in MODES else "rw"
    if len(rest) > 1 or (rest and not rest[0].startswith("/")):
        detail = f"`{rest[-1]}` is neither a mode (ro, rw) nor an absolute path inside."
        raise problem("Invalid workspace", detail, "the form is PATH[:TARGET][:ro|rw]")
    fields = {"source": _source(source), "mode": mode}
    if rest:
        fields["target"] = _target(rest[0])
    return Workspace.model_construct(_fields_set=set(fields), **fields)


if TYPE_CHECKING:
    AnyWorkspace = Workspace
else:
    AnyWorkspace = Annotated[Annotated[str, AfterValidator(_short_workspace), TEXT] | Annotated[Workspace, MAP], FORMS]


class Resources(Strict):
    """What a sandbox gets of the host. Sizes are Compose byte values: 512MiB, 2GiB, 2g; all units are binary."""

    cpus: Processors = Field(default=2, description="Processors; default 2.")
    memory: Memory = Field(default=2 * GIB, description="Memory; default 2GiB.")
    disk: DiskSize = Field(
        default=20 * GIB, description="Size of the sandbox's own disk; it occupies what is used. Default 20GiB."
    )


EnvFile = Annotated[str, AfterValidator(_source)]
if TYPE_CHECKING:
    EnvFiles = tuple[str, ...]
else:
    EnvFiles = Annotated[
        Annotated[EnvFile, AfterValidator(lambda path: (path,)), TEXT] | Annotated[tuple[EnvFile, ...], LIST], FORMS
    ]


class ExtendsSpec(Strict):
    """A sandbox of another file."""

    file: Annotated[str, AfterValidator(_source)] = Field(default="", description="The file; default: this one.")
    sandbox: Name = Field(description="Name of the sandbox.")


if TYPE_CHECKING:
    AnyExtends = str | ExtendsSpec
else:
    AnyExtends = Annotated[Annotated[Name, TEXT] | Annotated[ExtendsSpec, MAP], FORMS]


class Sandbox(Strict):
    """One sandbox, or what lies beneath every sandbox (`defaults`)."""

    extends: AnyExtends = Field(
        default="",
        description="A sandbox that this one is merged upon: a name, or {file: FILE, sandbox: NAME}.",
    )
    agent: AgentName = Field(
        default="", description="Who works in it: brings its template, hosts, settings and credentials. Default: shell."
    )
    template: str = Field(
        default="", description="Name of a template; default: that of the agent, else the built-in `shell`."
    )
    workspaces: tuple[AnyWorkspace, ...] = Field(
        default=(),
        description="Directories of the host: PATH[:TARGET][:ro|rw], or a map. The first one is the working directory.",
    )
    volumes: tuple[AnyMount, ...] = Field(
        default=(), description="Disks that stay when the sandbox is deleted: VOLUME:TARGET, or a map."
    )
    env: Env = Field(
        default_factory=dict,
        description="Environment variables: a map, or a list of NAME=VALUE. Without a value: taken from the"
        " environment of `sbx`. Over `env_file`.",
    )
    env_file: EnvFiles = Field(default=(), description="Files of NAME=VALUE lines, later ones over earlier ones.")
    policy: AnyPolicy = Field(
        default="",
        description="What it may reach: the name of a policy, or the policy itself. Default: the user's"
        " `default_policy`, else nothing.",
    )
    secrets: tuple[str, ...] = Field(
        default=(), description="Names of `secrets` that its requests carry; the values never enter it."
    )
    git: AnyGit = Field(
        default="",
        description="Who its commits are by: `host` for what git is configured for on this host, or {name, email}."
        " Default: nobody.",
    )
    ports: tuple[AnyPort, ...] = Field(
        default=(),
        description="TCP ports that are reached on this host: [ADDRESS:]HOST:GUEST, or a map. On this host alone unless"
        " there is an address.",
    )
    resources: Resources = Field(default_factory=Resources, description="Processors, memory, disk.")
    setup: tuple[Command, ...] = Field(
        default=(), description="Commands run once, when the sandbox is created, in the first workspace."
    )
    command: Command = Field(
        default=(), description="Main process: a string for the shell, or an argument list. Default: none."
    )
    healthcheck: HealthcheckSpec | None = Field(
        default=None, description="How it is found out whether it does its work; default: nothing is looked at."
    )
    depends_on: DependsOn = Field(
        default_factory=dict,
        description="Sandboxes that are started before: a list, or a map of {condition: started|healthy|completed}.",
    )
    restart: Literal["no", "on-failure", "always"] = Field(
        default="no", description="When the main process is started again."
    )
    profiles: tuple[Profile, ...] = Field(
        default=(), description="It is only there when one of these is asked for (`--profile`), or it is named."
    )
    scale: Annotated[int, Field(ge=0, le=SCALE_LIMIT)] | None = Field(
        default=None, description="So many of it: NAME-1, NAME-2, … Default: one, called NAME."
    )
    idle_stop: IdleTime | None = Field(
        default=None, description="Stop it when nothing was done in it for so long, e.g. 30m; the next use starts it."
    )
    protect: bool = Field(default=False, description="Never replace or delete this sandbox without --allow-destroy.")


class SandboxFile(WholeFile):
    """A sandbox.yaml."""

    name: Name = Field(default="", description="The project; default: the directory's name.")
    include: tuple[Annotated[str, AfterValidator(_source)], ...] = Field(
        default=(), description="Files that this one is merged upon, relative to it."
    )
    defaults: Sandbox = Field(
        default_factory=Sandbox,
        description="Beneath every sandbox: maps merge, scalars are replaced, lists are joined (workspaces by target).",
    )
    templates: dict[Name, Template] = Field(default_factory=dict, description="What disks are made from, by name.")
    policies: Policies = Field(
        default_factory=dict, description="Network policies by name; those with `enforce: true` hold every sandbox."
    )
    secrets: dict[Name, Secret] = Field(
        default_factory=dict, description="Where keys are on this host, and which requests get them, by name."
    )
    volumes: dict[Name, VolumeSpec | None] = Field(
        default_factory=dict, description="Disks that stay when sandboxes are deleted, by name."
    )
    sandboxes: dict[Name, Sandbox] = Field(description="The sandboxes of this project, by name.")


def written_policies(file: SandboxFile | PolicyFile) -> Iterator[tuple[Path, PolicySpec]]:
    """Every policy that is written in a file and where: by name, and inline."""
    for name, policy in file.policies.items():
        yield ("policies", name), policy
    if isinstance(file, SandboxFile):
        for path, used in used_policies(file):
            if isinstance(used, PolicySpec):
                yield path, used


def used_policies(file: SandboxFile) -> Iterator[tuple[Path, str | PolicySpec]]:
    """What the defaults, the sandboxes and the templates give as their policy, and where."""
    holders: list[tuple[Path, Sandbox | Template]] = [(("defaults",), file.defaults)]
    holders += ((("sandboxes", name), sandbox) for name, sandbox in file.sandboxes.items())
    holders += ((("templates", name), template) for name, template in file.templates.items())
    for path, holder in holders:
        if "policy" in holder.model_fields_set:
            yield (*path, "policy"), holder.policy
