"""Gives an allowed request the credentials that its place is bound to, or says why it gets none: then it is not sent.

For TLS alone, and never where the policy says `bypass`. Fails closed: an exception in here ends the request, and its
text, which may hold anything, is not shown.
"""

import traceback
from dataclasses import dataclass

from mitmproxy import http

from sandboxfile.gateway.intercept.injecting import Injected, inject, needed
from sandboxfile.gateway.intercept.reading import Place
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.gateway.values import Unavailable
from sandboxfile.host.saying import say
from sandboxfile.model.policy import Decision
from sandboxfile.policy.bindings import Bindings

_NO_VALUE = 403  # not 502, after which agents try again for minutes


@dataclass(frozen=True, slots=True)
class Withheld:
    """Nothing may be sent. `reason` is a clause without a value; `status` that of our answer."""

    status: int
    reason: str


async def supply(
    tenant: Tenant, bindings: Bindings, request: http.Request, place: Place, decision: Decision, path: str
) -> Injected | Withheld | None:
    """What becomes of the request, which is not changed here; None: no credential goes there.

    `path` is the one that was decided. Waits for values. Never raises but when cancelled.
    """
    try:
        return await _supply(tenant, bindings, request, place, decision, path)
    except Exception as exc:
        frames = "".join(traceback.format_tb(exc.__traceback__))
        say(f"adding a credential for {place.text}, {tenant.id}: {type(exc).__name__}\n{frames}")
        return Withheld(500, "adding its credential failed: this is a bug in sandboxfile")


async def _supply(
    tenant: Tenant, bindings: Bindings, request: http.Request, place: Place, decision: Decision, path: str
) -> Injected | Withheld | None:
    if place.protocol != "https" or decision.bypass or not bindings.binds(place.host, place.port):
        return None
    data = request.data
    if data.method == b"TRACE":
        return Withheld(405, "TRACE would send the credential back")
    applying = bindings.applying(place.host, place.port, path)
    values: dict[str, str] = {}
    for credential in needed(applying, data.headers.fields, data.path):
        try:
            values[credential.name] = await tenant.values.get(credential)
        except Unavailable as exc:
            # Where a value is kept on this host is nothing that a guest has to know.
            say(f"{tenant.id}: the secret '{credential.name}' has no value: {exc}")
            return Withheld(_NO_VALUE, f"the secret '{credential.name}' has no value on the host")
    if not values:
        return None
    return inject(applying, data.headers.fields, data.path, values, http2=request.is_http2)
