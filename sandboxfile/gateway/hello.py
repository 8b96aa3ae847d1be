"""What a TLS client says first: the server name it asks for. Pure; what is malformed is an error, never a guess.

RFC 8446 4.1.2 and RFC 6066 3. Records may be cut anywhere, and a hello may span several of them.
"""

from dataclasses import dataclass

LIMIT = 1 << 16  # bytes of a whole hello with its record headers
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_RECORD = 1 << 14


class NotTLS(ValueError):
    """These bytes are not the beginning of a TLS connection, or not a proper one."""


@dataclass(frozen=True, slots=True)
class Hello:
    """`name` is the server name as it was sent (ASCII), or None when there is none."""

    name: str | None


def looks_like_tls(data: bytes) -> bool:
    """Whether a connection that begins so can only be TLS: no other protocol here begins with this byte."""
    return data[:1] == b"\x16"


def parse_hello(data: bytes) -> Hello | None:
    """The hello at the beginning of `data`; None: more is needed. Raises NotTLS."""
    message = _message(data)
    if message is None:
        return None
    try:
        return Hello(_server_name(_Reader(message)))
    except IndexError:
        raise NotTLS("the hello is cut short") from None


def _message(data: bytes) -> bytes | None:
    """The handshake message, without its own header, out of its records."""
    message = b""
    at = 0
    while True:
        header = data[at : at + 5]
        _check_header(header)
        if len(header) < 5:
            break
        after = at + 5 + int.from_bytes(header[3:])
        message += data[at + 5 : after]
        if message and message[0] != _CLIENT_HELLO:
            raise NotTLS("it does not begin with a client hello")
        if len(message) >= 4 and len(message) >= (end := 4 + int.from_bytes(message[1:4])):
            return message[4:end]
        if after > len(data):
            break
        at = after
    if len(data) >= LIMIT:
        raise NotTLS("the hello is too long")
    return None


def _check_header(header: bytes) -> None:
    """Of a record, as much of it as there is: type, version, length."""
    if (header and header[0] != _HANDSHAKE) or (len(header) > 1 and header[1] != 3):
        raise NotTLS("it does not begin with a TLS handshake")
    if len(header) == 5 and not 0 < int.from_bytes(header[3:]) <= _RECORD:
        raise NotTLS("a TLS record has an impossible length")


class _Reader:
    """Takes fields off the front; raises IndexError when there is not enough."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        if count > len(self.data):
            raise IndexError
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def block(self, size: int) -> "_Reader":
        """What a length of `size` bytes announces."""
        return _Reader(self.take(self.number(size)))


def _server_name(hello: _Reader) -> str | None:
    hello.take(2 + 32)  # version, random
    hello.block(1)  # session
    hello.block(2)  # cipher suites
    hello.block(1)  # compression methods
    if not hello.data:
        return None
    extensions = hello.block(2)
    names: list[bytes] = []
    while extensions.data:
        kind, content = extensions.number(2), extensions.block(2)
        if kind == _SERVER_NAME:
            names += _names(content.block(2))
    if len(names) > 1:  # whoever reads the first and whoever reads the last would not agree
        raise NotTLS("the hello has several server names")
    return _text(names[0]) if names else None


def _names(entries: _Reader) -> list[bytes]:
    found = []
    while entries.data:
        kind, name = entries.number(1), entries.block(2)
        if kind != _HOST_NAME:
            raise NotTLS("the server name is of an unknown kind")
        found.append(name.data)
    return found


def _text(name: bytes) -> str:
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise NotTLS("the server name is not ASCII") from None
