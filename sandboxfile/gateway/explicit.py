"""The explicit proxy: HTTP requests that name their target. Tunnels what CONNECT asks for and needs no look inside."""

import asyncio

import anyio

from sandboxfile.gateway import head, reading
from sandboxfile.gateway.acceptor import Client, Door, inspect
from sandboxfile.gateway.choosing import Choice, choose, name_fault, refused
from sandboxfile.gateway.hello import NotTLS
from sandboxfile.gateway.passage import Passage

_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def serve_explicit(door: Door, client: Client) -> None:
    """Serve one client. Raises OSError when it is gone."""
    try:
        seen = await reading.whole_head(client.sock)
    except reading.TooMuch:
        await _answer(client, head.refusal(431, "Request Header Fields Too Large", "The head is too long.\n"))
        return
    if not head.is_connect(seen):
        await inspect(door, client, seen, None)
        return
    try:
        target = head.parse_connect(seen)
    except head.MalformedHead as exc:
        await _answer(client, head.refusal(400, "Bad Request", f"Malformed CONNECT: {exc}.\n"))
        return
    choice = await choose(door.tenant, target.host, target.port)
    if choice.inspected:
        await inspect(door, client, seen, None)
    elif choice.decision.allowed:
        await _tunnel(door, client, choice, seen[seen.index(head.END) + len(head.END) :])
    else:
        door.tenant.begin(choice.request, choice.decision, None, inspected=False)
        text = door.tenant.denial(choice.request, choice.decision)
        await _answer(client, head.refusal(403, "Forbidden", text))


async def _tunnel(door: Door, client: Client, choice: Choice, rest: bytes) -> None:
    with Passage(door.tenant, client.take(), choice.request, choice.decision, "proxy") as passage:
        try:
            await passage.reach()
        except OSError as exc:
            passage.fail(exc)
            text = f"sandboxfile cannot reach {choice.decision.host}:{choice.decision.port}: {exc.strerror or exc}\n"
            await passage.say(head.refusal(502, "Bad Gateway", text))
            return
        await passage.say(_CONNECTED)
        if choice.request.protocol != "tcp":
            rest, fault = await _proved(passage, rest, choice.decision.host)
            if fault:
                passage.refuse(refused(choice.decision, fault))
                return
        await passage.run(rest)


async def _proved(passage: Passage, rest: bytes, host: str) -> tuple[bytes, str]:
    """What the client has said so far, and why it may not go to `host`, if it may not."""
    try:
        hello, seen = await reading.whole_hello(passage.client, rest)
    except NotTLS as exc:
        return rest, f"nothing but TLS may be tunnelled to {host}: {exc}"
    return seen, name_fault(hello, host)


async def _answer(client: Client, data: bytes) -> None:
    with anyio.move_on_after(reading.TIMEOUT):
        await asyncio.get_running_loop().sock_sendall(client.sock, data)
