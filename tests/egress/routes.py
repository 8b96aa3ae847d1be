"""What the web servers answer.

/                      a short greeting               /status/CODE          that status
/headers               the request itself, as JSON    /redirect/COUNT       COUNT redirects, then /
/bytes/N               N bytes of the pattern         /redirect?to=URL      one redirect to URL
/chunked/N             the same, chunked              /events/COUNT/SECONDS server-sent events, SECONDS apart
/upload (PUT, POST)    {"length", "sha256"} of the body
/ws                    WebSocket echo (HTTP/1.1)
/npm /simple /debian   registries of one tiny package each    /git/sample.git  a repository, read and write
"""

import hashlib
import json
from collections.abc import AsyncIterator

import anyio

from .messages import Incoming, Response
from .packages import Shelf
from .pattern import pattern
from .repository import Repository

_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_JSON = ("Content-Type", "application/json")


class Routes:
    def __init__(self, shelf: Shelf, repository: Repository) -> None:
        self._shelf = shelf
        self._repository = repository

    async def answer(self, incoming: Incoming) -> Response:
        _, first, *rest = incoming.path.split("/")
        match first, rest:
            case "", _:
                return Response(headers=[_TEXT], body=b"hello from the origin\n")
            case "headers", _:
                return Response(headers=[_JSON], body=_echo(incoming))
            case (("bytes" | "chunked"), [size]) if size.isdecimal():
                length = int(size) if first == "bytes" else None
                return Response(
                    headers=[("Content-Type", "application/octet-stream")], body=_flow(int(size)), length=length
                )
            case "upload", _:
                return await _received(incoming)
            case "status", [code] if code.isdecimal():
                return Response(int(code), [_TEXT], body=f"{code}\n".encode())
            case "redirect", _:
                return _redirect(incoming, rest)
            case "events", [count, seconds]:
                return Response(
                    headers=[("Content-Type", "text/event-stream")], body=_events(int(count), float(seconds))
                )
            case "git", [name, *below] if name == self._repository.name:
                return await self._repository.answer(incoming, "/".join(below))
            case (("npm" | "simple" | "debian"), _):
                return self._shelf.answer(incoming)
        return Response(404, [_TEXT], body=b"nothing here\n")


def _echo(incoming: Incoming) -> bytes:
    seen = incoming.seen
    fields = {
        "server": seen.server,
        "method": seen.method,
        "target": seen.target,
        "version": seen.version,
        "headers": seen.headers,
        "tls": incoming.tls,
        "sni": seen.sni,
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


async def _flow(length: int) -> AsyncIterator[bytes]:
    for piece in pattern(length):
        yield piece


async def _received(incoming: Incoming) -> Response:
    digest, length = hashlib.sha256(), 0
    async for data in incoming.body:
        digest.update(data)
        length += len(data)
    return Response(headers=[_JSON], body=json.dumps({"length": length, "sha256": digest.hexdigest()}).encode() + b"\n")


def _redirect(incoming: Incoming, rest: list[str]) -> Response:
    left = int(rest[0]) if rest else 0
    target = f"/redirect/{left - 1}" if left > 1 else incoming.query.get("to", "/")
    return Response(302, [("Location", target)])


async def _events(count: int, seconds: float) -> AsyncIterator[bytes]:
    for number in range(count):
        if number:
            await anyio.sleep(seconds)
        yield f"id: {number}\ndata: event {number}\n\n".encode()
