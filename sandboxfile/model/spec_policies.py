"""The language of network policies, as strict models; part of `model.spec`, and all that a policy file may say.

What a pattern means is `sandboxfile.policy`'s matter: here it is text. What lies between two fields of a rule, and
between two rules, is checked by `language.policies`, which knows their places.
"""

import datetime
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from sandboxfile.model.strict import Strict, WholeFile
from sandboxfile.model.values import FORMS, LIST, MAP, TEXT, Name, problem, without_control

EXTENDS_LIMIT = 16  # policies that stand upon each other
PRESETS = ("npm", "pip", "apt")
if TYPE_CHECKING:
    PresetName = str
else:
    PresetName = Literal["npm", "pip", "apt"]

METHOD_PATTERN = r"[A-Za-z][A-Za-z-]{0,31}"
_METHOD = re.compile(rf"{METHOD_PATTERN}\Z")
DATE_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_DATE = re.compile(rf"{DATE_PATTERN}\Z", re.ASCII)
# Never in a path in its normal form, so a glob with one of these would match nothing.
_NOT_NORMAL = re.compile(r"//|/\.\.?(?:/|\Z)|[\\?#]")


def _method(text: str) -> str:
    if not _METHOD.match(text):
        detail = f"`{text}` is not the name of an HTTP method."
        raise problem("Invalid method", detail, "write words such as GET or POST; without `methods` a rule is for all")
    return text.upper()


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise problem("Invalid path", f"`{text}` does not begin with `/`.", f"write `/{text}`")
    if found := _NOT_NORMAL.search(text):
        detail = f"`{text}` contains `{found[0]}`, which no path in its normal form has: it would never match."
        raise problem("Invalid path", detail, "write the path without query, `.`, `..` and empty segments")
    return without_control("A path")(text)


def _as_text(value: Any) -> Any:
    if isinstance(value, datetime.date):  # of a loader that knows dates
        return f"{value:%Y-%m-%d}"
    if not isinstance(value, str):
        raise PydanticCustomError("date_type", "a date is expected")
    return value


def _date(text: str) -> str:
    try:
        if _DATE.match(text):
            return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise problem("Invalid date", f"`{text}` is not a date.", "write the last day as YYYY-MM-DD, e.g. 2027-01-31")


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise problem("Invalid port", f"{number} is not a port: they are 1 to 65535.")
    return number


Method = Annotated[str, AfterValidator(_method), WithJsonSchema({"type": "string", "pattern": f"^{METHOD_PATTERN}$"})]
UrlPath = Annotated[str, AfterValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
Date = Annotated[
    str,
    AfterValidator(_date),
    BeforeValidator(_as_text),
    WithJsonSchema({"type": "string", "pattern": f"^{DATE_PATTERN}$"}),
]
Port = Annotated[int, AfterValidator(_port), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 65535})]
Words = Annotated[str, AfterValidator(without_control("This text"))]


class RuleSpec(Strict):
    """One line of `allow`, `block` or `bypass`: one of `host`, `cidr` and `preset`."""

    host: str = Field(
        default="",
        description="`api.example.com`, `*.example.com` (every subdomain), `**.example.com` (itself as well), `*`, or"
        " an address; each may end in `:PORT`.",
    )
    cidr: str = Field(default="", description="A range of addresses, e.g. 203.0.113.0/24; names are resolved first.")
    preset: PresetName = Field(
        default="",
        description="The registries that this host's own client is configured for: `npm`, `pip` or `apt`. In `allow`.",
    )
    port: Port = Field(default=0, description="Port; default: every port, or the one at the end of `host`.")
    protocol: Literal["http", "tcp"] = Field(
        default="http", description="`http`, with or without TLS, or `tcp` for raw bytes, which needs a port."
    )
    methods: tuple[Method, ...] = Field(
        default=(), description="HTTP methods; default: all. The connection is intercepted."
    )
    paths: tuple[UrlPath, ...] = Field(
        default=(),
        description="Globs of paths: `*` within a segment, `**` across segments; default: all. The connection is"
        " intercepted.",
    )
    until: Date = Field(default="", description="The last day (UTC) on which the rule counts, e.g. 2027-01-31.")
    reason: Words = Field(default="", description="Why there is this rule, for those who read it.")
    owner: Words = Field(default="", description="Who answers for this rule.")

    @property
    def pattern(self) -> str:
        """The pattern as one text, as the short form of a rule has it; empty for a preset."""
        host = f"[{self.host}]" if self.port and self.host.count(":") > 1 and self.host[0] != "[" else self.host
        return self.cidr or (f"{host}:{self.port}" if self.port else host)


def _short_rule(text: str) -> RuleSpec:
    """Read a pattern: a range when it has a prefix length, else a host."""
    field = "cidr" if "/" in text and "://" not in text else "host"
    return RuleSpec.model_construct(_fields_set={field}, **{field: text})


if TYPE_CHECKING:
    AnyRule = RuleSpec
    Names = tuple[str, ...]
else:
    AnyRule = Annotated[Annotated[str, AfterValidator(_short_rule), TEXT] | Annotated[RuleSpec, MAP], FORMS]
    Names = Annotated[
        Annotated[str, AfterValidator(lambda name: (name,)), TEXT] | Annotated[tuple[str, ...], LIST], FORMS
    ]


class TestsSpec(Strict):
    """What a policy must allow and must deny: URLs, HOST:PORT, or `METHOD URL`."""

    __test__ = False  # pytest takes it for a test

    allow: tuple[str, ...] = Field(default=(), description="Requests that the policy must allow.")
    deny: tuple[str, ...] = Field(default=(), description="Requests that the policy must deny.")


class PolicySpec(Strict):
    """What a sandbox may reach."""

    mode: Literal["deny", "allow"] = Field(
        default="deny", description="What happens to requests that no rule matches; default `deny`."
    )
    enforce: bool = Field(
        default=False, description="Every sandbox is held to this policy as well as to its own: both must allow."
    )
    extends: Names = Field(
        default=(),
        description="Policies whose rules come before these. `mode` and `inspect` are those of the last one, unless"
        " given here.",
    )
    allow: tuple[AnyRule, ...] = Field(default=(), description="What may be reached. The most specific rule wins.")
    block: tuple[AnyRule, ...] = Field(default=(), description="What may not be reached.")
    bypass: tuple[AnyRule, ...] = Field(
        default=(),
        description="Hosts and ranges whose TLS is passed on untouched (certificate pinning). `allow` must allow them.",
    )
    inspect: Literal["full", "minimal"] = Field(
        default="full", description="`minimal` intercepts only what a rule with `methods` or `paths` needs."
    )
    tests: TestsSpec = Field(
        default_factory=TestsSpec, description="What the policy is meant to do, checked by `sbx validate`."
    )


# A name, or the policy itself. Empty: not given.
if TYPE_CHECKING:
    AnyPolicy = str | PolicySpec
else:
    AnyPolicy = Annotated[Annotated[str, TEXT] | Annotated[PolicySpec, MAP], FORMS]

Policies = dict[Name, PolicySpec]


class PolicyFile(WholeFile):
    """The user's or the machine's policy.yaml."""

    policies: Policies = Field(
        default_factory=dict, description="Network policies by name; those with `enforce: true` always apply."
    )
    default_policy: str = Field(
        default="", description="In the user's file: the policy of every sandbox that names none."
    )
