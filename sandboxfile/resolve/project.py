"""`resolve`: a file and facts about the host to the state that is wanted. All defaults are applied here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sandboxfile.diagnostics import Diagnostic, Diagnostics, has_errors, in_order
from sandboxfile.model.desired import Command, DesiredSandbox, DesiredState, FromHost, Image, Mount, Port, Resources
from sandboxfile.model.spec import Path, Sandbox, SandboxFile
from sandboxfile.model.template import DesiredTemplate
from sandboxfile.model.values import MIB
from sandboxfile.names import SandboxId
from sandboxfile.resolve import workspaces
from sandboxfile.resolve.chains import given, template_of
from sandboxfile.resolve.credentials import agent_of
from sandboxfile.resolve.dependencies import dependencies_of, profiles_of
from sandboxfile.resolve.environment import check_passed_on, layers_of, merge, passed_on, read_env_files
from sandboxfile.resolve.health import healthcheck_of, idle_stop_of
from sandboxfile.resolve.identity import check_identity, identity_variables
from sandboxfile.resolve.inputs import ResolveInputs, env_files_needed, project_of, sources_needed
from sandboxfile.resolve.policies import resolve_policies
from sandboxfile.resolve.ports import resolve_ports
from sandboxfile.resolve.scaling import Scaled, scaled
from sandboxfile.resolve.secret_places import check_leaks, check_places
from sandboxfile.resolve.templates import ResolvedTemplate, resolve_template, title_of
from sandboxfile.resolve.volumes import resolve_volumes
from sandboxfile.resolve.workspaces import LoadedFile, Placed

EnvFiles = Mapping[str, Mapping[str, str | None]]


def resolve(file: SandboxFile, inputs: ResolveInputs) -> tuple[DesiredState | None, Diagnostics]:
    """What the file asks for on this host; None when anything is wrong with it.

    Of the rest of a wrong file (not `whole`) it finds the problems, and gives None whatever it finds.
    """
    scale, found = scaled(file)
    file = scale.file
    problems: list[Diagnostic] = list(found)
    env_files, found = read_env_files(file, inputs)
    problems += found
    own = () if inputs.project else (inputs.file, inputs.lock, *inputs.beside)
    of_host = (inputs.absolute(item.path) for item in inputs.configuration)
    files = [*dict.fromkeys((*filter(None, own), *sorted(_env_file_paths(file, inputs)), *of_host))]
    loaded = [LoadedFile(path, inputs.paths[path]) for path in files]
    placed = _place_all(file, inputs, loaded, problems)
    templates = _templates(file, inputs, problems)
    recipes = {name: template.recipe for name, template in templates.items()}
    policies, found = resolve_policies(file, inputs, recipes)
    problems += found
    ports, found = resolve_ports(file)
    problems += found
    project = project_of(file, inputs)
    volumes, mounts, found = resolve_volumes(file, project, placed)
    problems += found
    parts = _Parts(file, inputs, templates, env_files, loaded, ports, mounts, scale)
    sandboxes = [_sandbox(SandboxId(project, name), parts, placed[name], problems) for name in sorted(file.sandboxes)]
    held = policies.sandboxes
    whole = [replace(item, policy=held[item.id.name]) for item in sandboxes if item and item.id.name in held]
    for sandbox in whole:
        problems += check_leaks(file, sandbox, inputs)
    if not file.whole or has_errors(problems) or len(whole) < len(sandboxes):
        return None, in_order(problems)
    wanted = (
        DesiredTemplate(name, template.recipe, policies.templates[name], written=template.written)
        for name, template in templates.items()
    )
    source = "" if inputs.project else inputs.file
    return DesiredState(project, source, tuple(whole), tuple(wanted), volumes), in_order(problems)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the sandboxes of one file share."""

    file: SandboxFile
    inputs: ResolveInputs
    templates: Mapping[str, ResolvedTemplate]
    env_files: EnvFiles
    loaded: Sequence[LoadedFile]
    ports: Mapping[str, tuple[Port, ...]]
    mounts: Mapping[str, tuple[Mount, ...]]
    scale: Scaled


def _templates(file: SandboxFile, inputs: ResolveInputs, problems: list[Diagnostic]) -> dict[str, ResolvedTemplate]:
    """All of the file, and the built-in ones in use, by name."""
    used = {template_of(sandbox, file.defaults) for sandbox in file.sandboxes.values()}
    names = {*file.templates, *used}
    found = {name: resolve_template(file, name, inputs, problems) for name in sorted(names)}
    return {name: template for name, template in found.items() if template is not None}


def _env_file_paths(file: SandboxFile, inputs: ResolveInputs) -> frozenset[str]:
    return env_files_needed(file, inputs.base, inputs.home)


def _template_sources(file: SandboxFile, inputs: ResolveInputs) -> Iterator[LoadedFile]:
    """What of this host images are made from: through no link that a sandbox can turn."""
    names = {item.name for item in sources_needed(file, inputs.base, inputs.home) if item.is_path}
    yield from (LoadedFile(name, inputs.paths[name]) for name in sorted(names))


def _place_all(
    file: SandboxFile, inputs: ResolveInputs, loaded: list[LoadedFile], problems: list[Diagnostic]
) -> dict[str, tuple[Placed, ...]]:
    """Every sandbox's workspaces, checked one by one and then against all others of the project."""
    beneath = _placed(file, ("defaults",), file.defaults, inputs)
    result = {}
    for name, sandbox in file.sandboxes.items():
        result[name], clashes = workspaces.join(_placed(file, ("sandboxes", name), sandbox, inputs), beneath)
        problems += clashes
    everything = list(dict.fromkeys([*beneath, *(item for items in result.values() for item in items)]))
    problems += workspaces.check(everything, inputs)
    problems += workspaces.check_links(everything, [*loaded, *_template_sources(file, inputs)])
    problems += check_places(file, everything, inputs)
    return result


def _placed(file: SandboxFile, path: Path, sandbox: Sandbox, inputs: ResolveInputs) -> tuple[Placed, ...]:
    places = ((*path, "workspaces", index) for index in range(len(sandbox.workspaces)))
    return tuple(
        workspaces.place(item, file.span(*place, "source"), file.span(*place, "target"), inputs)
        for item, place in zip(sandbox.workspaces, places, strict=True)
    )


def _sandbox(
    id: SandboxId, parts: _Parts, placed: tuple[Placed, ...], problems: list[Diagnostic]
) -> DesiredSandbox | None:
    file, inputs, env_files = parts.file, parts.inputs, parts.env_files
    own, beneath = file.sandboxes[id.name], file.defaults
    agent = agent_of(file, id.name)
    name = template_of(own, beneath)
    template = parts.templates.get(name)
    if template is None:
        return None
    identity = identity_variables(given("git", own, beneath).git, inputs)
    problems += check_identity(file, id.name, inputs)
    written = (*layers_of(beneath, env_files, inputs), *layers_of(own, env_files, inputs))
    layers = (dict(agent.environment), identity, template.env, *written)
    env = merge(layers, inputs.environment)
    problems += check_passed_on(env, file.span("sandboxes", id.name))
    command = given("command", own, beneath).command
    return DesiredSandbox(
        id=id,
        template=name,
        image=Image(template.recipe.digest, title_of(template.recipe, inputs.base)),
        user=template.user,
        workspaces=tuple(workspaces.finish(item, parts.loaded) for item in placed),
        env=env,
        resources=_resources(own, beneath),
        setup=tuple(Command(argv) for argv in _joined(beneath.setup, own.setup)),
        command=Command(command) if command else None,
        restart=given("restart", own, beneath).restart,
        protect=given("protect", own, beneath).protect,
        docker=template.docker,
        agent=agent.name,
        ports=parts.ports[id.name],
        mounts=parts.mounts[id.name],
        healthcheck=healthcheck_of(file, id.name),
        idle_stop=idle_stop_of(file, id.name),
        depends_on=dependencies_of(parts.scale, id.name),
        profiles=profiles_of(parts.scale, id.name),
        service=parts.scale.service.get(id.name, ""),
        from_host=tuple(_from_host(layers, template.passed_on, (*beneath.env_file, *own.env_file), inputs)),
    )


def _from_host(
    layers: Sequence[Mapping[str, str | None]],
    built_with: Sequence[str],
    env_files: Sequence[str],
    inputs: ResolveInputs,
) -> Iterator[FromHost]:
    """What of this host comes into the environment inside, or into the image."""
    merged = {name: value for layer in layers for name, value in layer.items()}
    for name in sorted({*passed_on(merged, inputs.environment), *built_with}):
        yield FromHost("environment", name)
    inside = inputs.paths[inputs.base].real
    for path in dict.fromkeys(inputs.paths[inputs.absolute(each)].real for each in env_files):
        if not path.startswith(f"{inside.rstrip('/')}/"):  # in truth: a link in the project may lead out of it
            yield FromHost(path)


def _joined(beneath: tuple[tuple[str, ...], ...], own: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Lists append, without repeating what is there already."""
    return (*beneath, *(item for item in own if item not in beneath))


def _resources(own: Sandbox, beneath: Sandbox) -> Resources:
    merged = beneath.resources.model_dump(exclude_unset=True) | own.resources.model_dump(exclude_unset=True)
    # Whole MiB: QEMU wants memory in pages and disks in sectors, and `1.5g` of a user may be neither.
    return Resources(**{name: value if name == "cpus" else -(-value // MIB) * MIB for name, value in merged.items()})
