"""Credentials as data: where a secret's value is, and what the gateway does with it. Never a value.

Made by `resolve` (from `secrets` of the file, and from what an agent's services want), part of a sandbox's Policy,
done by the gateway: for the bound places alone, over TLS alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

# env      a variable of the environment of sbx            file     a file of the host, read anew when it changes
# command  what a command of the host prints               store    kept by `sbx secret set`
SourceKind = Literal["env", "file", "command", "store"]
InjectionKind = Literal["header", "query"]
SECRET = "{secret}"  # noqa: S105 - stands for the value in `Injection.value`


@dataclass(frozen=True, slots=True)
class SecretSource:
    """`name`: the variable, the absolute path, or the name in the store. `command`: an argument list, run at home."""

    kind: SourceKind
    name: str = ""
    command: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For people: `env ANTHROPIC_API_KEY`."""
        return f"{self.kind} {' '.join(self.command) if self.kind == 'command' else self.name}"


@dataclass(frozen=True, slots=True)
class Injection:
    """What requests to one place get. `host` is canonical and exact.

    `name`: the header (its usual spelling; HTTP/2 lowers it), or the query's parameter; empty: nothing is set, only
    placeholders are swapped. `value` holds SECRET; with `basic` it is `USER:{secret}`, encoded and sent as `Basic ...`.
    `drops`: other headers by which the same service knows somebody: they are taken away. `paths` are globs as in
    rules; empty: all. Whatever the client sent under `name` is replaced.
    """

    host: str
    port: int = 443
    kind: InjectionKind = "header"
    name: str = ""
    value: str = SECRET
    basic: bool = False
    drops: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret of one sandbox.

    `variable` holds `placeholder` inside, where it is not empty; on the way to a bound place the placeholder becomes
    the value, in headers, in Basic authorization and in the query. `origin`: `secret tracker`, `agent claude`.
    `known`: the source and its places belong together by what comes with sandboxfile, and nobody has to approve them.
    """

    name: str
    source: SecretSource
    injections: tuple[Injection, ...] = ()
    variable: str = ""
    placeholder: str = ""
    origin: str = ""
    known: bool = False
    place: str = field(default="", compare=False)

    @property
    def bound(self) -> tuple[tuple[str, int], ...]:
        """The hosts and ports that may get the value, without repeats."""
        return tuple(dict.fromkeys((each.host, each.port) for each in self.injections))


def still_meant(names: Iterable[str], before: Iterable[Credential], after: Iterable[Credential]) -> frozenset[str]:
    """Of the credentials that values were given for, those whose value counts from now on.

    A value was given for a source: not for another one that has the same credential's name afterwards.
    """
    then, now = ({each.name: each.source for each in held} for held in (before, after))
    return frozenset(name for name in names if name in now and then.get(name, now[name]) == now[name])
