"""Host names and the patterns of rules, each in one spelling. Whatever is not plainly a host or a pattern is refused.

A host is read as a browser reads it (WHATWG URL): UTS 46 to A-labels, and what ends in a number is an IPv4 address or
nothing. One trailing dot goes. `host.docker.internal` is `localhost`: the host as seen from inside.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal

from sandboxfile.policy.addresses import Address as Address
from sandboxfile.policy.addresses import Network, is_numeric, read_ipv4, read_ipv6

_USUAL_PORTS = {"http": 80, "https": 443}
LOCALHOST = "localhost"
Kind = Literal["host", "wildcard", "deep", "any", "range"]

_HOST_ALIASES = frozenset({LOCALHOST, "host.docker.internal"})
_NAME_LIMIT = 253  # characters of a name (RFC 1035), without the trailing dot
_TEXT_LIMIT = 1024  # characters of what is looked at: mapping may shorten, but not that much
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,62})"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_ADDRESS_LIKE = re.compile(r"[0-9a-f.:]+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a rule speaks of. `name` is a canonical host (kind `host`), or what follows `*.` and `**.`; else empty.

    `wildcard`: names below `name`. `deep`: `name` and names below it. `any`: every host. `range`: `network`, which
    has no port.
    """

    kind: Kind
    name: str = ""
    network: Network | None = None
    port: int | None = None

    @property
    def text(self) -> str:
        """The canonical spelling."""
        if self.kind == "range":
            return str(self.network)
        name = {"host": self.name, "wildcard": f"*.{self.name}", "deep": f"**.{self.name}", "any": "*"}[self.kind]
        return target(name, self.port)


@dataclass(frozen=True, slots=True)
class PatternProblem:
    """Why a text is no pattern: fixed summary, detail with the text, what to write instead."""

    summary: str
    detail: str
    hint: str


def target(host: str, port: int | None) -> str:
    """`host:port` as it is written: an IPv6 address in brackets when a port follows."""
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url(protocol: str, host: str, port: int, path: str) -> str:
    """`https://host/path`, with the port where it is not the usual one; `host:port` for raw TCP."""
    if protocol == "tcp":
        return target(host, port)
    if port == _USUAL_PORTS[protocol]:
        return f"{protocol}://[{host}]{path}" if ":" in host else f"{protocol}://{host}{path}"
    return f"{protocol}://{target(host, port)}{path}"


def canonical_host(text: str) -> str | None:
    """The one spelling of a host name or literal address, None when it is neither.

    Lower-case A-labels without a trailing dot; addresses in their shortest form, IPv4 out of mapped IPv6.
    """
    if not text or len(text) > _TEXT_LIMIT:
        return None
    if text.startswith("[") or ":" in text:
        bracketed = text.startswith("[") and text.endswith("]")
        address = read_ipv6(text[1:-1] if bracketed else text)
        return None if address is None else str(address)
    name = text.lower() if text.isascii() else _mapped(text)
    if name is None:
        return None
    name = name.removesuffix(".")
    if len(name) > _NAME_LIMIT or _NAME.fullmatch(name) is None:
        return None
    labels = name.split(".")
    if is_numeric(labels[-1]):
        address = read_ipv4(labels)
        return None if address is None else str(address)
    return LOCALHOST if name in _HOST_ALIASES else name


def literal(host: str) -> Address | None:
    """The address that a canonical host is, None for a name."""
    try:
        if ":" in host:
            return IPv6Address(host)
        return IPv4Address(host) if is_numeric(host.rpartition(".")[2]) else None
    except ValueError:  # not canonical: neither a name nor an address
        return None


def parse_pattern(text: str) -> Pattern | PatternProblem:
    """Read `host`, `*.x`, `**.x`, `*`, each with `:port` or without, an address, or a range (`203.0.113.0/24`)."""
    if "://" in text:
        return _not_an_url(text)
    if "/" in text:
        return _range(text)
    host, port = _split(text)
    if isinstance(port, PatternProblem):
        return port
    if host == "*":
        return Pattern("any", port=port)
    kind: Kind = "deep" if host.startswith("**.") else "wildcard" if host.startswith("*.") else "host"
    name = host if kind == "host" else host.partition(".")[2]
    if "*" in name:
        return _stray_star(text, name)
    canonical = canonical_host(name)
    if canonical is None:
        return _no_host(text, name)
    if kind != "host" and (canonical == LOCALHOST or literal(canonical) is not None):
        return PatternProblem(
            "Wildcard of what has no subdomains",
            f'"{_shown(text)}": {canonical} has no names below it',
            f'write the host itself: "{target(canonical, port)}"',
        )
    return Pattern(kind, canonical, port=port)


def _mapped(text: str) -> str | None:
    """A name that is not ASCII as lower-case A-labels. The tables cost 10 ms: only here are they needed."""
    import idna

    try:
        name = idna.uts46_remap(text, std3_rules=False, transitional=False)
        if len(name) > _NAME_LIMIT + 1:
            return None
        return ".".join(label if label.isascii() else idna.alabel(label).decode() for label in name.split("."))
    except (UnicodeError, IndexError):  # IDNAError is a UnicodeError
        return None


def _split(text: str) -> tuple[str, int | PatternProblem | None]:
    """Host and port of a pattern. A bare IPv6 address has no port."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host, colon, digits = host + bracket, rest[:1], rest[1:]
        if colon not in ("", ":"):
            return host, _no_host(text, text)
    elif text.count(":") > 1 and not text.startswith("*"):
        return text, None
    else:
        host, colon, digits = text.partition(":")
    if not colon:
        return host, None
    if _PORT.fullmatch(digits) and int(digits) <= 65535:
        return host, int(digits)
    problem = PatternProblem(
        "Invalid port", f'"{_shown(text)}": a port is a number from 1 to 65535', f'for every port: "{_shown(host)}"'
    )
    return host, problem


def _range(text: str) -> Pattern | PatternProblem:
    address, _, length = text.partition("/")
    if not _ADDRESS_LIKE.fullmatch(address.lower().strip("[]")):
        return PatternProblem(
            "A host pattern has no path",
            f'"{_shown(text)}" is neither a host nor a range of addresses',
            f'write {{host: {_shown(address)}, paths: ["/{_shown(length)}"]}}',
        )
    try:
        network: Network = ip_network(f"{address.strip('[]')}/{_length(length)}", strict=False)
    except ValueError:
        return PatternProblem(
            "Invalid range of addresses",
            f'"{_shown(text)}" is no range: an address, "/", and the number of bits that count; it has no port',
            'write for example "203.0.113.0/24" or "2001:db8::/32"',
        )
    if ip_network(f"{network.network_address}/{network.max_prefixlen}") != ip_network(address.strip("[]")):
        return PatternProblem(
            "Range with host bits",
            f'"{_shown(text)}" names an address inside the range',
            f'write "{network}" for the range, "{_shown(address)}" for the address',
        )
    return Pattern("range", network=_unmapped(network))


def _length(text: str) -> int:
    """The digits after the slash. Raises ValueError for anything else, such as a netmask."""
    if not re.fullmatch(r"0|[1-9][0-9]{0,2}", text):
        raise ValueError(text)
    return int(text)


def _unmapped(network: Network) -> Network:
    """Ranges speak of the addresses that hosts have: of IPv4 addresses, not of their IPv6 spellings."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        top, low = divmod(int(network.network_address), 1 << 32)
        if top == 0xFFFF:
            return IPv4Network((low, network.prefixlen - 96))
    return network


def _not_an_url(text: str) -> PatternProblem:
    authority = re.split(r"[/?#\\]", text.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
    better = parse_pattern(authority)
    hint = better.text if isinstance(better, Pattern) else "api.example.com"
    return PatternProblem(
        "A pattern is not a URL", f'"{_shown(text)}": rules name hosts', f'write the host only: "{hint}"'
    )


def _stray_star(text: str, name: str) -> PatternProblem:
    after = name.rpartition("*")[2].lstrip(".")
    hint = f'write "*.{_shown(after)}" or "**.{_shown(after)}"' if after.partition(":")[0] else 'for every host: "*"'
    return PatternProblem(
        "Misplaced wildcard", f'"{_shown(text)}": "*." or "**." may only begin a pattern, and only once', hint
    )


def _no_host(text: str, name: str) -> PatternProblem:
    return PatternProblem(
        "Invalid host name",
        f'"{_shown(text)}": "{_shown(name)}" is neither a host name nor an address',
        'write for example "api.example.com", "*.example.com", "203.0.113.5:443" or "203.0.113.0/24"',
    )


def _shown(text: str) -> str:
    """Part of a user's text as it may be printed: short, and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:100])
