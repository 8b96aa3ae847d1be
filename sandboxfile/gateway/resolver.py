"""Names to addresses, on this host, for what the policy has let pass by name. Nothing inside ever asks a name server.

Bounded: so many names at a time for a sandbox and for all, each with a time limit. What was found is good for a few
seconds, as one request after another to the same host is the usual case; who checks an answer dials that very answer.
"""

import asyncio
import ipaddress
import socket
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import anyio
from anyio import CapacityLimiter

from sandboxfile.gateway.overrides import Overrides
from sandboxfile.policy.patterns import Address, literal

_THREADS = 64
_TIMEOUT = 10.0  # seconds
_GOOD_FOR = 5.0  # seconds
_KNOWN = 1024
_ADDRESSES = 16  # of one name
_LOCAL = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))

Addresses = tuple[Address, ...]


class Resolver:
    """One for all sandboxes. Its threads are never more than `_THREADS`, also when a name server hangs."""

    def __init__(self, overrides: Overrides) -> None:
        self._overrides = overrides
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolve")
        self._known: OrderedDict[str, tuple[float, Addresses]] = OrderedDict()

    async def resolve(self, host: str, port: int, slots: CapacityLimiter) -> Addresses:
        """The addresses of a canonical host, in the order to try them; at least one. Raises OSError."""
        if targets := self._overrides.targets(host, port):
            return tuple(target.address for target in targets)
        if (address := literal(host)) is not None:
            return (address,)
        if host == "localhost":
            return _LOCAL
        if found := self._remembered(host):
            return found
        with anyio.move_on_after(_TIMEOUT):
            found = await self._ask(host, slots)
            self._remember(host, found)
            return found
        raise TimeoutError(f"no answer within {_TIMEOUT:g} s")

    def port(self, host: str, port: int, address: Address) -> int:
        """The port to dial at this address of `host`, of which `port` was asked for."""
        for target in self._overrides.targets(host, port):
            if target.address == address and target.port is not None:
                return target.port
        return port

    def close(self) -> None:
        """Give up what is being asked."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, host: str, slots: CapacityLimiter) -> Addresses:
        loop = asyncio.get_running_loop()
        borrower = object()
        await slots.acquire_on_behalf_of(borrower)

        def over(_: object) -> None:
            # Not when we gave up: a thread that hangs must count against the sandbox that made it hang.
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(slots.release_on_behalf_of, borrower)

        asking = self._threads.submit(_getaddrinfo, host)
        asking.add_done_callback(over)
        try:
            found = await asyncio.wrap_future(asking)
        except UnicodeError as exc:  # a name that no resolver can express
            raise OSError(f"not a name: {exc}") from exc
        if not found:
            raise OSError("it has no address")
        return found

    def _remembered(self, host: str) -> Addresses:
        until, found = self._known.get(host, (0.0, ()))
        return found if time.monotonic() < until else ()

    def _remember(self, host: str, found: Addresses) -> None:
        self._known[host] = time.monotonic() + _GOOD_FOR, found
        self._known.move_to_end(host)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)


def _getaddrinfo(host: str) -> Addresses:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    # An address with a zone (fe80::1%eth0) belongs to one link of this host: nobody inside means that.
    return tuple(ipaddress.ip_address(text) for text in texts if "%" not in text)[:_ADDRESSES]
