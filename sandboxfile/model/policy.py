"""Network policies as data: what a sandbox may reach, and what was decided about one request.

Made by `resolve` (from the file, the user's and the machine's policies, presets) and by `sbx network proxy`; decided by
`sandboxfile.policy`, held by the gateway. A policy is several layers, and all of them must allow. Places and the words
around a rule do not count when policies are compared: a comment above a rule changes no sandbox.
"""

from dataclasses import dataclass, field
from typing import Literal

from sandboxfile.model.credential import Credential

Mode = Literal["allow", "deny"]
Inspect = Literal["full", "minimal"]
RuleProtocol = Literal["http", "tcp"]
Protocol = Literal["http", "https", "tcp"]  # of a request: plain HTTP, TLS, raw bytes

COMMAND = "command"  # the origin of rules that `sbx network proxy` made


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of `allow`, `block` or `bypass`.

    `pattern` is canonical (lower-case, IDNA, no trailing dot, addresses in their shortest form): `api.example.com`,
    `api.example.com:443`, `*.example.com`, `**.example.com:443`, `*:443`, `*`, `203.0.113.5:443`, `[2001:db8::1]:443`,
    `203.0.113.0/24`. A rule of protocol `tcp` has a port. `methods` are upper-case, `paths` globs (`*` within a
    segment, `**` across); empty: all. `until` is the last day on which the rule counts (2027-01-31), in UTC.
    `origin` says who made it: empty for a line of a file, else `preset npm`, `agent claude`, `secret x`, COMMAND.
    `place` is `sandbox.yaml:12:9`.
    """

    pattern: str
    protocol: RuleProtocol = "http"
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    until: str = ""
    reason: str = field(default="", compare=False)
    owner: str = field(default="", compare=False)
    origin: str = ""
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Layer:
    """One policy that a sandbox is held to. `name` as in reasons: `policy web`, `machine policy corp`, `no policy`.

    `inspect`: `minimal` tunnels what needs no interception (no method or path rules, no credentials).
    `place` is where the policy is written. `enforced`: the sandbox's owner did not choose it.
    """

    name: str
    mode: Mode = "deny"
    allow: tuple[Rule, ...] = ()
    block: tuple[Rule, ...] = ()
    bypass: tuple[Rule, ...] = ()
    inspect: Inspect = "full"
    enforced: bool = False
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Policy:
    """All that one sandbox is held to: enforced layers first (machine's, user's, file's), its own last.

    `settings` are environment variables inside that presets and credentials bring along, sorted by name: which
    registry pip and npm are to use, without credentials; placeholders. `credentials` are sorted by name.
    """

    layers: tuple[Layer, ...]
    settings: tuple[tuple[str, str], ...] = ()
    credentials: tuple[Credential, ...] = ()

    @property
    def own(self) -> Layer:
        return self.layers[-1]

    @property
    def placeholders(self) -> frozenset[str]:
        """The names of the settings that credentials bring along."""
        return frozenset(each.variable for each in self.credentials if each.variable)


NO_POLICY = Policy((Layer("no policy"),))  # denies everything: what a sandbox has that asks for nothing


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody inside wants to reach. `host` in any spelling, without brackets.

    `method` and `path` (with neither query nor fragment) are None where they are not known yet: a CONNECT, a TLS
    hello. Decided then is whether any method and path could be allowed.
    """

    host: str
    port: int
    protocol: Protocol = "https"
    method: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and the one reason for it, the same in the 403 body, the log and `sbx policy explain`.

    `host` is the canonical name or address. `rule` is the pattern that decided, or `mode deny`, `default block`...;
    `layer` and `place` say whose. `reason` is one whole sentence. `inspect`: its content must be looked at;
    `bypass`: it must be passed on untouched (never both). `addresses`: those that were checked, to be dialled.
    """

    allowed: bool
    host: str
    port: int
    rule: str
    layer: str
    place: str
    reason: str
    inspect: bool = True
    bypass: bool = False
    addresses: tuple[str, ...] = ()
