"""The name server of one sandbox: it knows what the policy may allow, and nothing leaves because of a question.

A name that could be allowed gets an address of ours, which tells the acceptor later which name was meant; a denied
one does not exist. Every answer goes out from the address that was asked.
"""

import asyncio
import socket
import time
from ipaddress import IPv4Address

import anyio

from sandboxfile.gateway import dns
from sandboxfile.gateway.addresses import NETWORK, TTL, Exhausted, FakeAddresses
from sandboxfile.gateway.records import name_record
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.policy.patterns import canonical_host, literal

_GATEWAY = IPv4Address("10.0.2.2").packed  # this host, inside
_LOOPBACK = IPv4Address("127.0.0.1").packed  # the sandbox itself, inside
_IP_PKTINFO = 8  # linux/in.h; Python 3.12 has no name for it
_AT_ONCE = 64  # questions answered before others get their turn
_REVERSE = ".in-addr.arpa"


class Names:
    """Names and their addresses inside one sandbox."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.addresses = FakeAddresses(time.monotonic)

    def answer(self, message: bytes) -> bytes | None:
        """The answer to one datagram, whatever it holds; None: it gets none."""
        match dns.parse_question(message):
            case None:
                return None
            case dns.Malformed() as malformed:
                return dns.failure(malformed)
            case dns.Question() as question:
                return self._answer(question)

    def _answer(self, question: dns.Question) -> bytes:
        name = question.name
        if name is None:
            return dns.answer(question, dns.NO_SUCH_NAME)
        if name.endswith(_REVERSE):
            return self._reverse(question, name)
        if name in ("localhost", "host.docker.internal"):
            return _address(question, _LOOPBACK if name == "localhost" else _GATEWAY)
        host = canonical_host(name)
        if host is None or literal(host) is not None or host == "localhost":
            return dns.answer(question, dns.NO_SUCH_NAME)
        if not self._tenant.resolvable(host):
            self._denied(host, "the policy allows nothing at it")
            return dns.answer(question, dns.NO_SUCH_NAME)
        if question.kind != dns.A:
            return dns.answer(question)
        try:
            return _address(question, self.addresses.address(host).packed)
        except Exhausted:
            self._denied(host, "too many names are in use")
            return dns.answer(question, dns.SERVER_FAILURE)

    def _denied(self, host: str, why: str) -> None:
        found = name_record(self._tenant.id, host, f"{host} does not resolve inside: {why}")
        self._tenant.log.write_repeated(f"name {host}", found)

    def _reverse(self, question: dns.Question, name: str) -> bytes:
        try:
            address = IPv4Address(".".join(reversed(name.removesuffix(_REVERSE).split("."))))
        except ValueError:
            return dns.answer(question, dns.NO_SUCH_NAME)
        found = self.addresses.name(address) if address in NETWORK else None
        if found is None:
            return dns.answer(question, dns.NO_SUCH_NAME)
        return dns.answer(question, data=dns.wire_name(found) if question.kind == dns.PTR else b"", ttl=TTL)


def _address(question: dns.Question, address: bytes) -> bytes:
    return dns.answer(question, data=address if question.kind == dns.A else b"", ttl=TTL)


async def serve_names(sock: socket.socket, names: Names) -> None:
    """Answer what comes on a UDP socket until cancelled; it is closed then."""
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def answer_some() -> None:
        for _ in range(_AT_ONCE):
            if not _answer_one(sock, names):
                return

    loop.add_reader(sock, answer_some)
    try:
        await anyio.sleep_forever()
    finally:
        loop.remove_reader(sock)
        sock.close()


def _answer_one(sock: socket.socket, names: Names) -> bool:
    """Whether there was something to read."""
    try:
        message, ancillary, _, sender = sock.recvmsg(4096, socket.CMSG_SPACE(12))
    except BlockingIOError:
        return False
    except OSError:  # an earlier answer found nobody
        return True
    try:
        if (reply := names.answer(message)) is not None:
            sock.sendmsg([reply], _from(ancillary), 0, sender)
    except OSError:  # the queue is full: it asks again
        pass
    return True


def _from(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The control message that makes the answer leave from the address that was asked (struct in_pktinfo)."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) == 12:
            return [(level, kind, b"\0\0\0\0" + data[8:12] + b"\0\0\0\0")]
    return []
