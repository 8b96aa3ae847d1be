"""Credentials that come of a file's `secrets`, as they are written there: plain data. Used by `resolve.render`."""

from typing import Any

from sandboxfile.agents.serving import service_for
from sandboxfile.model.credential import SECRET, Credential, Injection
from sandboxfile.policy.patterns import target
from sandboxfile.resolve.credentials import HTTPS


def render_secret(credential: Credential) -> dict[str, Any]:
    """One secret: its source, its variable inside, and where it goes unless its service says that."""
    source = credential.source
    value = list(source.command) if source.kind == "command" else source.name
    fields: dict[str, Any] = {source.kind: value}
    if credential.variable:
        fields["env"] = credential.variable
    service = service_for(credential.name, credential.variable)
    if service is None or not credential.variable or credential.injections != service.injections:
        fields["inject"] = [_injection(item) for item in credential.injections]
    return fields


def _injection(item: Injection) -> dict[str, Any]:
    fields: dict[str, Any] = {"host": item.host if item.port == HTTPS else target(item.host, item.port)}
    if item.kind == "query":
        fields["query"] = item.name
    elif item.basic and item.paths:
        fields["git"] = True
    elif item.basic:
        fields["basic"] = item.value.removesuffix(f":{SECRET}")
    elif item.name:
        fields["header"] = item.name
        fields["value"] = item.value
    return fields
