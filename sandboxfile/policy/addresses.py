"""Addresses: read in any spelling, looked through for hidden IPv4 addresses, and told apart by what may be dialled.

A guest may write one address in many ways, and a name may resolve to an IPv6 address that carries an IPv4 address
to a translator. Rules must see the same address each time. Nothing here resolves a name.
"""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Blocked unless allowed by an exact host or by a range: loopback, private and link-local (cloud metadata) networks.
DEFAULT_BLOCKED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
# Not one host each: "this network", multicast, reserved and broadcast; and the range that stands for names inside.
_NEVER: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("0.0.0.0/8", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
)
_OCTAL, _DECIMAL, _HEXADECIMAL = re.compile(r"[0-7]+"), re.compile(r"[0-9]+"), re.compile(r"[0-9a-f]*")
_IPV4_BITS = 0xFFFFFFFF
# IPv6 networks with an IPv4 address in their last 32 bits, by the first 96: mapped, translated, NAT64 (RFC 6052).
_CARRIERS = frozenset({0xFFFF, 0xFFFF0000, 0x0064_FF9B_0000_0000_0000_0000})
_LOCAL_NAT64 = 0x0064_FF9B_0001  # the first 48 bits of RFC 8215
_SIX_TO_FOUR = 0x2002  # the first 16 bits
_TEREDO = 0x2001_0000  # the first 32 bits
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # the third 32 bits


def read_ipv6(text: str) -> Address | None:
    """An IPv6 address, without brackets and zone; the IPv4 address when it is a mapped or compatible one."""
    if "%" in text:
        return None
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return None
    number = int(address)
    if number >> 32 == 0xFFFF or (number >> 32 == 0 and number > 1):
        return IPv4Address(number & _IPV4_BITS)
    return address


def is_numeric(label: str) -> bool:
    """Whether a host that ends with this (lower-case) label can only be an IPv4 address (WHATWG: ends in a number)."""
    return _number(label) is not None or _DECIMAL.fullmatch(label) is not None


def read_ipv4(parts: Sequence[str]) -> IPv4Address | None:
    """The address that the system's resolver would take these dotted (lower-case) parts for, else None.

    One to four numbers, decimal, octal (`0177`) or hexadecimal (`0x7f`); the last one fills the bytes that are left.
    """
    numbers = [_number(part) for part in parts[:5]]
    if not 1 <= len(numbers) <= 4:
        return None
    value = 0
    for place, number in enumerate(numbers):
        room = 256 ** (5 - len(numbers)) if place == len(numbers) - 1 else 256
        if number is None or number >= room:
            return None
        value = value * room + number
    return IPv4Address(value)


def forms(address: Address) -> tuple[Address, ...]:
    """The address, and each IPv4 address that a translator or tunnel on the way may turn it into."""
    if isinstance(address, IPv4Address):
        return (address,)
    number = int(address)
    top = number >> 32
    hidden: list[int] = []
    if top in _CARRIERS or (top == 0 and number > 1) or number >> 80 == _LOCAL_NAT64 or top & _IPV4_BITS in _ISATAP:
        hidden.append(number)
    if number >> 112 == _SIX_TO_FOUR:
        hidden.append(number >> 80)
    if number >> 96 == _TEREDO:
        hidden += [number >> 64, ~number]
    return (address, *(IPv4Address(value & _IPV4_BITS) for value in hidden))


def never_dialled(address: Address) -> bool:
    """Whether no rule can make this address reachable."""
    return any(address in network for network in _NEVER if network.version == address.version)


def _number(part: str) -> int | None:
    """One number of an IPv4 address, None when it is none."""
    if part.startswith("0x"):
        return int(part[2:] or "0", 16) if _HEXADECIMAL.fullmatch(part, 2) else None
    if len(part) > 1 and part.startswith("0"):
        return int(part, 8) if _OCTAL.fullmatch(part) else None
    return int(part) if _DECIMAL.fullmatch(part) else None
