"""The head of a CONNECT request, read strictly: anything doubtful is refused, and other methods are not ours. Pure."""

from dataclasses import dataclass

LIMIT = 1 << 16  # bytes of a head
END = b"\r\n\r\n"


class MalformedHead(ValueError):
    """Not a proper CONNECT."""


@dataclass(frozen=True, slots=True)
class Connect:
    """`host` as it was written, without brackets."""

    host: str
    port: int


def is_connect(head: bytes) -> bool:
    """Whether it begins as a CONNECT does. Methods are case-sensitive (RFC 9110 9.1)."""
    return head.startswith(b"CONNECT ")


def parse_connect(head: bytes) -> Connect:
    """The target of a whole head (with its empty line). Raises MalformedHead."""
    line = head.split(b"\r\n", 1)[0]
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise MalformedHead("the request line is malformed")
    try:
        target = parts[1].decode("ascii")
    except UnicodeDecodeError:
        raise MalformedHead("the target is not ASCII") from None
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise MalformedHead("the target is malformed")
    if not (colon and host and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise MalformedHead("the target is not HOST:PORT")
    return Connect(host, int(port))


def refusal(status: int, phrase: str, text: str) -> bytes:
    """A whole plain answer, after which the connection closes."""
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
