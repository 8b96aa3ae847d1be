"""The credentials of each sandbox: secrets of the file that it names, and what its agent's services want.

A Credential says where a value is and which places get it; values are never read here. Their places, and the hosts
that an agent needs besides, become rules of the sandbox's own layer, with their origin.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sandboxfile.agents import find_agent, find_service
from sandboxfile.agents.serving import service_for
from sandboxfile.diagnostics import Diagnostic, Diagnostics, error, warning
from sandboxfile.model.agent import Agent, Service
from sandboxfile.model.credential import SECRET as VALUE
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import NO_AGENT
from sandboxfile.model.policy import Rule
from sandboxfile.model.spec import InjectSpec, Path, SandboxFile, Secret
from sandboxfile.policy.implied import AGENT, SECRET
from sandboxfile.policy.patterns import Pattern, parse_pattern, target
from sandboxfile.resolve.chains import given
from sandboxfile.resolve.inputs import ResolveInputs, project_of, secret_program, written_place

HTTPS = 443
_AUTHORIZATION = "Authorization"
_GIT_USER = "x-access-token"  # any will do for a token; this is what forges suggest
_GIT_PATHS = ("/**/info/refs", "/**/git-upload-pack", "/**/git-receive-pack")  # git's smart HTTP, and nothing else
_DIGITS = 16  # of the hash in a placeholder


@dataclass(frozen=True, slots=True)
class Held:
    """What one sandbox holds: credentials sorted by name, and rules for where they and its agent go."""

    credentials: tuple[Credential, ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def settings(self) -> tuple[tuple[str, str], ...]:
        """The variables inside that hold placeholders."""
        return tuple((each.variable, each.placeholder) for each in self.credentials if each.variable)


def resolve_credentials(file: SandboxFile, name: str, inputs: ResolveInputs) -> tuple[Held, Diagnostics]:
    """What the sandbox `name` holds, and what is wrong with that."""
    agent = agent_of(file, name)
    place = written_place(file.span(*agent_path(file, name)), inputs)
    listed = dict(listed_secrets(file, name))
    found = [item for secret in listed if (item := _of_secret(file, inputs, secret))]
    missing: list[Service] = []
    for service in map(find_service, agent.services):
        if any(_serves(item, service) for item in found):
            continue
        source = _usual_source(service, inputs)
        if source is None:
            missing.append(service)
        else:
            variable = _inside(agent, service, source)
            origin = AGENT + agent.name
            found.append(_credential(service.name, source, service.injections, variable, service, origin, place))
    credentials = sorted(found, key=lambda item: item.name)
    rules = [*_agent_rules(agent, place), *_secret_rules(file, credentials, listed, inputs)]
    problems = [*_clashes(file, name, listed, credentials)]
    if missing and len(missing) == len(agent.services):
        problems.append(_nothing_for(file, name, agent, missing))
    placed = tuple(_with_placeholders(credentials, f"{project_of(file, inputs)}/{name}"))
    return Held(placed, tuple(dict.fromkeys(rules))), tuple(problems)


def _inside(agent: Agent, service: Service, source: SecretSource) -> str:
    """The variable that an agent finds a placeholder in: one that it looks at, else the one that the host has."""
    looked_at = next((name for name in agent.variables if name in service.variables), "")
    return looked_at or (source.name if source.kind == "env" else service.variables[0])


def agent_of(file: SandboxFile, name: str) -> Agent:
    """The agent of a sandbox."""
    return find_agent(given("agent", file.sandboxes[name], file.defaults).agent or NO_AGENT)


def agent_path(file: SandboxFile, name: str) -> Path:
    """Where a sandbox's agent is written."""
    own = "agent" in file.sandboxes[name].model_fields_set or "agent" not in file.defaults.model_fields_set
    return ("sandboxes", name, "agent") if own else ("defaults", "agent")


def listed_secrets(file: SandboxFile, name: str) -> Iterator[tuple[str, Path]]:
    """The secrets that a sandbox names and where, those of the defaults first; those of them that there are."""
    for path, sandbox in ((("defaults",), file.defaults), (("sandboxes", name), file.sandboxes[name])):
        for index, secret in enumerate(sandbox.secrets):
            if secret in file.secrets:
                yield secret, (*path, "secrets", index)


# --- credentials -------------------------------------------------------------------------------------------------


def _of_secret(file: SandboxFile, inputs: ResolveInputs, name: str) -> Credential | None:
    """The credential of a secret; None of what `validate` has refused."""
    secret = file.secrets[name]
    if len(secret.sources) != 1:
        return None
    service = service_for(name, secret.env)
    injections = tuple(item for spec in secret.inject if (item := injection(spec)) is not None)
    variable = secret.env
    if not secret.inject and service is not None:
        injections, variable = service.injections, secret.env or service.variables[0]
    place = written_place(file.span("secrets", name), inputs)
    return _credential(name, source_of(secret, inputs), injections, variable, service, SECRET + name, place)


def source_of(secret: Secret, inputs: ResolveInputs) -> SecretSource:
    """Where the value of a secret is, with absolute paths."""
    (kind,) = secret.sources
    if kind == "file":
        return SecretSource("file", inputs.absolute(secret.file))
    if kind == "command":
        program = secret_program(secret.command[0], inputs.base, inputs.home)
        return SecretSource("command", command=(program, *secret.command[1:]))
    return SecretSource("store", secret.store) if kind == "store" else SecretSource("env", secret.env)


def injection(spec: InjectSpec) -> Injection | None:
    """Where a secret goes; None when `validate` has refused its host."""
    pattern = parse_pattern(spec.host)
    if not isinstance(pattern, Pattern) or pattern.kind != "host":
        return None
    bare = Injection(pattern.name, pattern.port or HTTPS)
    if spec.header:
        return replace(bare, name=spec.header, value=spec.value)
    if spec.bearer:
        return replace(bare, name=_AUTHORIZATION, value=f"Bearer {VALUE}")
    if spec.basic:
        return replace(bare, name=_AUTHORIZATION, value=f"{spec.basic}:{VALUE}", basic=True)
    if spec.git:
        return replace(bare, name=_AUTHORIZATION, value=f"{_GIT_USER}:{VALUE}", basic=True, paths=_GIT_PATHS)
    return replace(bare, kind="query", name=spec.query) if spec.query else bare


def _credential(
    name: str,
    source: SecretSource,
    injections: tuple[Injection, ...],
    variable: str,
    service: Service | None,
    origin: str,
    place: str,
) -> Credential:
    placeholder = service.placeholder if service is not None and variable else ""
    known = service is not None and set(injections) == set(service.injections) and _is_usual(source, service)
    return Credential(name, source, injections, variable, placeholder, origin, known, place)


def _usual_source(service: Service, inputs: ResolveInputs) -> SecretSource | None:
    """Where this host has a credential for a service, without being told."""
    variable = next((name for name in service.variables if inputs.environment.get(name)), None)
    if variable is not None:
        return SecretSource("env", variable)
    return SecretSource("store", service.name) if service.name in inputs.stored else None


def _is_usual(source: SecretSource, service: Service) -> bool:
    """Whether a value of this source can only be meant for the service."""
    if source.kind == "env":
        return source.name in service.variables
    return source.kind == "store" and source.name == service.name


def _with_placeholders(credentials: Sequence[Credential], sandbox: str) -> Iterator[Credential]:
    """Each with a placeholder of its own, where it has a variable to hold it."""
    seen: set[str] = set()
    for item in credentials:
        if item.variable and (not item.placeholder or item.placeholder in seen):
            digest = hashlib.sha256(f"{sandbox}/{item.name}".encode()).hexdigest()
            item = replace(item, placeholder=f"sbx-secret-{item.name}-{digest[:_DIGITS]}")
        seen.add(item.placeholder)
        yield item


# --- what stands where -------------------------------------------------------------------------------------------

_Slot = tuple[str, int, str, str]


def _slots(injections: Sequence[Injection]) -> frozenset[_Slot]:
    """What of requests these set or take away."""
    return frozenset(
        (item.host, item.port, item.kind, name if item.kind == "query" else name.lower())
        for item in injections
        for name in (item.name, *item.drops)
        if name
    )


def _serves(credential: Credential, service: Service) -> bool:
    """Whether a secret of the file takes the place of what the agent would get for a service."""
    return (
        credential.name == service.name
        or credential.variable in service.variables
        or not _slots(credential.injections).isdisjoint(_slots(service.injections))
    )


def _clashes(
    file: SandboxFile, sandbox: str, listed: dict[str, Path], credentials: Sequence[Credential]
) -> Iterator[Diagnostic]:
    """Two credentials for one header (or parameter) of one place, or for one variable."""
    for index, item in enumerate(credentials):
        for other in credentials[:index]:
            span = file.span(*(listed.get(item.name) or listed.get(other.name) or agent_path(file, sandbox)))
            both = f"`{other.name}` and `{item.name}`"
            if shared := sorted(_slots(item.injections) & _slots(other.injections)):
                host, port, kind, name = shared[0]
                what = "parameter" if kind == "query" else "header"
                detail = f"In `{sandbox}`, {both} both set the {what} `{name}` of requests to {target(host, port)}."
                yield error("Secrets for one place", detail, span, "remove one of the two from `secrets`")
            elif item.variable and item.variable == other.variable:
                detail = f"In `{sandbox}`, {both} both have the variable `{item.variable}` inside."
                yield error("Secrets for one variable", detail, span, "give one of them another `env`")


def _nothing_for(file: SandboxFile, name: str, agent: Agent, missing: Sequence[Service]) -> Diagnostic:
    variables = [variable for service in missing for variable in service.variables]
    are = "is not" if len(variables) == 1 else "are not"
    detail = f"{agent.title} in `{name}` gets no key: {', '.join(variables)} {are} set, and none is stored."
    hint = f"export {variables[0]}, or `sbx secret set {missing[0].name}`, or log in inside"
    return warning("No credential", detail, file.span(*agent_path(file, name)), hint)


# --- rules -------------------------------------------------------------------------------------------------------


def _agent_rules(agent: Agent, place: str) -> Iterator[Rule]:
    """Where an agent goes, whether it has credentials or logs in inside."""
    origin = AGENT + agent.name
    for service in map(find_service, agent.services):
        yield from _rules_for(service.injections, origin, place)
    for host in agent.hosts:
        pattern = parse_pattern(host)
        assert isinstance(pattern, Pattern), "the hosts of agents are patterns"
        yield Rule(pattern.text, origin=origin, place=place)


def _secret_rules(
    file: SandboxFile, credentials: Sequence[Credential], listed: dict[str, Path], inputs: ResolveInputs
) -> Iterator[Rule]:
    for item in credentials:
        if item.name not in listed:
            continue  # the agent's own
        for number, each in enumerate(item.injections):
            written = ("secrets", item.name, "inject", number, "host")
            path = written if file.secrets[item.name].inject else listed[item.name]
            yield from _rules_for((each,), item.origin, written_place(file.span(*path), inputs))


def _rules_for(injections: Sequence[Injection], origin: str, place: str) -> Iterator[Rule]:
    """Bound places, as far as the secret goes there: where its paths say which requests carry it, those alone."""
    for item in injections:
        yield Rule(target(item.host, item.port), paths=item.paths, origin=origin, place=place)
