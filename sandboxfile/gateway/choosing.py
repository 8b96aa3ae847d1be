"""How a connection is served, told from what was decided about it. Nothing here reads or writes a byte.

Raw TCP comes first: a server that speaks first must not be kept waiting for a client that does not. What has to be
looked into is the interceptor's, and so are denials that it can explain inside TLS.
"""

from dataclasses import dataclass, replace

from sandboxfile.gateway.hello import Hello
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.model.policy import Decision, Request
from sandboxfile.policy.patterns import canonical_host, literal

# Servers speak first there: a client that waits for them never sends the TLS hello that a reason could be told in.
_SERVER_FIRST = frozenset({21, 22, 23, 25, 110, 119, 143, 587, 3306, 5900})
WEB_PORTS = frozenset({80, 443})


@dataclass(frozen=True, slots=True)
class Choice:
    """`inspected`: the interceptor's, which decides by itself. Else a tunnel, or nothing when it is denied."""

    request: Request
    decision: Decision
    inspected: bool


async def choose(tenant: Tenant, host: str, port: int) -> Choice:
    """For a connection whose host is known before its content."""
    tcp = await choose_tcp(tenant, host, port)
    return tcp or await choose_tls(tenant, host, port)


async def choose_tcp(tenant: Tenant, host: str, port: int) -> Choice | None:
    """Raw TCP, where a rule names it for this host."""
    request = Request(host, port, "tcp")
    decision = tenant.decide(request)
    if decision.allowed:
        return Choice(request, await tenant.authorize(request, decision), inspected=False)
    if port in _SERVER_FIRST and not tenant.decide(Request(host, port)).allowed:
        return Choice(request, decision, inspected=False)
    return None


async def choose_tls(tenant: Tenant, host: str, port: int) -> Choice:
    """TLS: passed on untouched where the policy says so."""
    request = Request(host, port)
    first = decision = tenant.decide(request)
    if first.allowed and (not first.inspect or tenant.bypasses_addresses):
        decision = await tenant.authorize(request, first)
    if decision.allowed:
        return Choice(request, decision, inspected=decision.inspect)
    return Choice(request, decision, inspected=not (first.bypass or decision.bypass))


def could_be_web(tenant: Tenant, host: str, port: int) -> bool:
    """Whether it is worth waiting for what a client says to this port."""
    if port in WEB_PORTS:
        return True
    return tenant.decide(Request(host, port, "https")).allowed or tenant.decide(Request(host, port, "http")).allowed


def name_fault(hello: Hello, host: str) -> str:
    """Why this TLS hello may not go to the canonical `host` that was decided about; empty when it may."""
    if hello.name is None:
        return "" if literal(host) is not None else f"the TLS hello to {host} names no server"
    if canonical_host(hello.name) == host:
        return ""
    return f"the TLS server name {hello.name[:253]!r} is not {host}, which was asked for"


def refused(decision: Decision, reason: str) -> Decision:
    """An allowed decision that what the client said afterwards does not agree with."""
    return replace(decision, allowed=False, rule="server name", layer="gateway", place="", reason=reason)
