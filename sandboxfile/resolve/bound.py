"""Whether secrets come to the places that they are bound to: what a policy says of those, as warnings."""

from collections.abc import Iterator

from sandboxfile.diagnostics import Diagnostic, Span, warning
from sandboxfile.model.policy import Policy, Request
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.policy.patterns import target
from sandboxfile.policy.rules import ready_request


def check_bound(policy: Policy, today: str, span: Span | None) -> Iterator[Diagnostic]:
    """Bound places that the policy closes, or passes on untouched. The policy is one of a whole file."""
    compiled = compile_policy(policy)
    for credential in policy.credentials:
        for host, port in credential.bound:
            request, where = Request(host, port), target(host, port)
            decision = compiled.decide(request, None, today)
            facts = ready_request(request, None, today)
            if not decision.allowed:
                detail = f"`{credential.name}` goes to {where}, which may not be reached: {decision.reason}."
                yield warning("Secret without a way", detail, span, "allow the host, or leave the secret out")
            elif decision.bypass:
                detail = f"{where} is passed on untouched: `{credential.name}` is not injected there."
                yield warning("Secret not injected", detail, span, "remove its host from `bypass`")
            elif facts is not None and any(layer.bypasses(facts) for layer in compiled.layers):
                detail = f"{where} is looked into for `{credential.name}`, though a `bypass` names it."
                yield warning("Bypass without effect", detail, span, "remove its host from `bypass`, or the secret")
