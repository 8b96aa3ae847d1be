"""What packages are called, as types for the models: a name, and a version as each manager writes it.

Every word goes to a package manager as an argument: nothing is accepted that it could take for an option, a path, a
URL or a command, and nothing that a shell would read otherwise than it stands, but for the `<`, `>` and `!` of pip.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema

from sandboxfile.model.values import problem

Manager = Literal["apt", "npm", "pip"]

# Debian policy 5.6.7 and 5.6.12; a trailing `-` would ask apt to remove the package.
APT_PATTERN = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](=[0-9A-Za-z][0-9A-Za-z.+:~-]*)?"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
NPM_PATTERN = rf"(@[a-z0-9][a-z0-9._-]*/)?{_WORD}(@[0-9A-Za-z^~][0-9A-Za-z.+^~-]*)?"
# PEP 508 without markers and URLs; PEP 440 for versions.
_VERSION = r"(===|==|~=|!=|<=|>=|<|>)[0-9A-Za-z][0-9A-Za-z.!+*_-]*"
PIP_PATTERN = (
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
    r"(\[[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(,[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)*\])?"
    rf"({_VERSION}(,{_VERSION})*)?"
)
_LIMIT = 256  # characters
_RULES: dict[Manager, tuple[str, str, str]] = {
    "apt": (
        "a Debian package",
        APT_PATTERN,
        "NAME or NAME=VERSION, the name in lower case, at least two long",
    ),
    "npm": ("an npm package", NPM_PATTERN, "NAME or @SCOPE/NAME, then perhaps @VERSION"),
    "pip": ("a Python package", PIP_PATTERN, "NAME or NAME[EXTRA], then perhaps ==VERSION or another condition"),
}


def package_name(manager: Manager, written: str) -> str:
    """The name alone: of `@scope/name@1` it is `@scope/name`, of `name[extra]>=1` it is `name`."""
    if manager == "apt":
        return written.partition("=")[0]
    if manager == "npm":
        return written[0] + written[1:].partition("@")[0]
    return re.split(r"[\[=~!<>]", written, maxsplit=1)[0]


def _checked(manager: Manager) -> AfterValidator:
    what, pattern, form = _RULES[manager]
    whole = re.compile(rf"(?:{pattern})\Z")

    def check(text: str) -> str:
        if len(text) > _LIMIT or not whole.match(text):
            raise problem("Invalid package name", f"`{text}` cannot be {what}.", f"the form is {form}")
        return text

    return AfterValidator(check)


def _schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern})$", "maxLength": _LIMIT})


AptPackage = Annotated[str, _checked("apt"), _schema(APT_PATTERN)]
NpmPackage = Annotated[str, _checked("npm"), _schema(NPM_PATTERN)]
PipPackage = Annotated[str, _checked("pip"), _schema(PIP_PATTERN)]
