"""The language of health, order and disks that stay, as strict models; part of `model.spec`."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from sandboxfile.model.strict import Strict
from sandboxfile.model.values import FORMS, GIB, LIST, MAP, TEXT, Command, DiskSize, Name, problem

_FACTORS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
# Compose's durations: `1h5m30s20ms`, largest unit first.
DURATION_PATTERN = r"([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?"
_DURATION = re.compile(rf"{DURATION_PATTERN}\Z", re.ASCII)
_LONGEST = 366 * 86400.0
_PROFILE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]*"  # Compose's
_PROFILE = re.compile(rf"{_PROFILE_PATTERN}\Z", re.ASCII)
SCALE_LIMIT = 1000
Condition = Literal["started", "healthy", "completed"]


def parse_duration(text: str) -> float | None:
    """Seconds of `1h5m30s20ms`, or None."""
    found = _DURATION.match(text)
    if not text or found is None:
        return None
    parts = [part for part in found.groups() if part]
    return sum(int(part.rstrip("hmsu")) * _FACTORS[part.lstrip("0123456789")] for part in parts)


def _duration(least: float, least_text: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise PydanticCustomError("duration_type", "a duration, e.g. 30s")
        seconds = parse_duration(value)
        if seconds is None:
            raise problem("Invalid duration", f"`{value}` is not a duration.", "write e.g. 10s, 1m30s, 500ms or 2h")
        if seconds < least:
            raise problem("Invalid duration", f"`{value}` is too short: the least is {least_text}.")
        if seconds > _LONGEST:
            raise problem("Invalid duration", f"`{value}` is too long: the most is a year.")
        return seconds

    return BeforeValidator(check)


_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{DURATION_PATTERN}$", "minLength": 2})
Duration = Annotated[float, _duration(0.1, "100ms"), _DURATION_SCHEMA]
DurationOrNone = Annotated[float, _duration(0.0, "0s"), _DURATION_SCHEMA]
IdleTime = Annotated[float, _duration(60.0, "1m"), _DURATION_SCHEMA]


class HealthcheckSpec(Strict):
    """How it is found out whether a sandbox does its work."""

    command: Command = Field(
        default=(), description="Run inside, as the sandbox's user: healthy when it exits with 0. Required."
    )
    interval: Duration = Field(default=30.0, description="From the end of one check to the next; default 30s.")
    timeout: Duration = Field(default=30.0, description="A check that takes longer has failed; default 30s.")
    retries: Annotated[int, Field(ge=1, le=100)] = Field(
        default=3, description="Failures in a row after which it is unhealthy; default 3."
    )
    start_period: DurationOrNone = Field(
        default=0.0, description="After the main process has started, failures do not count for so long; default 0s."
    )


class DependencySpec(Strict):
    """What has to be true of another sandbox before this one is started."""

    condition: Condition = Field(
        default="started", description="started; healthy: by its healthcheck; completed: its command exited with 0."
    )


def _dependencies(names: tuple[str, ...]) -> dict[str, DependencySpec]:
    return {name: DependencySpec(condition="started") for name in names}


if TYPE_CHECKING:
    DependsOn = dict[str, DependencySpec]
else:
    DependsOn = Annotated[
        Annotated[dict[Name, DependencySpec], MAP] | Annotated[tuple[Name, ...], AfterValidator(_dependencies), LIST],
        FORMS,
    ]


class VolumeSpec(Strict):
    """A disk that stays when sandboxes are deleted. One sandbox at a time has it."""

    size: DiskSize = Field(default=10 * GIB, description="Its size; it occupies what is used. Default 10GiB.")


def _mount_target(text: str) -> str:
    if not text.startswith("/") or text.startswith("//") or text == "/":
        detail = f"The target `{text}` is no absolute path below `/`."
        raise problem("Invalid target", detail, "the form is VOLUME:/PATH")
    if ".." in text.split("/") or any(not character.isprintable() for character in text):
        raise problem("Invalid target", f"The target `{text}` contains `..` or a control character.")
    return "/" + "/".join(part for part in text.split("/") if part not in ("", "."))


class MountSpec(Strict):
    """A volume in a sandbox."""

    volume: Name = Field(description="Name of a volume of this file.")
    target: Annotated[str, AfterValidator(_mount_target)] = Field(description="Absolute path inside.")


def _short_mount(text: str) -> MountSpec:
    """Read `VOLUME:TARGET`."""
    name, colon, target = text.partition(":")
    if not colon or not name:
        raise problem("Invalid volume", f"`{text}` does not say where it is mounted.", "the form is VOLUME:/PATH")
    if name.startswith(("/", ".", "~")):
        detail = f"`{name}` is a path, and volumes have names."
        raise problem("Invalid volume", detail, "a directory of this host is given under `workspaces`")
    return MountSpec(volume=name, target=target)


if TYPE_CHECKING:
    AnyMount = MountSpec
else:
    AnyMount = Annotated[Annotated[str, AfterValidator(_short_mount), TEXT] | Annotated[MountSpec, MAP], FORMS]


def _profile(text: str) -> str:
    if not _PROFILE.match(text):
        rule = "letters, digits, `_`, `.` and `-`, beginning with a letter or digit"
        raise problem("Invalid profile", f"`{text}` cannot be a profile: {rule}.")
    return text


Profile = Annotated[
    str, AfterValidator(_profile), WithJsonSchema({"type": "string", "pattern": f"^{_PROFILE_PATTERN}$"})
]
