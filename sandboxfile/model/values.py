"""The values of the language that have a grammar of their own, as types for the models of `model.spec`.

Names, sizes, commands, variables. Each checks itself and says what is wrong; short forms become the long one.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from sandboxfile.names import NAME_LIMIT, NAME_PATTERN, is_name

MIB, GIB = 1 << 20, 1 << 30
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
# Compose's byte values (docker/go-units RAMInBytes): every unit is binary, `2g`, `2gb` and `2GiB` are the same.
SIZE_PATTERN = r"[0-9]+(\.[0-9]+)? ?([kKmMgGtTpP]?[iI]?[bB]?)"
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmgtp]?)i?b?\Z", re.IGNORECASE | re.ASCII)
VARIABLE_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"{VARIABLE_PATTERN}\Z")
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


def without_control(what: str) -> Callable[[_Text], _Text]:
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


def shell(text: str) -> tuple[str, ...]:
    """The argument list of a command that is written as a string."""
    if not text.strip():
        raise problem("Empty command", "A command needs at least a program.", "remove the field to have no command")
    return ("/bin/sh", "-c", text)


Word = Annotated[str, AfterValidator(_no_nul)]
# A string goes to the shell, a list is run as it is. Always an argument list in the end; empty means none.
if TYPE_CHECKING:
    Command = tuple[str, ...]
else:
    Command = Annotated[
        Annotated[Word, AfterValidator(shell), TEXT] | Annotated[tuple[Word, ...], AfterValidator(_not_empty), LIST],
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
