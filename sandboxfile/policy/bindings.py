"""Where the credentials of a policy may go, made ready to ask: this credential, to this host and port, on these paths.

Holds no value. What is not bound exactly is not bound: neither a name below a bound one nor another port, and no path
without one spelling where an injection names paths.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sandboxfile.errors import PolicyError
from sandboxfile.model.credential import SECRET, Credential, Injection
from sandboxfile.policy.paths import Glob, parse_glob, plain_path
from sandboxfile.policy.patterns import canonical_host

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_LINE = re.compile(r"[\t\x20-\x7e]*")  # of a template: the value is the only part that somebody keeps secret
# What says where a request goes and where it ends is no place for a secret.
_FRAMING = re.compile(
    r"(?i:host|(?:proxy-)?connection|keep-alive|transfer-encoding|content-length|upgrade|te|trailer|expect)"
)


@dataclass(frozen=True, slots=True)
class Binding:
    """One injection of one credential."""

    credential: Credential
    injection: Injection
    globs: tuple[Glob, ...] = ()

    def fits(self, path: str | None) -> bool:
        """`path` is plain; None: it has no one spelling."""
        return not self.globs or (path is not None and any(glob.matches(path) for glob in self.globs))


class Bindings:
    """Of one policy. Immutable."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        """Raises PolicyError for what cannot be gone by."""
        found: dict[tuple[str, int], list[Binding]] = {}
        for credential in credentials:
            for injection in credential.injections:
                found.setdefault((injection.host, injection.port), []).append(_binding(credential, injection))
        self._places = {place: tuple(bindings) for place, bindings in found.items()}

    def binds(self, host: str, port: int) -> bool:
        """Whether any credential may go to this canonical host and port."""
        return (host, port) in self._places

    def applying(self, host: str, port: int, path: str) -> tuple[Binding, ...]:
        """What applies to a request for `path` (without the query) there, by TLS; in the order of the policy."""
        bindings = self._places.get((host, port))
        if bindings is None:
            return ()
        plain = plain_path(path)
        return tuple(binding for binding in bindings if binding.fits(plain))


NOTHING_BOUND = Bindings(())


def _binding(credential: Credential, injection: Injection) -> Binding:
    if canonical_host(injection.host) != injection.host or not 0 < injection.port < 65536:
        raise _wrong(credential, f"{injection.host!r}, port {injection.port}, is not one host and port")
    if injection.kind not in ("header", "query") or (injection.basic and injection.kind != "header"):
        raise _wrong(credential, f"unknown injection {injection.kind!r}")
    if injection.name and (SECRET not in injection.value or not _LINE.fullmatch(injection.value)):
        raise _wrong(credential, f"what it sends is one line of ASCII with {SECRET} in it")
    headers = [injection.name] if injection.name and injection.kind == "header" else []
    for name in (*headers, *injection.drops):
        if not _TOKEN.fullmatch(name) or _FRAMING.fullmatch(name):
            raise _wrong(credential, f"{name[:100]!r} is no header for a secret")
    try:
        return Binding(credential, injection, tuple(parse_glob(path) for path in injection.paths))
    except ValueError as exc:
        raise _wrong(credential, str(exc)) from exc


def _wrong(credential: Credential, why: str) -> PolicyError:
    where = f"{credential.place}: " if credential.place else ""
    return PolicyError(f'{where}the secret "{credential.name}" cannot be gone by: {why}')
