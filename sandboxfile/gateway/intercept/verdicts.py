"""What becomes of each request of one client: the policy is asked, credentials are added, the log is begun.

What was waited for may have taken long: a request goes out by the policy that is in force then, and with its
credentials, or not at all.
"""

from collections.abc import Callable

from mitmproxy import http

from sandboxfile.gateway.intercept.deciding import Answer, Disagreement, Prepared, place_of_request, prepare
from sandboxfile.gateway.intercept.exchange import Allowed
from sandboxfile.gateway.intercept.injecting import Injected
from sandboxfile.gateway.intercept.reading import Malformed, Place, decided_path
from sandboxfile.gateway.intercept.supplying import Withheld, supply
from sandboxfile.gateway.records import Via
from sandboxfile.gateway.tenant import Tenant
from sandboxfile.model.policy import Decision, Request


class Judge:
    """`fixed`: the one place that all requests must be for; None for a proxy told with each. `disagreement`: why every
    request is refused. `cut` ends the client's connection."""

    def __init__(
        self, tenant: Tenant, fixed: Place | None, disagreement: str, via: Via, cut: Callable[[], None]
    ) -> None:
        self._tenant = tenant
        self._fixed = fixed
        self._disagreement = disagreement
        self._via = via
        self._cut = cut

    async def judge(self, request: http.Request) -> Allowed | Answer:
        """The verdict; an allowed request has become what is forwarded."""
        method = request.data.method.decode("ascii", "replace")[:40]
        try:
            if self._disagreement and self._fixed is not None:
                raise Disagreement(self._fixed, self._disagreement)
            place = place_of_request(request, self._fixed)
            asked = Request(place.host, place.port, place.protocol, method, decided_path(request.data.path))
            return await self._judged(request, asked, place)
        except Disagreement as exc:
            asked = Request(exc.place.host, exc.place.port, exc.place.protocol, method)
            return self._denied(asked, _refusal(asked, "names", str(exc)))
        except Malformed as exc:
            return Answer(400, self.refused(str(exc)))

    async def _judged(self, request: http.Request, asked: Request, place: Place) -> Allowed | Answer:
        prepared: Prepared | None = None
        while True:
            bindings = self._tenant.bindings
            decision = await self._tenant.authorize(asked)
            if not decision.allowed:
                return self._denied(asked, decision)
            prepared = prepared or prepare(request, place)
            given = await supply(self._tenant, bindings, request, place, decision, asked.path or "")
            if bindings is self._tenant.bindings:
                break
        if isinstance(given, Withheld):
            return self._withheld(asked, place, decision, given)
        flow = self._tenant.begin(asked, decision, self._cut, via=self._via, injected=given.names if given else ())
        if given is not None:
            request.data.headers.fields, request.data.path = given.fields, given.path
        return Allowed(place, decision, flow, prepared, given)

    def _withheld(self, asked: Request, place: Place, decision: Decision, given: Withheld) -> Answer:
        self._tenant.begin(asked, decision, None, via=self._via).end(given.status, given.reason)
        return Answer(given.status, f"The gateway of the sandbox sent nothing to {place.text}: {given.reason}.\n")

    def _denied(self, asked: Request, decision: Decision) -> Answer:
        self._tenant.begin(asked, decision, None, via=self._via)
        if decision.rule == "no address":
            return Answer(502, f"{decision.reason}.\n")
        return Answer(403, self._tenant.denial(asked, decision), blocked=True)

    def refused(self, reason: str) -> str:
        """Log a request that is none; gives the text of the answer."""
        return refuse(self._tenant, self._fixed, reason, self._via)

    def answered(self, given: Injected | None, status: int) -> None:
        """The server said this to a request with these credentials."""
        if given is not None and status == 401:
            for credential, value in given.values:
                self._tenant.values.refused(credential, value)


def refuse(tenant: Tenant, place: Place | None, reason: str, via: Via) -> str:
    """Log a request that is none; gives the text of the answer."""
    asked = Request(place.host, place.port, place.protocol) if place else Request("", 0, "http")
    sentence = f"the request was refused: {reason}"
    tenant.begin(asked, _refusal(asked, "malformed request", sentence), None, via=via)
    return f"The gateway of the sandbox: {sentence}.\n"


def _refusal(asked: Request, rule: str, reason: str) -> Decision:
    return Decision(False, asked.host, asked.port, rule, "gateway", "", reason)
