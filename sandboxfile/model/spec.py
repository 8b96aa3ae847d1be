"""The language: what sandbox.yaml may say, as strict models. Field descriptions feed the JSON Schema and the editors.

A model checks what a value can be by itself; references between objects are checked by `language.validate`, paths
and targets by `resolve`. Short forms are brought to one form here (`./src:ro` and `{source: ./src, mode: ro}` are
the same `Workspace`), so nobody below knows two. Fields that start with `x-` are ignored at every level, except
under `templates`, `sandboxes` and `env`, whose keys are the user's own names (as in Compose).
An empty string, tuple or map that a field defaults to means "not given"; `model_fields_set` tells what was given.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sandboxfile.diagnostics import Span
from sandboxfile.names import NAME_LIMIT, NAME_PATTERN, is_name

Path = tuple[str | int, ...]  # a place in the file: ("sandboxes", "web", "workspaces", 0)

DEBIAN_SUITES = ("bookworm", "trixie")
MODES = ("ro", "rw")
MIB, GIB = 1 << 20, 1 << 30
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
# Compose's byte values (docker/go-units RAMInBytes): every unit is binary, `2g`, `2gb` and `2GiB` are the same.
SIZE_PATTERN = r"[0-9]+(\.[0-9]+)? ?([kKmMgGtTpP]?[iI]?[bB]?)"
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgtp]?)i?b?\Z", re.IGNORECASE | re.ASCII)
VARIABLE_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"{VARIABLE_PATTERN}\Z")
# Debian policy 5.6.7; a trailing `-` would ask apt to remove the package.
PACKAGE_PATTERN = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.]"
_PACKAGE = re.compile(rf"{PACKAGE_PATTERN}\Z")
USER_PATTERN = r"[a-z_][a-z0-9_-]{0,31}"
_USER = re.compile(rf"{USER_PATTERN}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_Text = TypeVar("_Text", bound=str)


class WrittenInt(int):
    """A whole number that remembers how it was written: `env: {MODE: 0755}` must reach the sandbox as 0755."""

    text: str


class WrittenFloat(float):
    """A number that remembers how it was written: `env: {PYTHON: 3.10}` must not become 3.1."""

    text: str


def problem(summary: str, detail: str, hint: str | None = None) -> PydanticCustomError:
    """What a validator raises: the parts of a diagnostic; the span is added by who knows the file."""
    return PydanticCustomError("problem", "{detail}", {"summary": summary, "detail": detail, "hint": hint})


# --- scalars -----------------------------------------------------------------------------------------------------


def _matching(pattern: re.Pattern[str], summary: str, what: str, rule: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.match(text):
            raise problem(summary, f"`{text}` cannot be {what}: {rule}.")
        return text

    return AfterValidator(check)


def _name(text: str) -> str:
    if not is_name(text):
        rule = f"at most {NAME_LIMIT} lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
        raise problem("Invalid name", f"`{text}` is not a name: {rule}.")
    return text


def parse_size(value: str | int) -> int | None:
    """Bytes of a Compose byte value (`2GiB`, `512MB`, `2g`, `1.5g`, 1048576), or None. All units are binary."""
    if isinstance(value, int):
        return value
    found = _SIZE.match(value)
    if found is None:
        return None
    number, unit = found.groups()
    whole, _, fraction = number.partition(".")
    scaled: int = int(whole + fraction) << _UNITS[unit.lower()]
    divisor: int = 10 ** len(fraction)
    return scaled // divisor


def _size(least: int, least_text: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise PydanticCustomError("size_type", "a size is expected")
        size = parse_size(value)
        if size is None:
            raise problem("Invalid size", f"`{value}` is not a size.", "write a number and a unit, e.g. 512MiB or 2GiB")
        if size < least:
            hint = "a number without a unit counts bytes; write e.g. 2GiB" if isinstance(value, int) else None
            raise problem("Invalid size", f"{value} is too small: the least is {least_text}.", hint)
        if size > 1 << 50:
            raise problem("Invalid size", f"{value} is too large: the most is 1PiB.")
        return size

    return BeforeValidator(check)


_SIZE_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "string", "pattern": f"^{SIZE_PATTERN}$"}, {"type": "integer", "minimum": 1}]}
)


def _clean(what: str) -> Callable[[_Text], _Text]:
    """Refuse what no path or variable can hold, and what would disfigure every message that shows it."""

    def check(text: _Text) -> _Text:
        if _CONTROL.search(text):
            raise problem("Control character", f"{what} must not contain control characters.")
        return text

    return check


def _no_nul(text: str) -> str:
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise problem(
            "Control character", "This text contains a NUL or half a character; no program can be given that."
        )
    return text


def _positive(count: int) -> int:
    if not 1 <= count <= 255:
        raise problem("Invalid number of processors", f"{count} is not between 1 and 255.")
    return count


Name = Annotated[
    str,
    AfterValidator(_name),
    WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$", "maxLength": NAME_LIMIT}),
]
Processors = Annotated[
    int, AfterValidator(_positive), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 255})
]
Memory = Annotated[int, _size(128 * MIB, "128MiB"), _SIZE_SCHEMA]
DiskSize = Annotated[int, _size(GIB, "1GiB"), _SIZE_SCHEMA]
User = Annotated[
    str,
    _matching(_USER, "Invalid user name", "a user", "lower-case letters, digits, `-` and `_`, at most 32"),
    WithJsonSchema({"type": "string", "pattern": f"^{USER_PATTERN}$"}),
]
AptPackage = Annotated[
    str,
    _matching(
        _PACKAGE,
        "Invalid package name",
        "a Debian package",
        "lower-case letters, digits, `+`, `-` and `.`, at least two",
    ),
    WithJsonSchema({"type": "string", "pattern": f"^{PACKAGE_PATTERN}$"}),
]


# --- forms: one field, several shapes ----------------------------------------------------------------------------


def _form(value: Any) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, Mapping | BaseModel):
        return "<map>"
    return "<list>" if isinstance(value, tuple | list) else None


FORMS = Discriminator(_form, custom_error_type="form", custom_error_message="another form")
TEXT, LIST, MAP = Tag("<text>"), Tag("<list>"), Tag("<map>")  # in an error's location; no key can be mistaken for one


def _not_empty(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items or not items[0]:
        raise problem("Empty command", "A command needs at least a program.", "remove the field to have no command")
    return items


def _shell(text: str) -> tuple[str, ...]:
    if not text.strip():
        raise problem("Empty command", "A command needs at least a program.", "remove the field to have no command")
    return ("/bin/sh", "-c", text)


Word = Annotated[str, AfterValidator(_no_nul)]
# A string goes to the shell, a list is run as it is. Always an argument list in the end; empty means none.
if TYPE_CHECKING:
    Command = tuple[str, ...]
else:
    Command = Annotated[
        Annotated[Word, AfterValidator(_shell), TEXT] | Annotated[tuple[Word, ...], AfterValidator(_not_empty), LIST],
        FORMS,
    ]


def _variable(name: str) -> str:
    if not _VARIABLE.match(name):
        rule = "letters, digits and `_`, not beginning with a digit"
        raise problem("Invalid variable name", f"`{name}` cannot be an environment variable: {rule}.")
    return name


def written(value: Any) -> Any:
    """The text of an environment variable as it was written, whatever YAML made of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return getattr(value, "text", str(value)) if isinstance(value, int | float) else value


def _assignment(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return _variable(name), value if equals else None


def _collected(pairs: tuple[tuple[str, str | None], ...]) -> dict[str, str | None]:
    result: dict[str, str | None] = {}
    for name, value in pairs:
        if name in result:
            raise problem("Duplicate variable", f"`{name}` is set twice in this list.")
        result[name] = value
    return result


EnvName = Annotated[
    str, AfterValidator(_variable), WithJsonSchema({"type": "string", "pattern": f"^{VARIABLE_PATTERN}$"})
]
EnvValue = Annotated[
    str | None,
    AfterValidator(lambda value: value if value is None else _no_nul(value)),
    BeforeValidator(written),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
EnvItem = Annotated[
    str,
    AfterValidator(_no_nul),
    AfterValidator(_assignment),
    WithJsonSchema({"type": "string", "pattern": f"^{VARIABLE_PATTERN}(=|$)"}),
]
# A map or a list of NAME=VALUE. None: taken from the environment of `sbx`, absent when it is not set there.
if TYPE_CHECKING:
    Env = Mapping[str, str | None]
else:
    Env = Annotated[
        Annotated[dict[EnvName, EnvValue], MAP] | Annotated[tuple[EnvItem, ...], AfterValidator(_collected), LIST],
        FORMS,
    ]


# --- models ------------------------------------------------------------------------------------------------------


class Strict(BaseModel):
    """A map of the file: unknown fields are errors, nothing is converted, `x-` fields are somebody else's."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra={"patternProperties": {"^x-": {}}}
    )

    @model_validator(mode="before")
    @classmethod
    def _without_extensions(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and any(isinstance(key, str) and key.startswith("x-") for key in data):
            return {key: value for key, value in data.items() if not key.startswith("x-")}
        return data


def _source(text: str) -> str:
    if not text:
        raise problem("Invalid workspace", "The path is empty.", "write `.` for the directory of this file")
    if text.startswith("~") and text != "~" and not text.startswith("~/"):
        raise problem("Invalid workspace", f"`{text}`: another user's home cannot be named.", "write the path in full")
    return _clean("A path")(text)


def _target(text: str) -> str:
    if not text.startswith("/") or text.startswith("//"):
        hint = "write an absolute path, e.g. /workspace, or `ro` or `rw` for the mode"
        raise problem("Invalid target", f"The target `{text}` is not an absolute path.", hint)
    if ".." in text.split("/"):
        raise problem("Invalid target", f"The target `{text}` contains `..`.", "write the path without it")
    return _clean("A target")(text)


def _inside(text: str) -> str:
    parts = text.split("/")
    if not text or text.startswith(("/", "~")) or ".." in parts or not any(part not in ("", ".") for part in parts):
        raise problem(
            "Invalid path",
            f"`{text}` is not a path inside the workspace.",
            "write it relative to the workspace's source",
        )
    return _clean("A path")("/".join(part for part in parts if part not in ("", ".")))


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


class Packages(Strict):
    """Packages installed into a template, by package manager."""

    apt: tuple[AptPackage, ...] = Field(default=(), description="Debian packages.")


def _base(text: str) -> str:
    kind, colon, rest = text.partition(":")
    if not colon:
        return text  # another template: a reference, checked with the others
    if kind != "debian":
        raise problem("Unsupported base", f"`{text}` cannot be a base.", "write debian:SUITE or the name of a template")
    if rest not in DEBIAN_SUITES:
        detail = f"`{rest}` is not a Debian suite that this version knows."
        raise problem("Unsupported base", detail, f"the suites are {', '.join(DEBIAN_SUITES)}")
    return text


class Template(Strict):
    """What a sandbox's disk is made from."""

    base: Annotated[str, AfterValidator(_base)] = Field(
        default="shell", description="`debian:SUITE`, or another template to build upon; default: the built-in `shell`."
    )
    packages: Packages = Field(default_factory=Packages, description="Packages to install, besides the base's.")
    env: Env = Field(default_factory=dict, description="Environment variables of every sandbox made from it.")
    user: User = Field(default="agent", description="Who runs commands inside; default `agent`, who may use sudo.")


EnvFile = Annotated[str, AfterValidator(_source)]
if TYPE_CHECKING:
    EnvFiles = tuple[str, ...]
else:
    EnvFiles = Annotated[
        Annotated[EnvFile, AfterValidator(lambda path: (path,)), TEXT] | Annotated[tuple[EnvFile, ...], LIST], FORMS
    ]


class Sandbox(Strict):
    """One sandbox, or what lies beneath every sandbox (`defaults`)."""

    template: str = Field(default="", description="Name of a template; default: the built-in `shell`.")
    workspaces: tuple[AnyWorkspace, ...] = Field(
        default=(),
        description="Directories of the host: PATH[:TARGET][:ro|rw], or a map. The first one is the working directory.",
    )
    env: Env = Field(
        default_factory=dict,
        description="Environment variables: a map, or a list of NAME=VALUE. Without a value: taken from the"
        " environment of `sbx`. Over `env_file`.",
    )
    env_file: EnvFiles = Field(default=(), description="Files of NAME=VALUE lines, later ones over earlier ones.")
    resources: Resources = Field(default_factory=Resources, description="Processors, memory, disk.")
    setup: tuple[Command, ...] = Field(
        default=(), description="Commands run once, when the sandbox is created, in the first workspace."
    )
    command: Command = Field(
        default=(), description="Main process: a string for the shell, or an argument list. Default: none."
    )
    restart: Literal["no", "on-failure", "always"] = Field(
        default="no", description="When the main process is started again."
    )
    protect: bool = Field(default=False, description="Never replace or delete this sandbox without --allow-destroy.")


class SandboxFile(Strict):
    """A sandbox.yaml. `span(path)` tells where a part of it was written."""

    name: Name = Field(default="", description="The project; default: the directory's name.")
    defaults: Sandbox = Field(
        default_factory=Sandbox,
        description="Beneath every sandbox: maps merge, scalars are replaced, lists are joined (workspaces by target).",
    )
    templates: dict[Name, Template] = Field(default_factory=dict, description="What disks are made from, by name.")
    sandboxes: dict[Name, Sandbox] = Field(description="The sandboxes of this project, by name.")

    _spans: dict[Path, Span] = PrivateAttr(default_factory=dict)

    def span(self, *path: str | int) -> Span | None:
        """Where this part is written: a scalar's value, else its key; the nearest enclosing part when it was not."""
        while path and path not in self._spans:
            path = path[:-1]
        return self._spans.get(path)

    def with_spans(self, spans: Mapping[Path, Span]) -> "SandboxFile":
        """The same file that knows its places. Called once, by `language.validate`."""
        self._spans.update(spans)
        return self
