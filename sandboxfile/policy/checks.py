"""Targets as people write them, and the `tests:` of a policy: what it must allow and what it must deny.

Nothing is resolved: names are taken to lead to public addresses that no range holds.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandboxfile.model.policy import Decision, Policy, Protocol, Request
from sandboxfile.policy.patterns import PatternProblem, parse_pattern

if TYPE_CHECKING:  # who only reads targets compiles none
    from sandboxfile.policy.compiled import Compiled

_PORTS: dict[str, int] = {"http": 80, "https": 443}
_METHOD = re.compile(r"([A-Za-z]+(?:-[A-Za-z]+)*) +(?=\S)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_HINT = 'write for example "https://api.example.com/v1", "POST https://api.example.com/v1", "db.example.com:5432"'


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that does not hold. `expected`: whether it should have been allowed. No decision: it is no target."""

    target: str
    expected: bool
    reason: str
    decision: Decision | None = None


def check_policy(policy: Policy, allow: Sequence[str], deny: Sequence[str], today: str) -> tuple[Failure, ...]:
    """The tests that fail, in order. Raises PolicyError for a malformed policy."""
    from sandboxfile.policy.compiled import compile_policy

    compiled = compile_policy(policy)
    return (*_failures(compiled, allow, True, today), *_failures(compiled, deny, False, today))


def parse_target(text: str) -> Request | PatternProblem:
    """Read a URL, `METHOD URL`, `tcp://HOST:PORT`, `HOST:PORT`, a host or an address (TLS on port 443).

    A URL without a method is a GET; the others leave method and path open. Query and fragment do not count.
    """
    method = _METHOD.match(text)
    rest = text[method.end() :] if method else text
    scheme = _SCHEME.match(rest)
    if scheme is None:
        return _problem(text, "a method goes with a URL") if method else _host_target(text)
    name = scheme[1].lower()
    after = re.split(r"[?#]", rest[scheme.end() :], maxsplit=1)[0]
    authority, slash, path = after.partition("/")
    if name in ("http", "https"):
        protocol: Protocol = "http" if name == "http" else "https"
        verb = method[1].upper() if method else "GET"
        return _request(text, authority, _PORTS[name], protocol, verb, slash + path or "/")
    if name == "tcp":
        if method or path:
            return _problem(text, "raw TCP has neither method nor path")
        return _request(text, authority, None, "tcp", None, None)
    return _problem(text, f"sandboxes speak http, https and tcp, not {name}")


def _host_target(text: str) -> Request | PatternProblem:
    request = _request(text, text, _PORTS["https"], "https", None, None)
    if isinstance(request, Request) and request.port == _PORTS["http"]:
        return Request(request.host, request.port, "http")
    return request


def _request(
    text: str, authority: str, default: int | None, protocol: Protocol, method: str | None, path: str | None
) -> Request | PatternProblem:
    pattern = parse_pattern(authority)
    if isinstance(pattern, PatternProblem):
        return _problem(text, pattern.detail)
    if pattern.kind != "host":
        return _problem(text, f"{pattern.text} stands for many hosts; a target is one")
    port = pattern.port or default
    if port is None:
        return _problem(text, "raw TCP needs a port")
    return Request(pattern.name, port, protocol, method, path)


def _problem(text: str, why: str) -> PatternProblem:
    return PatternProblem("Invalid target", f'"{text[:100]}": {why}', _HINT)


def _failures(compiled: "Compiled", targets: Iterable[str], expected: bool, today: str) -> Iterable[Failure]:
    for text in targets:
        request = parse_target(text)
        if isinstance(request, PatternProblem):
            yield Failure(text, expected, request.detail)
            continue
        decision = compiled.decide(request, None, today)
        if decision.allowed != expected:
            yield Failure(text, expected, decision.reason, decision)
