"""One registered sandbox: what it may reach, its open flows, and the one way out for all that serves it.

Whatever fails here denies: an exception of our own while deciding is a denial with a reason, and its traceback goes to
the gateway's own log. A new policy is in force for every decision after `set_policy`, and what is open and no longer
allowed is cut before it returns. Never reads the clock elsewhere than in `today`.
"""

import asyncio
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import anyio
from anyio import CapacityLimiter

from sandboxfile.gateway.log import NetworkLog
from sandboxfile.gateway.records import Ending, Via, record
from sandboxfile.gateway.resolver import Resolver
from sandboxfile.gateway.streams import streams
from sandboxfile.gateway.upstream import Routes, connect
from sandboxfile.gateway.values import Values
from sandboxfile.host.own_addresses import guarded, is_exact
from sandboxfile.host.saying import say
from sandboxfile.model.policy import Decision, Policy, Protocol, Request
from sandboxfile.policy.bindings import NOTHING_BOUND, Bindings
from sandboxfile.policy.compiled import Compiled
from sandboxfile.policy.explain import denial_text
from sandboxfile.policy.patterns import Address, literal, url

_DECIDED = 512  # decisions remembered
_HOST = 253  # characters of a host in them
_DAY_CHECK = 10.0  # seconds
_RESOLUTIONS = 8  # at the same time, of one sandbox


@dataclass(frozen=True, slots=True)
class Authority:
    """A sandbox's own certificate authority, as PEM texts."""

    certificate: str
    key: str


class Flow:
    """One request or connection that was decided: its bytes, and how it ends. Its owner keeps the bytes up to date."""

    __slots__ = ("_cut", "_finish", "decision", "received", "request", "sent", "started")

    def __init__(
        self,
        request: Request,
        decision: Decision,
        cut: Callable[[], None] | None,
        finish: Callable[["Flow", Ending], None],
    ) -> None:
        self.request = request
        self.decision = decision
        self.sent = 0  # bytes, from the sandbox
        self.received = 0
        self.started = time.time()
        self._cut = cut
        self._finish: Callable[[Flow, Ending], None] | None = finish

    def end(self, status: int | None = None, error: str = "") -> None:
        """Write it into the log. Only the first call counts."""
        finish, self._finish = self._finish, None
        if finish is not None:
            self._cut = None
            finish(self, Ending(status, error, self.sent, self.received))

    def refuse(self, decision: Decision) -> None:
        """End it as blocked after all, for the reason of `decision`."""
        self.decision = decision
        self.end()

    def cut(self, reason: str) -> None:
        """End it from our side: its owner is told, once, and closes what it has open."""
        cut, self._cut = self._cut, None
        self.end(error=reason)
        if cut is not None:
            cut()


class Tenant:
    """See the module. `id` is `shop/web`, `name` is `web`. `certificates` is the interceptor's own."""

    def __init__(
        self,
        id: str,
        compiled: Compiled,
        authority: Authority,
        log: NetworkLog,
        resolver: Resolver,
        proxies: Mapping[str, str],
        values: Values,
    ) -> None:
        self.id = id
        self.name = id.rpartition("/")[2]
        self.authority = authority
        self.certificates: Any = None
        self.log = log
        self.values = values
        self._routes = Routes(proxies)
        self._resolver = resolver
        self._resolutions = CapacityLimiter(_RESOLUTIONS)
        self._flows: set[Flow] = set()
        self._closed = False
        self._changed = False  # ever, since it was registered
        self._adopt(compiled)

    # --- deciding ------------------------------------------------------------------------------------------------

    def decide(self, request: Request) -> Decision:
        """What the name alone says; nothing is resolved. Never raises."""
        try:
            return self._judge(request, None)
        except Exception:
            return _bug(request)

    async def authorize(self, request: Request, first: Decision | None = None) -> Decision:
        """Decide by name, resolve once, decide by address. `addresses` of the decision are what may be dialled.

        `first`: what `decide` has said of this request a moment ago. Never raises but when cancelled. A name that does
        not resolve is denied, and says so.
        """
        try:
            return await self._authorize(request, first or self._judge(request, None))
        except Exception:
            return _bug(request)

    async def _authorize(self, request: Request, decision: Decision) -> Decision:
        if not decision.allowed:
            return decision
        try:
            addresses = await self._resolver.resolve(decision.host, request.port, self._resolutions)
        except OSError as exc:
            return self._unresolved(request, exc.strerror or str(exc))
        decision = self._judge(request, addresses)  # by the policy of now: it may have changed meanwhile
        return guarded(decision, self._compiled.policy)

    def _judge(self, request: Request, addresses: tuple[Address, ...] | None) -> Decision:
        if self._closed:
            return _denied(request, "registration", f"the sandbox {self.id} is no longer registered")
        if request.path is not None or len(request.host) > _HOST:
            return self._compiled.decide(request, addresses, today())
        key = (request, addresses, today())
        if (decision := self._decided.get(key)) is None:
            decision = self._compiled.decide(*key)
            if len(self._decided) >= _DECIDED:
                self._decided.clear()
            self._decided[key] = decision
        return decision

    def _unresolved(self, request: Request, why: str) -> Decision:
        decision = self._judge(request, None)
        if not decision.allowed:
            return decision
        if self._routes.proxy(request.protocol, decision.host, request.port) is None:
            return replace(
                decision, allowed=False, rule="no address", reason=f"{decision.host} does not resolve: {why}"
            )
        if self._exempt(decision):
            return decision  # the host's own proxy knows the name, and an address would not be checked anyway
        reason = (
            f"{decision.host} does not resolve on this host ({why}), so its addresses cannot be checked before it is "
            "left to the upstream proxy: only an exact-host rule lets it through, and no range may be blocked"
        )
        return replace(decision, allowed=False, rule="no address", reason=reason)

    def _exempt(self, decision: Decision) -> bool:
        return is_exact(decision) and not self._blocks_addresses

    def resolvable(self, host: str) -> bool:
        """Whether anything at all could be allowed at this name. Never raises."""
        try:
            return not self._closed and self._compiled.resolvable(host, today())
        except Exception:
            say(f"deciding whether {host!r} resolves:\n{traceback.format_exc()}")
            return False

    @property
    def bypasses_addresses(self) -> bool:
        """Whether only an address can tell if a name is bypassed."""
        return self._bypasses_addresses

    @property
    def bindings(self) -> Bindings:
        """Where credentials may go by the policy of now. Another object as soon as there is another policy."""
        return NOTHING_BOUND if self._closed else self._compiled.bindings

    # --- flows ---------------------------------------------------------------------------------------------------

    def begin(
        self,
        request: Request,
        decision: Decision,
        cut: Callable[[], None] | None,
        *,
        via: Via = "proxy",
        inspected: bool = True,
        injected: tuple[str, ...] = (),
    ) -> Flow:
        """Open a log entry. `cut` is called once, not before this returns, when a later policy denies the request.

        `injected`: the names of credentials that go along. A denial is logged at once, and its flow is over.
        """

        def finish(flow: Flow, ending: Ending) -> None:
            self._flows.discard(flow)
            found = record(self.id, request, flow.decision, via, inspected, flow.started, ending, injected)
            self.log.write(found, urgent=not flow.decision.allowed)

        flow = Flow(request, decision, cut, finish)
        if not decision.allowed:
            flow.end()
            return flow
        self._flows.add(flow)
        if self._changed and self._no_longer_allowed(flow):  # the policy may have, between the decision and now
            asyncio.get_running_loop().call_soon(flow.cut, _TIGHTENED)
        return flow

    def denial(self, request: Request, decision: Decision) -> str:
        """The text of a 403 body. Never raises."""
        try:
            place = url(request.protocol, request.host, request.port, request.path or "/")
            return denial_text(decision, self.name, place)
        except Exception:
            say(f"wording a denial:\n{traceback.format_exc()}")
            return f"Blocked by the network policy of sandbox '{self.name}'.\n"

    def set_policy(self, compiled: Compiled) -> None:
        """Go by this policy from now on, and cut what it does not allow."""
        self._adopt(compiled)
        self._cut_what_is_denied()

    async def follow_days(self) -> None:
        """When a day begins, cut what only rules with `until` allowed. Runs until cancelled."""
        day = today()
        while True:
            await anyio.sleep(_DAY_CHECK)
            if day != (day := today()):
                self._cut_what_is_denied()

    def close(self) -> None:
        """Deny everything from now on, and cut what is open."""
        self._closed = self._changed = True
        self.values.forget()
        for flow in list(self._flows):
            flow.cut("the sandbox is no longer registered")

    @property
    def fingerprint(self) -> str:
        """Of the policy in force."""
        return self._compiled.fingerprint

    def _adopt(self, compiled: Compiled) -> None:
        self._blocks_addresses = _has_addresses(compiled.policy, "block")
        self._bypasses_addresses = _has_addresses(compiled.policy, "bypass")
        self._compiled = compiled
        self.values.adopt(compiled.policy.credentials)
        # The same few connections are decided about again and again; a decision depends on nothing but its key.
        self._decided: dict[tuple[Request, tuple[Address, ...] | None, str], Decision] = {}

    def _cut_what_is_denied(self) -> None:
        self._changed = True
        for flow in [flow for flow in self._flows if self._no_longer_allowed(flow)]:
            flow.cut(_TIGHTENED)

    def _no_longer_allowed(self, flow: Flow) -> bool:
        addresses = tuple(address for text in flow.decision.addresses if (address := literal(text)) is not None)
        try:
            now = self._judge(flow.request, addresses or None)
        except Exception:
            say(f"deciding about an open connection:\n{traceback.format_exc()}")
            return True
        passed_on = not flow.decision.inspect
        return not now.allowed or (passed_on and now.inspect)

    # --- the way out ---------------------------------------------------------------------------------------------

    async def dial(
        self, decision: Decision, protocol: Protocol = "https"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to what `decision` allows, over the host's upstream proxy where it has one. Raises OSError."""
        opened = await streams(await self.connect(decision, protocol))
        return opened.reader, opened.writer

    async def connect(self, decision: Decision, protocol: Protocol) -> socket.socket:
        """The same as `dial`, as a socket."""
        if not decision.allowed:
            raise PermissionError(decision.reason)
        proxy = self._routes.proxy(protocol, decision.host, decision.port)
        return await connect(decision, proxy, self._resolver)


def today() -> str:
    """The day in UTC by which rules with `until` are measured: 2026-11-21."""
    return datetime.now(UTC).date().isoformat()


_DIGITS = frozenset("0123456789.:")
_TIGHTENED = "cut: the policy no longer allows it"


def _denied(request: Request, rule: str, reason: str) -> Decision:
    return Decision(False, request.host, request.port, rule, "gateway", "", reason)


def _bug(request: Request) -> Decision:
    say(f"deciding about {request!r:.500}:\n{traceback.format_exc()}")
    return _denied(
        request, "error", f"{request.host:.253}:{request.port} could not be decided: this is a bug in sandboxfile"
    )


def _has_addresses(policy: Policy, kind: Literal["block", "bypass"]) -> bool:
    return any(_speaks_of_addresses(rule.pattern) for layer in policy.layers for rule in getattr(layer, kind))


def _speaks_of_addresses(pattern: str) -> bool:
    """Of a canonical pattern: a range or a literal address, with or without a port."""
    return "/" in pattern or pattern.count(":") > 1 or set(pattern) <= _DIGITS
