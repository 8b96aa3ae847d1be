"""What secrets need, and what agents would find: the keyring, the records, a credential for each service."""

from collections.abc import Mapping

from sandboxfile.agents import SERVICES, find_service
from sandboxfile.cli.checks.check import Check, check
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.approvals import read_approvals
from sandboxfile.host.layout import Layout
from sandboxfile.model.agent import Service
from sandboxfile.secrets.keyring import PACKAGE
from sandboxfile.secrets.store import Place, Store
from sandboxfile.secrets.values import SecretError, usable


def check_credentials(layout: Layout, environ: Mapping[str, str]) -> list[Check]:
    """Everything about secrets that can be seen without asking for the value of a stored one."""
    store = Store(layout, environ)
    places: Mapping[str, Place] = {}
    found = [_approvals(layout)]
    try:
        places = store.places()
    except SandboxfileError as exc:
        found.append(Check("stored secrets", "missing", exc.message, exc.hint))
    found.append(_keyring(store, "keyring" in places.values()))
    return found + [_service(find_service(name), environ, places.get(name)) for name in SERVICES]


def _approvals(layout: Layout) -> Check:
    try:
        count = len(read_approvals(layout))
    except SandboxfileError as exc:
        return Check("approvals", "missing", exc.message, exc.hint)
    return Check("approvals", "ok", f"{count} of secrets for hosts" if count else "none: no file's secrets go anywhere")


def _keyring(store: Store, wanted: bool) -> Check:
    """Files do as well; but what is in a keyring that does not answer cannot be had."""
    reason = store.keyring_missing()
    if reason is None:
        return Check("keyring", "ok", "answers; `sbx secret set` keeps secrets in it")
    if wanted:
        fix = f"log in to the desktop session that has it (package {PACKAGE}), or set the secrets again"
        return Check("keyring", "warning", f"has stored secrets, and does not answer: {reason}", fix)
    return Check("keyring", "ok", f"none, secrets are kept in files: {reason}")


def _service(service: Service, environ: Mapping[str, str], place: Place | None) -> Check:
    name = f"{service.name} key"
    for variable in service.variables:
        if variable in environ:
            try:
                usable(environ[variable], f"the variable {variable}")
            except SecretError as exc:
                return check(name, False, exc.message, f"export {variable}=...", "warning")
            return Check(name, "ok", f"{variable} is set")
    if place is not None:
        return Check(name, "ok", f"stored ({place})")
    ways = f"export {service.variables[0]}, or `sbx secret set {service.name}`"
    return Check(name, "ok", f"none: agents have to log in, or {ways}")
