"""The way in: a client's first bytes, from which it is known where it wants to go, and how.

A CONNECT is always accepted, and a denial is told within TLS, where programs show it. What is neither TLS nor HTTP is
closed at once.
"""

import asyncio
import traceback
from pathlib import Path

from sandboxfile.gateway.head import MalformedHead, parse_connect, refusal
from sandboxfile.gateway.hello import NotTLS, looks_like_tls
from sandboxfile.gateway.intercept.certificates import Certificates
from sandboxfile.gateway.intercept.connection import ClientConnection, Upstream, reach
from sandboxfile.gateway.intercept.links import Link, TlsLink
from sandboxfile.gateway.intercept.reading import Malformed, Place, head_end, parse_head, place_of
from sandboxfile.gateway.intercept.tls import HANDSHAKE, Trust, failure_words, read_hello
from sandboxfile.gateway.intercept.verdicts import refuse
from sandboxfile.gateway.records import Via
from sandboxfile.gateway.streams import Peeked
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.host.saying import say
from sandboxfile.model.policy import Decision, Request
from sandboxfile.policy.patterns import canonical_host

_FIRST = 60.0  # seconds for a client to say what it wants
_LINGER = 10.0  # seconds for the last bytes to get to a client


class Interceptor:
    """One per process, made inside the running loop."""

    def __init__(self, trusted: Path | None) -> None:
        """`trusted`: a bundle of authorities besides the system's. Raises OSError when it cannot be read."""
        self._trust = Trust(trusted)

    async def explicit(self, tenant: Tenant, client: Peeked) -> None:
        """Serve a client of the explicit proxy until its connection is over."""
        link = Link(client.reader, client.writer)
        try:
            await self._explicit(tenant, link)
        except (OSError, NotTLS):
            pass  # the client went away, or never came
        except Exception:
            _say_mistake(tenant)
        finally:
            await _close(link)

    async def transparent(self, tenant: Tenant, client: Peeked, host: str, port: int) -> None:
        """Serve a client that dialled `host` itself until its connection is over."""
        link = Link(client.reader, client.writer)
        try:
            name = canonical_host(host)
            if name is not None:
                await self._tunnel(tenant, link, name, port, "transparent")
        except (OSError, NotTLS):
            pass
        except Exception:
            _say_mistake(tenant)
        finally:
            await _close(link)

    async def _explicit(self, tenant: Tenant, link: Link) -> None:
        try:
            async with asyncio.timeout(_FIRST):
                data = await link.peek()
                if not data.startswith(b"CONNECT "):
                    end = 0
                else:
                    while not (end := head_end(data)) and len(longer := await link.peek(len(data))) > len(data):
                        data = longer
                    place = _connect_place(data[:end])
        except (Malformed, MalformedHead) as exc:
            link.write(refusal(400, "Bad Request", refuse(tenant, None, str(exc), "proxy")))
            return
        if not end:
            await ClientConnection(tenant, self._trust, link, None, "proxy").run()
            return
        link.take(end)
        link.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        link.flush()
        await self._tunnel(tenant, link, place.host, place.port, "proxy")

    async def _tunnel(self, tenant: Tenant, link: Link, host: str, port: int, via: Via) -> None:
        async with asyncio.timeout(_FIRST):
            first = await link.peek()
            secure = looks_like_tls(first)
            name, http2 = await read_hello(link) if secure else (None, False)
        if secure:
            await self._secure(tenant, link, Place(host, port, "https"), via, name, http2)
        elif first[:1].isalpha():
            await ClientConnection(tenant, self._trust, link, Place(host, port, "http"), via).run()

    async def _secure(self, tenant: Tenant, link: Link, place: Place, via: Via, name: str | None, http2: bool) -> None:
        if tenant.certificates is None:
            tenant.certificates = Certificates(tenant.authority.certificate, tenant.authority.key)
        shown = canonical_host(name) if name else place.host
        if shown is None:
            return
        disagreement = (
            "" if shown == place.host else f"the TLS server name is {shown}, but the connection is to {place.text}"
        )
        asked = Request(place.host, place.port)
        ready = await self._agree(tenant, asked, place) if http2 and not disagreement else None
        try:
            http2 = http2 and (ready is None or ready.http2)
            context = tenant.certificates.context(shown, http2)
            secured = TlsLink(*link.release(), context)
            try:
                async with asyncio.timeout(HANDSHAKE):
                    await secured.handshake()
            except OSError as exc:
                _tell_failure(tenant, asked, via, exc)
                return
            serving = ClientConnection(
                tenant, self._trust, secured, place, via, http2=secured.http2, disagreement=disagreement, ready=ready
            )
            ready = None
            await serving.run()
            secured.close()
        finally:
            if ready is not None:
                ready.link.abort()

    async def _agree(self, tenant: Tenant, asked: Request, place: Place) -> Upstream | None:
        """Connect before the client is answered, to offer it HTTP/2 just where the server has it.

        A client that was offered more would need a new upstream connection for each of its requests.
        """
        decision = await tenant.authorize(asked)
        if not decision.allowed:
            return None
        try:
            return await reach(tenant, self._trust, place, decision, True)
        except OSError:
            return None  # tried again, and told, with the first request


def _connect_place(data: bytes) -> Place:
    """Of a whole head. Raises Malformed, MalformedHead."""
    head = parse_head(data)
    target = parse_connect(data)
    place = place_of(head.authority.decode("latin-1"), "https", target.port)
    if place is None or head.length != 0:
        raise Malformed("its target is malformed")
    for field, value in head.fields:
        if field.lower() == b"host" and place_of(value.decode("latin-1"), "https", target.port) != place:
            raise Malformed("its Host header says another place")
    return place


def _tell_failure(tenant: Tenant, asked: Request, via: Via, error: OSError) -> None:
    """Log a client that did not want our certificate: nothing else would show it."""
    decision: Decision = tenant.decide(asked)
    flow = tenant.begin(asked, decision, None, via=via)
    flow.end(error=f"the client broke off the TLS handshake with the gateway: {failure_words(error)}")


def _say_mistake(tenant: Tenant) -> None:
    say(f"a connection of {tenant.id} is ended, because of a bug in sandboxfile:\n{traceback.format_exc()}")


async def _close(link: Link) -> None:
    try:
        link.close()
        async with asyncio.timeout(_LINGER):
            await link.wait_closed()
    except OSError:
        pass
    finally:
        link.abort()
