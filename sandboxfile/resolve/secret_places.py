"""Secrets that would be inside after all: sources that a workspace shows, variables that hold the value itself."""

from collections.abc import Iterator, Sequence

from sandboxfile.agents import find_agent, find_service, service_of_variable
from sandboxfile.diagnostics import Diagnostic, Span, error, warning
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.spec import Path, SandboxFile
from sandboxfile.resolve.inputs import ResolveInputs, secret_paths, written_place
from sandboxfile.resolve.workspaces import LoadedFile, Placed, inside, link_within


def check_places(file: SandboxFile, items: Sequence[Placed], inputs: ResolveInputs) -> Iterator[Diagnostic]:
    """Files of secrets that some sandbox can read; files and commands that one can replace, by a link too."""
    for name, secret in file.secrets.items():
        field = "command" if secret.command else "file"
        found = [LoadedFile(path, inputs.paths[path]) for path in secret_paths(secret, inputs.base, inputs.home)]
        problem = next((wrong for item in items for each in found if (wrong := _wrong(each, item, field))), None)
        if problem is not None:
            hint = "keep it outside of every workspace"
            yield error("Secret inside a workspace", problem, file.span("secrets", name, field), hint)


def _wrong(source: LoadedFile, item: Placed, field: str) -> str | None:
    """What a sandbox with this workspace can do to a source."""
    within = inside(source.fact.real, item.fact.real) or inside(source.path, item.written)
    if within and field == "file":
        return f"`{source.path}` lies in the workspace {item.written}: what is in it can be read inside."
    if item.mode == "rw" and source.fact.kind != "directory" and (within or link_within(source.fact, [item])):
        return (
            f"`{source.path}` can be replaced by a sandbox: it lies in the workspace {item.written}, or a link to it."
        )
    return None


def check_leaks(file: SandboxFile, sandbox: DesiredSandbox, inputs: ResolveInputs) -> Iterator[Diagnostic]:
    """Variables of a sandbox that have the value which its credentials keep outside, or which a service is known by."""
    held = {item.variable: item.placeholder for item in sandbox.policy.credentials if item.variable}
    wanted = {name for service in find_agent(sandbox.agent).services for name in find_service(service).variables}
    for variable, value in sandbox.env:
        span, from_host = _written(file, sandbox.id.name, variable)
        if not value or value == held.get(variable):
            continue
        if variable in held or variable in wanted or (from_host and service_of_variable(variable)):
            where = f" ({written_place(span, inputs)})" if span is not None else ""
            detail = f"`{variable}` of `{sandbox.id.name}`{where} is set: if that is a key, it is inside."
            hint = "remove it from the environment; `secrets` or `agent` give its requests the key and keep it outside"
            # Shown without its line where the value itself may stand in it.
            yield warning("Secret in the environment", detail, span if from_host else None, hint)


def _written(file: SandboxFile, name: str, variable: str) -> tuple[Span | None, bool]:
    """Where a variable is set, and whether it is taken from the environment of sbx."""
    for path, sandbox in ((("sandboxes", name), file.sandboxes[name]), (("defaults",), file.defaults)):
        if variable in sandbox.env:
            place: Path = (*path, "env", variable)
            return file.span(*place), sandbox.env[variable] is None
    return file.span("sandboxes", name), False
