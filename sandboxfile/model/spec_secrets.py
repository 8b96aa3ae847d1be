"""The language of secrets, as strict models; part of `model.spec`. Where a value is and where it goes, never a value.

What lies between two fields, and what a host may be, is checked by `language.secrets`, which knows their places.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from sandboxfile.model.credential import SECRET
from sandboxfile.model.references import host_path
from sandboxfile.model.strict import Strict
from sandboxfile.model.values import EnvName, Name, Word, problem, without_control

SOURCES = ("file", "command", "store")  # and `env`, where there is none of these
WAYS = ("header", "bearer", "basic", "query", "git")  # how a request can carry a secret

HEADER_PATTERN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}"
_HEADER = re.compile(rf"{HEADER_PATTERN}\Z")
# Of one connection, or of how a message is cut: a secret there would change what the server takes for the request.
_FRAMING = frozenset(
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
)
_FRAMING_PREFIX = "proxy-"


def _source_file(text: str) -> str:
    return host_path(text, "Invalid path")


def _arguments(words: tuple[str, ...]) -> tuple[str, ...]:
    if not words or not words[0]:
        raise problem("Empty command", "A command needs at least a program.", "write [PROGRAM, ARGUMENT...]")
    return words


def _header(name: str) -> str:
    if not _HEADER.match(name):
        detail = f"`{name}` is not the name of an HTTP header."
        raise problem("Invalid header", detail, "write a name such as Authorization or x-api-key")
    if name.lower() in _FRAMING or name.lower().startswith(_FRAMING_PREFIX):
        raise problem("Invalid header", f"`{name}` belongs to the connection; no service takes a secret in it.")
    return name


def _value(text: str) -> str:
    if SECRET not in text:
        detail = f"`{text}` lacks `{SECRET}`, which the secret is put in place of."
        raise problem("Invalid value", detail, f"write e.g. Bearer {SECRET}")
    return without_control("A value")(text)


def _user(text: str) -> str:
    if not text or ":" in text:
        detail = "The user of Basic authorization is a word without a colon; the secret is its password."
        raise problem("Invalid user name", detail)
    return without_control("A user name")(text)


def _parameter(text: str) -> str:
    if not text:
        raise problem("Invalid parameter", "The name of the query's parameter is empty.")
    return without_control("A parameter")(text)


class InjectSpec(Strict):
    """Where a secret goes: a host, and how requests to it carry the secret."""

    host: str = Field(
        description="An exact host, `tracker.example.com` or `tracker.example.com:8443`; the port is 443 unless given."
        " The secret goes there over TLS only."
    )
    header: Annotated[
        str, AfterValidator(_header), WithJsonSchema({"type": "string", "pattern": f"^{HEADER_PATTERN}$"})
    ] = Field(default="", description="Set this header to `value`.")
    value: Annotated[str, AfterValidator(_value)] = Field(
        default=SECRET, description="With `header`: its value, `{secret}` being the secret. Default: the secret alone."
    )
    bearer: bool = Field(default=False, description="Short for the header `Authorization: Bearer {secret}`.")
    basic: Annotated[str, AfterValidator(_user)] = Field(
        default="", description="Basic authorization with this user name and the secret as its password."
    )
    query: Annotated[str, AfterValidator(_parameter)] = Field(
        default="", description="Set this parameter of the query to the secret."
    )
    git: bool = Field(
        default=False,
        description="For `git clone`, `fetch` and `push` over https: Basic authorization for those alone.",
    )

    @property
    def ways(self) -> tuple[str, ...]:
        """Which of WAYS are asked for."""
        return tuple(name for name in WAYS if getattr(self, name))


class Secret(Strict):
    """Where a secret's value is on this host, and which requests get it. Inside there is never more than a stand-in."""

    env: EnvName = Field(
        default="",
        description="A variable of the environment of `sbx` that has the value. With another source: only the variable"
        " that holds a placeholder inside, which the proxy swaps on the way out.",
    )
    file: Annotated[str, AfterValidator(_source_file)] = Field(
        default="", description="A file of the host that has the value; read anew when it changes."
    )
    command: Annotated[tuple[Word, ...], AfterValidator(_arguments)] = Field(
        default=(), description="A command of the host that prints the value, as an argument list; run without a shell."
    )
    store: Name = Field(default="", description="A name of what `sbx secret set` keeps.")
    inject: tuple[InjectSpec, ...] = Field(
        default=(), description="Where it goes. Default: as the service wants it that its name or its variable is of."
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the value is, as the names of fields: exactly one in a file that is right."""
        given = tuple(name for name in SOURCES if name in self.model_fields_set)
        return given or (("env",) if self.env else ())
