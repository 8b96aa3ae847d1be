"""Ports that are dialled by address: the address of ours that was dialled says which name was meant."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from sandboxfile.gateway import reading
from sandboxfile.gateway.acceptor import Client, Door, inspect
from sandboxfile.gateway.addresses import NETWORK
from sandboxfile.gateway.choosing import Choice, choose_tcp, choose_tls, could_be_web, name_fault, refused
from sandboxfile.gateway.hello import looks_like_tls
from sandboxfile.gateway.passage import Passage
from sandboxfile.model.policy import Decision, Request

# What the sandbox calls 10.0.2.2 (host.docker.internal) arrives here, where the sandbox's network ends, as loopback.
_HOST = IPv4Address("127.0.0.1")


async def serve_transparent(door: Door, client: Client) -> None:
    """Serve one client. Raises OSError when it is gone, NotTLS when it begins TLS and does not go on."""
    text, port = client.sock.getsockname()[:2]
    dialled = ip_address(text)
    host = _meant(door, dialled)
    if host is None:
        reason = f"{dialled} stands for no name, or no longer: the name must be looked up again"
        unknown = Decision(False, str(dialled), port, "unknown address", "gateway", "", reason)
        _deny(door, Request(str(dialled), port, "tcp"), unknown)
        return
    door.addresses.opened(host)
    try:
        await _serve(door, client, host, port)
    finally:
        door.addresses.closed(host)


def _meant(door: Door, dialled: IPv4Address | IPv6Address) -> str | None:
    if dialled == _HOST:
        return "localhost"
    if isinstance(dialled, IPv4Address) and dialled in NETWORK:
        return door.addresses.name(dialled)
    return str(dialled)


async def _serve(door: Door, client: Client, host: str, port: int) -> None:
    tenant = door.tenant
    if (choice := await choose_tcp(tenant, host, port)) is not None:
        await _pass_on(door, client, choice, b"")
        return
    if not could_be_web(tenant, host, port):
        request = Request(host, port, "tcp")
        _deny(door, request, tenant.decide(request))
        return
    seen = await reading.first_bytes(client.sock)
    if looks_like_tls(seen):
        await _serve_tls(door, client, host, port, seen)
    elif seen[:1].isalpha():  # as the methods of HTTP begin
        await inspect(door, client, await reading.whole_head(client.sock, seen), (host, port))
    else:
        request = Request(host, port, "tcp")
        _deny(door, request, tenant.decide(request))


async def _serve_tls(door: Door, client: Client, host: str, port: int, seen: bytes) -> None:
    hello, seen = await reading.whole_hello(client.sock, seen)
    choice = await choose_tls(door.tenant, host, port)
    if choice.inspected:  # there it also reads why, when its server name is not the one dialled
        await inspect(door, client, seen, (host, port))
    elif fault := name_fault(hello, host):
        _deny(door, choice.request, refused(choice.decision, fault))
    else:
        await _pass_on(door, client, choice, seen)


async def _pass_on(door: Door, client: Client, choice: Choice, seen: bytes) -> None:
    if not choice.decision.allowed:
        _deny(door, choice.request, choice.decision)
        return
    with Passage(door.tenant, client.take(), choice.request, choice.decision, "transparent") as passage:
        await passage.reach()
        await passage.run(seen)


def _deny(door: Door, request: Request, decision: Decision) -> None:
    """Log it; returning closes the connection."""
    if decision.allowed:  # by a policy that came this moment: the client tries again
        decision = refused(decision, "the policy changed while it was decided")
    door.tenant.begin(request, decision, None, via="transparent", inspected=False)
