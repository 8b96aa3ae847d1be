"""One rule made ready, one request made ready, and whether the one speaks of the other. Names are the index's matter.

A rule with methods or paths is conditional. Where they are not known yet, a conditional allow speaks (something may be
allowed: look inside) and a conditional block does not. Raw bytes cannot be looked into: there every block speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sandboxfile.model.policy import Request, Rule
from sandboxfile.policy.addresses import Address, Network, forms
from sandboxfile.policy.paths import Glob, plain_path
from sandboxfile.policy.patterns import Pattern, canonical_host, literal

Effect = Literal["allow", "block", "default"]  # `default`: the ranges that are blocked unless the user says otherwise
Mismatch = Literal["", "until", "protocol", "methods", "paths"]


@dataclass(frozen=True, slots=True)
class Facts:
    """A request made ready. `suffixes`: the names that end it, itself first, longest first; none of an address.

    `path` is plain, None when unknown or without one spelling (`odd_path`). `addresses` are those to dial, None before
    resolution; `checked` are all forms of them and of a literal host.
    """

    request: Request
    host: str
    port: int
    tcp: bool
    suffixes: tuple[str, ...]
    literal: Address | None
    path: str | None
    odd_path: bool
    addresses: tuple[Address, ...] | None
    checked: tuple[Address, ...] | None
    today: str


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """A rule with its pattern and globs parsed."""

    rule: Rule
    pattern: Pattern
    effect: Effect
    globs: tuple[Glob, ...] = ()

    @property
    def conditional(self) -> bool:
        """Whether it depends on what only interception shows."""
        return bool(self.rule.methods or self.rule.paths)

    @property
    def rank(self) -> tuple[bool, int]:
        """Order among rules of the same pattern: conditional first; block before allow before default."""
        return not self.conditional, ("block", "allow", "default").index(self.effect)

    def in_force(self, facts: Facts) -> bool:
        """Whether its day has not passed."""
        return not self.rule.until or facts.today <= self.rule.until

    def inspects(self, facts: Facts) -> bool:
        """Whether the content of such a request must be looked at for this rule to hold."""
        return self.conditional and self.rule.protocol == "http" and not facts.tcp and self.in_force(facts)

    def mismatch(self, facts: Facts) -> Mismatch:
        """Why the rule does not speak of a request whose name (or address) it matches; empty when it does."""
        if not self.in_force(facts):
            return "until"
        if self.rule.protocol != ("tcp" if facts.tcp else "http"):
            return "" if facts.tcp and self.effect != "allow" else "protocol"
        if not self.conditional or facts.tcp:
            return ""
        return self._blocks(facts) if self.effect == "block" else self._allows(facts)

    def _allows(self, facts: Facts) -> Mismatch:
        method = facts.request.method
        if self.rule.methods and method is not None and method not in self.rule.methods:
            return "methods"
        unknown = facts.path is None and not facts.odd_path
        if self.globs and not unknown and not self._path_fits(facts):
            return "paths"
        return ""

    def _blocks(self, facts: Facts) -> Mismatch:
        method = facts.request.method
        if self.rule.methods and (method is None or method.upper() not in self.rule.methods):
            return "methods"
        if self.globs and not facts.odd_path and not self._path_fits(facts):
            return "paths"
        return ""

    def _path_fits(self, facts: Facts) -> bool:
        return facts.path is not None and any(glob.matches(facts.path) for glob in self.globs)


def ready_request(request: Request, addresses: Sequence[Address] | None, today: str) -> Facts | None:
    """The request made ready, None when its host is neither a name nor an address."""
    host = canonical_host(request.host)
    if host is None:
        return None
    own = literal(host)
    dialled = tuple(addresses) if addresses is not None else None if own is None else (own,)
    path = None if request.path is None else plain_path(request.path)
    return Facts(
        request,
        host,
        request.port,
        request.protocol == "tcp",
        suffixes_of(host) if own is None else (),
        own,
        path,
        request.path is not None and path is None,
        dialled,
        None if dialled is None else _checked(own, dialled),
        today,
    )


def suffixes_of(host: str) -> tuple[str, ...]:
    """`a.b.c` -> `a.b.c`, `b.c`, `c`."""
    labels = host.split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels)))


def default_rule(network: Network) -> ReadyRule:
    """The rule by which a range is blocked unless the user says otherwise."""
    return ReadyRule(Rule(str(network)), Pattern("range", network=network), "default")


def _checked(own: Address | None, dialled: tuple[Address, ...]) -> tuple[Address, ...]:
    every = dialled if own is None else (own, *dialled)
    return tuple(dict.fromkeys(form for address in every for form in forms(address)))
