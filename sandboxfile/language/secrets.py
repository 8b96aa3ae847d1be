"""Secrets of a file: one source each, somewhere to go, hosts that are exact; and whether those that are named exist.

Called by `language.validate`. Whether a value can be had is not looked at here.
"""

from collections.abc import Collection, Iterator

from sandboxfile.agents import SERVICES
from sandboxfile.agents.serving import service_for
from sandboxfile.diagnostics import Diagnostic, error
from sandboxfile.language.explain import did_you_mean
from sandboxfile.language.tree import Sequence, Table, find, keys
from sandboxfile.model.spec import InjectSpec, Path, SandboxFile, Secret
from sandboxfile.model.spec_secrets import SOURCES
from sandboxfile.policy.patterns import LOCALHOST, Pattern, PatternProblem, parse_pattern

_HTTPS = 443


def check_secrets(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """Everything about `secrets`, and about the names that sandboxes give.

    Names come from `root`, the whole tree: what refers to a secret with an error of its own is no second error.
    """
    names = keys(root, "secrets")
    for path, name in _uses(file):
        if name not in names:
            hint = did_you_mean(name, names) or _listed(names, name)
            yield error("Unknown secret", f"There is no secret `{name}`.", file.span(*path), hint)
    for name, secret in file.secrets.items():
        lost = _lost(root, name, secret)
        yield from _sources(file, name, secret, lost)
        yield from _bindings(file, name, secret, lost)


def _uses(file: SandboxFile) -> Iterator[tuple[Path, str]]:
    holders = [(("defaults",), file.defaults), *((("sandboxes", name), item) for name, item in file.sandboxes.items())]
    for path, sandbox in holders:
        for index, name in enumerate(sandbox.secrets):
            yield (*path, "secrets", index), name


def _listed(names: list[str], name: str) -> str:
    return f"the secrets are {', '.join(sorted(names))}" if names else f"write `secrets: {{{name}: ...}}` in the file"


def _lost(root: Table, name: str, secret: Secret) -> frozenset[str]:
    """The fields of which at least a part is wrong by itself, and was cut out."""
    found = find(root, ("secrets", name))
    entries = found[0].entries if found is not None and isinstance(found[0], Table) else ()
    injections = next((entry.value for entry in entries if entry.key == "inject"), None)
    cut = isinstance(injections, Sequence) and len(injections.items) > len(secret.inject)
    written = frozenset(entry.key for entry in entries)
    return (written - secret.model_fields_set) | ({"inject"} if cut else set())


def _sources(file: SandboxFile, name: str, secret: Secret, lost: Collection[str]) -> Iterator[Diagnostic]:
    first, *others = secret.sources or ("",)
    if not first and not {"env", *SOURCES}.isdisjoint(lost):
        return
    if not first:
        detail = f"`{name}` does not say where its value is: `env`, `file`, `command` or `store`."
        yield error("Missing field", detail, file.span("secrets", name), "write e.g. {env: VARIABLE}")
    for field in others:
        detail = f"A secret has one source; `{name}` has `{first}` already."
        yield error("Field not applicable", detail, file.span("secrets", name, field), f"remove `{field}`")


def _bindings(file: SandboxFile, name: str, secret: Secret, lost: Collection[str]) -> Iterator[Diagnostic]:
    if not secret.inject and not {"env", "inject"}.isdisjoint(lost):
        return
    if not secret.inject:
        if "inject" in secret.model_fields_set or service_for(name, secret.env) is None:
            path: Path = ("secrets", name, "inject") if "inject" in secret.model_fields_set else ("secrets", name)
            detail = f"Nothing says where `{name}` goes, and it is not named after a service that is known."
            hint = f"add `inject: [{{host: api.example.com, bearer: true}}]`; the services are {', '.join(SERVICES)}"
            yield error("Secret without a place", detail, file.span(*path), hint)
        return
    seen: set[tuple[str, int, str]] = set()
    for index, spec in enumerate(secret.inject):
        path = ("secrets", name, "inject", index)
        yield from _ways(file, path, name, secret, spec)
        pattern = parse_pattern(spec.host)
        if problem := _wrong_host(spec.host, pattern):
            yield error(problem.summary, problem.detail, file.span(*path, "host"), problem.hint)
        elif isinstance(pattern, Pattern):
            slot = (pattern.name, pattern.port or _HTTPS, _slot(spec))
            if slot in seen:
                detail = f"`{name}` goes to {slot[0]}:{slot[1]} in the same way twice."
                yield error("Bound twice", detail, file.span(*path), "remove one of the two")
            seen.add(slot)


def _ways(file: SandboxFile, path: Path, name: str, secret: Secret, spec: InjectSpec) -> Iterator[Diagnostic]:
    for way in spec.ways[1:]:
        detail = f"A request carries a secret in one way; this has `{spec.ways[0]}` already."
        yield error("Field not applicable", detail, file.span(*path, way), "write a second entry for the same host")
    if "value" in spec.model_fields_set and "header" not in spec.ways:
        detail = "`value` is that of a `header`; there is none."
        yield error("Field not applicable", detail, file.span(*path, "value"), "add `header: NAME`, or remove `value`")
    elif not spec.ways and not secret.env:
        detail = f"Nothing says how requests carry `{name}`, and no variable inside holds a placeholder for it."
        hint = "add `header`, `bearer`, `basic`, `query` or `git` here, or `env: VARIABLE` to the secret"
        yield error("Missing field", detail, file.span(*path), hint)


def _slot(spec: InjectSpec) -> str:
    """What of a request is set."""
    if spec.query:
        return f"query {spec.query}"
    return f"header {spec.header.lower() or 'authorization'}" if spec.ways else ""


def _wrong_host(text: str, pattern: Pattern | PatternProblem) -> PatternProblem | None:
    """What is wrong with the host of a place that a secret is bound to."""
    if isinstance(pattern, PatternProblem):
        return pattern
    if pattern.kind != "host":
        what = "is a range of addresses" if pattern.kind == "range" else "stands for many hosts"
        detail = f"`{text}` {what}; a secret is bound to one."
        return PatternProblem("Not an exact host", detail, "write the host, e.g. api.example.com")
    if pattern.name == LOCALHOST and pattern.port is None:
        detail = "This host itself is reached port by port: a secret for `localhost` needs one."
        return PatternProblem("Port missing", detail, "write localhost:PORT")
    return None
