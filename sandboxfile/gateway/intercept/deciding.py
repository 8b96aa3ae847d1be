"""What a request that mitmproxy holds asks for, and what is forwarded of it. No I/O; nothing is decided by rules here.

All names of a request must be one: connection, target, Host and `:authority`.
"""

from dataclasses import dataclass

from mitmproxy import http

from sandboxfile.gateway.intercept.reading import Field, Malformed, Place, check_http2, place_of, values

_OURS = frozenset({b"proxy-connection", b"proxy-authorization", b"expect"})  # meant for a proxy: never forwarded
_CLEARTEXT_HTTP2 = frozenset({b"upgrade", b"http2-settings"})  # an offer that a proxy may pass over
_SHOWN = 200  # characters of a name in a sentence


class Disagreement(Exception):
    """The request names two places; the text says which. `place` is the one of the connection."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answers by itself, as plain text. `blocked`: by the policy."""

    status: int
    text: str
    blocked: bool = False

    def response(self, *, close: bool) -> http.Response:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self.blocked:
            headers["X-Sandbox-Policy"] = "blocked"
        if close:
            headers["Connection"] = "close"
        return http.Response.make(self.status, self.text.encode(), headers)


@dataclass(frozen=True, slots=True)
class Prepared:
    """`continues`: the client waits for our word before it sends the body. `websocket`: it asks to switch to one."""

    continues: bool
    websocket: bool


def place_of_request(request: http.Request, fixed: Place | None) -> Place:
    """Where a request goes. `fixed` is the one place of its connection, None for a proxy that is told with each.

    Raises Malformed, Disagreement.
    """
    data = request.data
    names = values(data.headers.fields, b"host")
    if request.is_http2:
        check_http2(data.path, data.method, data.headers.fields)
        names = [data.authority, *names] if data.authority else names
    elif not names and data.http_version == b"HTTP/1.1":
        raise Malformed("it has no Host header")
    place = _target(request, fixed)
    if request.is_http2 and not names:
        raise Malformed("it names no host")
    for name in names:
        if place_of(_text(name), place.protocol) != place:
            raise Disagreement(place, f"the Host header says {_shown(name)}, but the connection is to {place.text}")
    return place


def _target(request: http.Request, fixed: Place | None) -> Place:
    data = request.data
    if not data.scheme:
        if fixed is None:
            raise Malformed("a proxy needs a whole URL (http://...) as the target")
        return fixed
    place = place_of(_text(data.authority), "https" if data.scheme == b"https" else "http") if data.authority else fixed
    if place is None or data.scheme not in (b"http", b"https"):
        raise Malformed("its target is malformed")
    if fixed is not None and (place != fixed or data.scheme.decode() != fixed.protocol):
        told = f"{_text(data.scheme)}://{_shown(data.authority)}"
        raise Disagreement(fixed, f"the request is for {told}, but the connection is to {fixed.text}")
    return place


def prepare(request: http.Request, place: Place) -> Prepared:
    """Change a request that was allowed into what is forwarded. Raises Malformed for what cannot be forwarded.

    Credentials are added to what this leaves: by `place.host`, which is what was decided and what the server's
    certificate is checked against, and for `place.protocol` "https" only.
    """
    data = request.data
    fields = data.headers.fields
    expectations = [value.lower() for value in values(fields, b"expect")]
    if any(value != b"100-continue" for value in expectations):
        raise Malformed("it expects something unknown")
    upgrade = _upgrade(fields)
    dropped = _OURS if upgrade != b"h2c" else _OURS | _CLEARTEXT_HTTP2
    kept = [_forwarded(field, place, upgrade) for field in fields if field[0].lower() not in dropped]
    if not request.is_http2:
        data.authority = b""
        if not values(kept, b"host"):
            kept.insert(0, (b"Host", _authority(b"", place)))
    elif data.authority:
        data.authority = _authority(data.authority, place)
    data.headers.fields = tuple(kept)
    data.host, data.port, data.scheme = place.host, place.port, place.protocol.encode()
    return Prepared(bool(expectations), upgrade == b"websocket")


def _upgrade(fields: tuple[Field, ...]) -> bytes:
    """To what the client wants to switch: nothing, `websocket`, or `h2c`, which is passed over."""
    wanted = [token.strip().lower() for value in values(fields, b"upgrade") for token in value.split(b",")]
    if all(token.startswith((b"h2c", b"tls/")) for token in wanted):
        return b"h2c" if wanted else b""
    if wanted != [b"websocket"]:
        raise Malformed("it asks for another protocol than WebSocket")
    return b"websocket"


def _forwarded(field: Field, place: Place, upgrade: bytes) -> Field:
    name, value = field
    lower = name.lower()
    if lower == b"host":
        return name, _authority(value, place)
    if lower == b"connection" and upgrade == b"h2c":
        tokens = [token.strip() for token in value.split(b",")]
        return name, b", ".join(token for token in tokens if token.lower() not in _CLEARTEXT_HTTP2) or b"keep-alive"
    return field


def _authority(written: bytes, place: Place) -> bytes:
    """`written` where it spells the canonical host, as signatures may cover it; else the canonical spelling."""
    host = f"[{place.host}]" if ":" in place.host else place.host
    if written.lower().rpartition(b":")[0] == host.encode() or written.lower() == host.encode():
        return written
    usual = {"http": 80, "https": 443}[place.protocol]
    return (host if place.port == usual else f"{host}:{place.port}").encode()


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _shown(value: bytes) -> str:
    return "".join(char if char.isprintable() else "?" for char in value[:_SHOWN].decode("ascii", "replace"))
