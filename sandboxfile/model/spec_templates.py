"""The language of templates, as strict models; part of `model.spec`.

Paths are text here: `resolve` makes them absolute and knows what stands there. That `build` excludes `base`, and that
names exist, is checked by `language.references`, which knows their places.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from sandboxfile.model.packages import AptPackage, NpmPackage, PipPackage
from sandboxfile.model.references import check_base, host_path
from sandboxfile.model.spec_policies import AnyPolicy
from sandboxfile.model.strict import Strict
from sandboxfile.model.values import FORMS, LIST, MAP, TEXT, Command, Env, User, Word, problem, shell, without_control

MODE_PATTERN = r"0?[0-7]{3}"
_MODE = re.compile(rf"{MODE_PATTERN}\Z")
_SPECIAL_MODE = re.compile(r"0?[1-7][0-7]{3}\Z")
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# A disk image keeps none of what lies there: the kernel and our own init mount over it.
_VOLATILE = ("/dev", "/proc", "/run", "/sys")


def _file(text: str) -> str:
    return host_path(text, "Invalid file")


def _context(text: str) -> str:
    return host_path(text, "Invalid build context")


def _target(text: str) -> str:
    parts = text.split("/")
    if not text.startswith("/") or text.startswith("//") or ".." in parts or parts[-1] in ("", "."):
        hint = "write where the file is to be, e.g. /etc/gitconfig"
        raise problem("Invalid target", f"The target `{text}` is not the absolute path of a file.", hint)
    path = "/" + "/".join(part for part in parts if part not in ("", "."))
    if any(path == top or path.startswith(f"{top}/") for top in _VOLATILE):
        raise problem("Unsafe target", f"The target `{text}` is in no image: what lies there is made at each start.")
    return without_control("A target")(path)


def _as_written(value: Any) -> Any:
    """0644 without quotes is a number to YAML, and to whoever wrote it a mode."""
    return getattr(value, "text", value) if isinstance(value, int) and not isinstance(value, bool) else value


def _mode(text: str) -> str:
    if _SPECIAL_MODE.match(text):
        detail = f"`{text}` has bits beyond read, write and execute (setuid, setgid, sticky)."
        raise problem("Invalid mode", detail, "write three octal digits; a command in `run` can set others")
    if not _MODE.match(text):
        raise problem("Invalid mode", f"`{text}` is not a file mode.", 'write it in octal, e.g. "0644" or "0755"')
    return text.zfill(4)


def _dockerfile(text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith(("/", "~")) or ".." in parts or not parts:
        detail = f"`{text}` is not a path inside the build context."
        raise problem("Invalid path", detail, "write it relative to `context`")
    return without_control("A path")("/".join(parts))


def _stage(text: str) -> str:
    if not _STAGE.match(text):
        raise problem("Invalid build target", f"`{text}` cannot be the name of a stage of a Dockerfile.")
    return text


class Build(Strict):
    """An image made from a Dockerfile, by this host's buildah, podman or docker."""

    context: Annotated[str, AfterValidator(_context)] = Field(
        description="Directory that the build sees: absolute, relative to this file, or beginning with `~/`."
        " `.dockerignore` counts; symlinks are not followed."
    )
    dockerfile: Annotated[str, AfterValidator(_dockerfile)] = Field(
        default="Dockerfile", description="The Dockerfile, relative to `context`; default: `Dockerfile`."
    )
    args: Env = Field(
        default_factory=dict,
        description="Build arguments: a map, or a list of NAME=VALUE. Without a value: taken from the environment of"
        " `sbx`. They are no place for secrets: an image tells them.",
    )
    target: Annotated[str, AfterValidator(_stage)] = Field(
        default="", description="The stage of the Dockerfile to build; default: the last one."
    )


class Packages(Strict):
    """Packages installed into a template, by package manager."""

    apt: tuple[AptPackage, ...] = Field(default=(), description="Debian packages: NAME or NAME=VERSION.")
    npm: tuple[NpmPackage, ...] = Field(
        default=(), description="npm packages, installed globally: NAME, @SCOPE/NAME, NAME@VERSION."
    )
    pip: tuple[PipPackage, ...] = Field(
        default=(), description="Python packages: NAME, NAME[EXTRA], NAME==VERSION and other conditions."
    )


class PlacedFileSpec(Strict):
    """A file of this host that becomes part of the image."""

    source: Annotated[str, AfterValidator(_file)] = Field(
        description="File on the host: absolute, relative to this file, or beginning with `~/`; at most 64 MiB."
    )
    target: Annotated[str, AfterValidator(_target)] = Field(description="Absolute path of the file in the image.")
    mode: Annotated[
        str,
        AfterValidator(_mode),
        BeforeValidator(_as_written),
        WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{MODE_PATTERN}$"}, {"type": "integer"}]}),
    ] = Field(default="0644", description="Permissions in octal; default 0644. The file belongs to root.")


class RunSpec(Strict):
    """A command that is part of making an image."""

    command: Command = Field(description="A string for the shell, or an argument list.")
    user: User = Field(default="root", description="Who runs it; default `root`.")


def _run(command: tuple[str, ...]) -> RunSpec:
    return RunSpec.model_construct(_fields_set={"command"}, command=command)


def _words(items: tuple[str, ...]) -> RunSpec:
    if not items or not items[0]:
        raise problem("Empty command", "A command needs at least a program.", "remove it, or say what is to be run")
    return _run(items)


if TYPE_CHECKING:
    AnyBuild = Build | None
    AnyRun = RunSpec
else:
    AnyBuild = Annotated[
        Annotated[
            str,
            AfterValidator(lambda text: Build.model_construct(_fields_set={"context"}, context=_context(text))),
            TEXT,
        ]
        | Annotated[Build, MAP],
        FORMS,
    ]
    AnyRun = Annotated[
        Annotated[Word, AfterValidator(lambda text: _run(shell(text))), TEXT]
        | Annotated[tuple[Word, ...], AfterValidator(_words), LIST]
        | Annotated[RunSpec, MAP],
        FORMS,
    ]


class Template(Strict):
    """What a sandbox's disk is made from: a base, then packages, files and commands, in this order."""

    base: Annotated[str, AfterValidator(check_base)] = Field(
        default="shell",
        description="Another template, `debian:SUITE`, `ubuntu:SUITE`, `oci:REFERENCE` (a registry's image),"
        " `docker:IMAGE` (an image of this host's docker or podman), `tar:PATH` (a root file system) or `saved:TAG`;"
        " default: the built-in `shell`.",
    )
    build: AnyBuild = Field(
        default=None, description="In place of `base`: a Dockerfile's directory, or a map that says more."
    )
    packages: Packages = Field(default_factory=Packages, description="Packages to install, besides the base's.")
    files: tuple[PlacedFileSpec, ...] = Field(default=(), description="Files of this host to put into the image.")
    run: tuple[AnyRun, ...] = Field(
        default=(),
        description="Commands run inside while the image is made, behind `policy`: a string for the shell, an argument"
        " list, or a map with `command` and `user`. As root unless it says otherwise.",
    )
    env: Env = Field(
        default_factory=dict,
        description="Environment variables of its build and of every sandbox made from it. Without a value: taken from"
        " the environment of `sbx`, for sandboxes only: what is built does not depend on who builds it.",
    )
    user: User = Field(default="agent", description="Who runs commands inside; default `agent`, who may use sudo.")
    docker: bool = Field(
        default=False,
        description="A private Docker daemon, up when the sandbox is ready. Debian and Ubuntu get its packages; an"
        " image from elsewhere must have dockerd itself.",
    )
    policy: AnyPolicy = Field(
        default="",
        description="What its build may reach: the name of a policy, or the policy itself. Default: that of its base,"
        " else the registries that this host's npm, pip and apt are configured for, as far as it uses them.",
    )
