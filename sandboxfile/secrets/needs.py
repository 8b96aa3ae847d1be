"""Which credentials of a sandbox cannot be had, before anything boots; and the values from the environment."""

from collections.abc import Mapping, Sequence

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error, warning
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.approvals import Approval, approvals_needed, read_approvals
from sandboxfile.host.layout import Layout
from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.secrets.values import SecretError, usable

_AGENT = "agent "  # how the origin of what an agent can use begins: it may do without


def problems(
    credentials: Sequence[Credential],
    layout: Layout,
    environ: Mapping[str, str],
    run_commands: bool,
    *,
    tell_errors: bool = False,
) -> Diagnostics:
    """An error for each that cannot be had, a warning where it is only an agent's.

    Commands are run with `run_commands`. Only what is approved for all its hosts is looked at, variables excepted.
    `tell_errors` as in `read`.
    Raises StateError when the approvals cannot be read.
    """
    approved: frozenset[Approval] = read_approvals(layout) if run_commands else frozenset()
    failures: dict[SecretSource, SandboxfileError | None] = {}
    found: list[Diagnostic] = []
    for credential in credentials:
        source = credential.source
        if source.kind == "command" and not (run_commands and _is_approved(credential, approved)):
            continue
        if source not in failures:  # several sandboxes may have it: it is asked once
            failures[source] = _failure(source, layout, environ, tell_errors)
        if (failure := failures[source]) is not None:
            found.append(_diagnostic(credential, failure))
    return tuple(found)


def env_values(credentials: Sequence[Credential], environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Name and value of those that come from the environment, as far as it has them and they can be used."""
    found = {}
    for credential in credentials:
        if credential.source.kind == "env" and credential.source.name in environ:
            try:
                found[credential.name] = usable(environ[credential.source.name], "it")
            except SecretError:  # `problems` says so
                continue
    return tuple(found.items())


def _is_approved(credential: Credential, approved: frozenset[Approval]) -> bool:
    """Whether somebody said so for each of its hosts: a command without hosts is nobody's choice."""
    needed = approvals_needed([credential])
    return bool(needed) and approved.issuperset(needed)


def _failure(
    source: SecretSource, layout: Layout, environ: Mapping[str, str], tell_errors: bool
) -> SandboxfileError | None:
    from sandboxfile.secrets.sources import read  # here: who has no secrets pays nothing for where they are kept

    try:
        read(source, layout, environ, tell_errors=tell_errors)
    except SandboxfileError as exc:
        return exc
    return None


def _diagnostic(credential: Credential, failure: SandboxfileError) -> Diagnostic:
    said = f"; it said: {' '.join(failure.output.split())}" if failure.output else ""
    detail = f"`{credential.name}` ({credential.origin}): {failure.message}{said}."
    kind = warning if credential.origin.startswith(_AGENT) else error
    return kind("Secret not available", detail, place_of(credential), failure.hint)


def place_of(credential: Credential) -> Span | None:
    """Where it is written (`sandbox.yaml:12:9`), as far as that is known."""
    file, _, column = credential.place.rpartition(":")
    file, _, line = file.rpartition(":")
    if not (file and line.isascii() and line.isdigit() and column.isascii() and column.isdigit()):
        return None
    return Span(file, int(line), int(column), int(line), int(column) + 1)
