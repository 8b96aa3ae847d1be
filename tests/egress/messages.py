"""What HTTP/1.1 and HTTP/2 have in common here: a request, its body as it comes, a response that may be a stream."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from .ledger import Seen


@dataclass
class Incoming:
    """A request. `body` gives what the client sends, as it arrives; it need not be read to the end."""

    seen: Seen
    tls: bool
    body: AsyncIterator[bytes]

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.seen.target).path)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.seen.target).query).items()}

    @property
    def raw_query(self) -> str:
        return urlsplit(self.seen.target).query

    def header(self, name: str) -> str:
        return next((value for key, value in self.seen.headers if key == name), "")

    @property
    def base(self) -> str:
        """`https://HOST[:PORT]` as the client sees us."""
        return f"{'https' if self.tls else 'http'}://{self.seen.host}"


@dataclass
class Response:
    """`length` of a streamed body that is known before; without it the body is chunked (or ends with the stream)."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None

    @property
    def bodiless(self) -> bool:
        """Never has a body, nor says how long it is (RFC 9110, 6.4.1 and 8.6)."""
        return self.status in (204, 304)

    @property
    def known_length(self) -> int | None:
        return len(self.body) if isinstance(self.body, bytes) else self.length

    async def chunks(self) -> AsyncIterator[bytes]:
        if isinstance(self.body, bytes):
            if self.body:
                yield self.body
            return
        async for chunk in self.body:
            yield chunk


Answer = Callable[[Incoming], Awaitable[Response]]
