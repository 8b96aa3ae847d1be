"""`resolve`: a file and facts about the host to the state that is wanted. All defaults are applied here."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from sandboxfile.diagnostics import Diagnostic, Diagnostics, has_errors, in_order
from sandboxfile.model.builtin import DEFAULT_TEMPLATE
from sandboxfile.model.desired import Command, DesiredSandbox, DesiredState, Resources
from sandboxfile.model.spec import Path, Sandbox, SandboxFile
from sandboxfile.model.values import MIB
from sandboxfile.names import SandboxId, name_from
from sandboxfile.resolve import workspaces
from sandboxfile.resolve.environment import check_passed_on, layers_of, merge, read_env_files
from sandboxfile.resolve.inputs import ResolveInputs, env_files_needed
from sandboxfile.resolve.policies import resolve_policies
from sandboxfile.resolve.templates import resolve_template
from sandboxfile.resolve.workspaces import LoadedFile, Placed

EnvFiles = Mapping[str, Mapping[str, str | None]]


def resolve(file: SandboxFile, inputs: ResolveInputs) -> tuple[DesiredState | None, Diagnostics]:
    """What the file asks for on this host; None when anything is wrong with it.

    Of the rest of a wrong file (not `whole`) it finds the problems, and gives None whatever it finds.
    """
    env_files, found = read_env_files(file, inputs)
    problems: list[Diagnostic] = list(found)
    loaded = [LoadedFile(path, inputs.paths[path]) for path in (inputs.file, *sorted(_env_file_paths(file, inputs)))]
    placed = _place_all(file, inputs, loaded, problems)
    policies, found = resolve_policies(file, inputs)
    problems += found
    project = file.name or name_from(posixpath.basename(inputs.base))
    sandboxes = [
        _sandbox(SandboxId(project, name), file, placed[name], loaded, env_files, inputs, problems)
        for name in sorted(file.sandboxes)
    ]
    whole = [replace(item, policy=policies[item.id.name]) for item in sandboxes if item and item.id.name in policies]
    if not file.whole or has_errors(problems) or len(whole) < len(sandboxes):
        return None, in_order(problems)
    return DesiredState(project, inputs.file, tuple(whole)), in_order(problems)


def _env_file_paths(file: SandboxFile, inputs: ResolveInputs) -> frozenset[str]:
    return env_files_needed(file, inputs.base, inputs.home)


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
    problems += workspaces.check_links(everything, loaded)
    return result


def _placed(file: SandboxFile, path: Path, sandbox: Sandbox, inputs: ResolveInputs) -> tuple[Placed, ...]:
    places = ((*path, "workspaces", index) for index in range(len(sandbox.workspaces)))
    return tuple(
        workspaces.place(item, file.span(*place, "source"), file.span(*place, "target"), inputs)
        for item, place in zip(sandbox.workspaces, places, strict=True)
    )


def _sandbox(
    id: SandboxId,
    file: SandboxFile,
    placed: tuple[Placed, ...],
    loaded: list[LoadedFile],
    env_files: EnvFiles,
    inputs: ResolveInputs,
    problems: list[Diagnostic],
) -> DesiredSandbox | None:
    own, beneath = file.sandboxes[id.name], file.defaults
    name = _given("template", own, beneath).template or DEFAULT_TEMPLATE
    template = resolve_template(file, name)
    if template is None:
        return None
    layers = (template.env, *layers_of(beneath, env_files, inputs), *layers_of(own, env_files, inputs))
    env = merge(layers, inputs.environment)
    problems += check_passed_on(env, file.span("sandboxes", id.name))
    command = _given("command", own, beneath).command
    return DesiredSandbox(
        id=id,
        template=name,
        image=template.image,
        user=template.user,
        workspaces=tuple(workspaces.finish(item, loaded) for item in placed),
        env=env,
        resources=_resources(own, beneath),
        setup=tuple(Command(argv) for argv in _joined(beneath.setup, own.setup)),
        command=Command(command) if command else None,
        restart=_given("restart", own, beneath).restart,
        protect=_given("protect", own, beneath).protect,
    )


def _given(field: str, own: Sandbox, beneath: Sandbox) -> Sandbox:
    """Whose value of a field counts: the sandbox's when it gives one, else the defaults'."""
    return own if field in own.model_fields_set else beneath


def _joined(beneath: tuple[tuple[str, ...], ...], own: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Lists append, without repeating what is there already."""
    return (*beneath, *(item for item in own if item not in beneath))


def _resources(own: Sandbox, beneath: Sandbox) -> Resources:
    merged = beneath.resources.model_dump(exclude_unset=True) | own.resources.model_dump(exclude_unset=True)
    # Whole MiB: QEMU wants memory in pages and disks in sectors, and `1.5g` of a user may be neither.
    return Resources(**{name: value if name == "cpus" else -(-value // MIB) * MIB for name, value in merged.items()})
