"""resolver.json: what names resolve to on this host's way out, as its operator says. Read again when it changes.

    {"resolve": {"api.example.com:443": "127.0.0.1:8443", "intra.example.com": ["10.9.8.7"]}, "authorities": "/ca.pem"}

An entry replaces what the name resolves to, never what the policy says about that address. A file that somebody else
could write is ignored, loudly; so is one that is malformed.
"""

import ipaddress
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandboxfile.host.saying import say
from sandboxfile.policy.patterns import Address, canonical_host

_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Where a name leads: an address, and the port that is dialled instead of the one asked for."""

    address: Address
    port: int | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    targets: Mapping[tuple[str, int | None], tuple[Target, ...]] = field(default_factory=dict)
    authorities: Path | None = None


class Overrides:
    """The file as it is now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._state: tuple[int, ...] | None = None
        self._content = _Content()
        self._refresh()

    @property
    def authorities(self) -> Path | None:
        """A PEM bundle that is trusted for servers, besides the system's."""
        self._refresh()
        return self._content.authorities

    def targets(self, host: str, port: int) -> tuple[Target, ...]:
        """What is said about `host` at `port`, or about `host` at all; empty: nothing."""
        self._refresh()
        targets = self._content.targets
        return targets.get((host, port)) or targets.get((host, None)) or ()

    def _refresh(self) -> None:
        try:
            found = os.lstat(self._name)  # for each connection: a Path would take five times as long
        except OSError:
            self._state, self._content = None, _Content()
            return
        state = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid)
        if state == self._state:
            return
        self._state = state
        try:
            self._content = _parse(_read(self._path))
        except (OSError, ValueError) as exc:
            self._content = _Content()
            say(f"{self._path} is ignored: {exc}")
        else:
            say(f"{self._path}: overrides {len(self._content.targets)} names")


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        if found.st_uid not in (os.geteuid(), 0):
            raise ValueError("it belongs to somebody else")
        if found.st_mode & 0o022:
            raise ValueError("others may write it: chmod go-w")
        if found.st_size > _LIMIT:
            raise ValueError("it is too large")
        return os.read(descriptor, _LIMIT)
    finally:
        os.close(descriptor)


def _parse(data: bytes) -> _Content:
    try:
        fields = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("resolve", {}), dict):
        raise ValueError('it is not {"resolve": {...}, "authorities": "..."}')
    authorities = fields.get("authorities")
    if authorities is not None and not (isinstance(authorities, str) and authorities.startswith("/")):
        raise ValueError("`authorities` is not an absolute path")
    targets = dict(_entry(name, value) for name, value in fields.get("resolve", {}).items())
    return _Content(targets, Path(authorities) if authorities else None)


def _entry(name: str, value: Any) -> tuple[tuple[str, int | None], tuple[Target, ...]]:
    host_text, port = _host_and_port(name)
    host = canonical_host(host_text)
    values = value if isinstance(value, list) else [value]
    if host is None or not values or not all(isinstance(one, str) for one in values):
        raise ValueError(f"the entry {name!r} is not a name with an address or a list of them")
    return (host, port), tuple(_target(one) for one in values)


def _target(text: str) -> Target:
    try:
        return Target(ipaddress.ip_address(text))
    except ValueError:
        host, port = _host_and_port(text)
        return Target(ipaddress.ip_address(host), port)


def _host_and_port(text: str) -> tuple[str, int | None]:
    """`HOST`, `HOST:PORT`, `[V6]:PORT`, `[V6]`; raises ValueError for a port that is none."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not port:
        return host, None
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"{text!r} has no valid port")
    return host, int(port)
