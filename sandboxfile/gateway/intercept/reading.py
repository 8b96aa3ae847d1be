"""Request heads in one reading or none. Pure: bytes in, values out.

Two parties that read the same bytes differently can be played against each other: a request that is hidden from the
policy in the body of another, a name that only the origin sees. So anything that some server somewhere reads in another
way is refused (RFC 9112 2.2, 3, 5.1, 5.2, 6.1, 6.3), and what is forwarded is made of what was read here.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sandboxfile.model.policy import Protocol
from sandboxfile.policy.patterns import canonical_host, target

LIMIT = 1 << 16  # bytes of a head
END = b"\r\n\r\n"
_FIELDS = 256

Field = tuple[bytes, bytes]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_TARGET = rb"[\x21\x22\x24-\x7e\x80-\xff]++"  # without spaces, controls and fragments
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
_LINE = re.compile(rb"(%b) (%b) (HTTP/1\.[01])" % (_TOKEN, _TARGET))
_LINE_SO_FAR = re.compile(rb"%b(?: (?:%b)?(?: [HTP/1.0]*\r?)?)?" % (_TOKEN, _TARGET))
_HEAD = re.compile(rb"(?:%b) (?:%b) HTTP/1\.[01]\r\n((?:%b:%b\r\n)*+)\r\n" % (_TOKEN, _TARGET, _TOKEN, _VALUE))
_BARE = re.compile(rb"(?<!\r)\n")
_NAME = re.compile(_TOKEN)
_VALUE_WHOLE = re.compile(_VALUE)
_METHOD = re.compile(rb"[A-Z][A-Z0-9_-]*+")
_ABSOLUTE = re.compile(rb"(?i:(https?))://([^/?@]+)(/.*|\?.*|)", re.DOTALL)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_HOP = (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")


class Malformed(ValueError):
    """Not a request, or one that could be read in more than one way. The text follows `the request was refused: `."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes. `host` is canonical."""

    host: str
    port: int
    protocol: Protocol

    @property
    def text(self) -> str:
        return target(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Head:
    """A request of HTTP/1. `scheme` and `authority` are empty but for a target in absolute form. `length`: bytes of
    the body, None when it is chunked."""

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    version: bytes
    fields: tuple[Field, ...]
    length: int | None


def head_end(data: bytes) -> int:
    """How many bytes the head at the beginning of `data` has; 0: more is needed. Raises Malformed, early."""
    end = data.find(END, 0, LIMIT)
    if end >= 0:
        return end + len(END)
    if len(data) >= LIMIT:
        raise Malformed("its head is too long")
    line, found, _ = data.partition(b"\r\n")
    begun = _LINE.fullmatch(line) if found else _LINE_SO_FAR.fullmatch(line)
    if (data and begun is None) or _BARE.search(data):
        raise Malformed("this is not HTTP/1")
    return 0


def parse_head(data: bytes) -> Head:
    """A whole head. Raises Malformed."""
    found = _HEAD.fullmatch(data)
    if found is None:
        raise Malformed("its head is malformed")
    lines = found[1].split(b"\r\n")[:-1]
    fields = tuple((name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines))
    line = _LINE.match(data)
    assert line is not None
    method, where, version = line.groups()
    check_method(method)
    scheme, authority, path = _split_target(method, where)
    return Head(method, scheme, authority, path, version, fields, _framing(fields, version))


def check_method(method: bytes) -> None:
    """Raises Malformed. Servers differ about the case of methods."""
    if _METHOD.fullmatch(method) is None:
        raise Malformed("methods are written in capitals")


def check_http2(path: bytes, method: bytes, fields: Sequence[Field]) -> None:
    """The same for what HTTP/2 has besides framing. Raises Malformed."""
    check_method(method)
    if re.fullmatch(_TARGET, path) is None or not (path.startswith(b"/") or (path, method) == (b"*", b"OPTIONS")):
        raise Malformed("its path is malformed")
    for name, value in fields:
        if _NAME.fullmatch(name) is None or _VALUE_WHOLE.fullmatch(value) is None:
            raise Malformed("a header is malformed")
        if name.lower() in _HOP:
            raise Malformed("HTTP/2 has no headers about connections")
    _framing(fields, b"HTTP/2.0")


def _split_target(method: bytes, where: bytes) -> tuple[bytes, bytes, bytes]:
    if method == b"CONNECT":
        return b"", where, b""
    if where.startswith(b"/") or (where == b"*" and method == b"OPTIONS"):
        return b"", b"", where
    if (found := _ABSOLUTE.fullmatch(where)) is None:
        raise Malformed("its target is malformed")
    path = found[3]
    return found[1].lower(), found[2], path if path.startswith(b"/") else b"/" + path


def _framing(fields: Sequence[Field], version: bytes) -> int | None:
    if len(fields) > _FIELDS:
        raise Malformed("it has too many headers")
    lengths = values(fields, b"content-length")
    codings = values(fields, b"transfer-encoding")
    if len(values(fields, b"host")) > 1:
        raise Malformed("it has several Host headers")
    if len(lengths) + len(codings) > 1:
        raise Malformed("it has several lengths")
    if codings and (codings[0].lower() != b"chunked" or version != b"HTTP/1.1"):
        raise Malformed("its transfer coding is not just chunked")
    if lengths and _LENGTH.fullmatch(lengths[0]) is None:
        raise Malformed("its length is not a number")
    return None if codings else int(lengths[0]) if lengths else 0


def values(fields: Iterable[Field], name: bytes) -> list[bytes]:
    """Of all headers of this (lower-case) name."""
    return [value for field, value in fields if field.lower() == name]


def place_of(authority: str, protocol: Protocol, default: int | None = None) -> Place | None:
    """What `HOST[:PORT]` means, None when it is malformed."""
    found = _AUTHORITY.fullmatch(authority)
    host = canonical_host(found[1]) if found is not None else None
    if found is None or host is None:
        return None
    port = int(found[2]) if found[2] else default or (443 if protocol == "https" else 80)
    return Place(host, port, protocol) if 0 < port < 65536 else None


def decided_path(path: bytes) -> str:
    """A path for the policy: without the query, bytes beyond ASCII percent-encoded as any server would take them."""
    plain = path.split(b"?", 1)[0]
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in plain)
