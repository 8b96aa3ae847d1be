"""devcontainer.json to one sandbox: image or build, directories, variables, ports, volumes, what runs after creation.

Fields as the Development Containers Specification has them. Commands for the host (`initializeCommand`), features and
what belongs to an editor stay behind; so does what would run at every start.
"""

from posixpath import basename, dirname, join, normpath, relpath

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.importing.devcontainer_values import add_mount, build_arguments, commands, environment, local, ports
from sandboxfile.importing.draft import Draft, Source
from sandboxfile.importing.environment import whole_cpus
from sandboxfile.importing.named_volumes import NamedVolumes
from sandboxfile.importing.reading import Fields, read_table, workspace
from sandboxfile.model.spec import Path
from sandboxfile.names import name_from

_EDITOR = "it is for an editor, or for a container"
_EACH = "nothing runs at each start but `command`; `setup` runs once"
_REASONS = {
    "features": "features are not installed; `packages`, `run` or `docker: true` of a template do what most do",
    "customizations": _EDITOR,
    "initializeCommand": "nothing in a file runs on the host",
    "postStartCommand": _EACH,
    "postAttachCommand": _EACH,
    "dockerComposeFile": "import the Compose file",
    "service": "import the Compose file",
    "runServices": "import the Compose file",
    "runArgs": "a sandbox is a machine, not a container",
    "privileged": "a sandbox is a machine with its own kernel",
    "capAdd": "a sandbox is a machine with its own kernel",
    "securityOpt": "a sandbox is a machine with its own kernel",
    "secrets": "write `secrets`, with the hosts that get them",
}
_UNKNOWN = _EDITOR
_BUILD = "only dockerfile, context, args and target are carried over"
_INSIDE = "${containerWorkspaceFolder"
_SETUP = ("onCreateCommand", "updateContentCommand", "postCreateCommand")  # in the order in which they run


def draft(source: Source, draft: Draft) -> None:
    """Fill a draft with the sandbox that the file describes."""
    root = read_table(source, draft)
    if root is None:
        return
    fields = Fields(root, draft)
    folder = folder_of(source)
    name = fields.text("name")
    wanted = name_from(name[0] if name else basename(folder), "dev")
    path: Path = ("sandboxes", draft.name("sandboxes", wanted, "", None))
    draft.put(path, {}, "sandbox", root.span)
    _template(fields, path, source)
    volumes = NamedVolumes(draft)
    inside = _folder(fields, path, source, folder, volumes)
    for index, item in enumerate(fields.items("mounts")):
        add_mount(item, f"mounts[{index}]", path, source, folder, fields, volumes, inside)
    for key in ("containerEnv", "remoteEnv"):
        environment(fields, key, path, inside)
    ports(fields, path)
    _needs(fields, path)
    for key in _SETUP:
        commands(fields, key, path, inside)
    fields.rest(_REASONS, _UNKNOWN, silent=("$schema",))


def folder_of(source: Source) -> str:
    """The project's directory, absolute: above `.devcontainer` (or a directory in it), else where the file is."""
    here = source.directory
    for place in (here, dirname(here)):
        if basename(place) == ".devcontainer":
            return dirname(place)
    return here


def _template(fields: Fields, path: Path, source: Source) -> None:
    draft = fields.draft
    remote, container = fields.text("remoteUser"), fields.text("containerUser")
    user = remote or container
    image, built = fields.text("image"), _build(fields, source)
    entry = fields.table.entry("image") or fields.table.entry("build") or fields.table.entry("dockerFile")
    value: dict[str, object] = {"build": built} if built else {"base": f"oci:{image[0]}"} if image else {}
    if not value and not user:
        return
    template = draft.name("templates", str(path[-1]), "", None, tuple(BUILTIN_TEMPLATES))
    place: Path = ("templates", template)
    span = entry.key_span if entry else fields.table.span
    draft.put(place, value, entry.key if entry else "remoteUser", span)
    if user:
        draft.put((*place, "user"), user[0], "remoteUser", user[1].span)
    draft.put((*path, "template"), template, entry.key if entry else "remoteUser", span)


def _build(fields: Fields, source: Source) -> dict[str, object]:
    below = fields.fields("build")
    file = below.text("dockerfile") if below else fields.text("dockerFile")
    context = below.text("context") if below else fields.text("context")
    if file is None:
        if below is not None:
            below.rest({}, _BUILD)
        return {}
    there = normpath(join(source.directory, context[0] if context else "."))
    dockerfile = relpath(normpath(join(source.directory, file[0])), there)
    built: dict[str, object] = {"context": source.path(context[0] if context else "."), "dockerfile": dockerfile}
    if below is not None:
        if target := below.text("target"):
            built["target"] = target[0]
        arguments = below.fields("args")
        if arguments is not None:
            built["args"] = build_arguments(arguments, folder_of(source))
        below.rest({}, _BUILD)
    return built


def _folder(fields: Fields, path: Path, source: Source, folder: str, volumes: NamedVolumes) -> str:
    """Mount the project; gives the directory inside that commands are about."""
    target = fields.text("workspaceFolder")
    mount = fields.take("workspaceMount")
    inside = local(target[0], folder) if target else ""
    if mount is not None:
        add_mount(mount.value, "workspaceMount", path, source, folder, fields, volumes)
        return inside or folder
    if target and inside is None:
        fields.draft.leave("workspaceFolder", "only its editor knows what its variables stand for", target[1].span)
    if not inside and _INSIDE in source.text:
        inside = f"/workspaces/{basename(folder)}"  # the specification's default, where something counts on it
    relative = relpath(folder, source.target)
    here = relative if relative.startswith(".") else f"./{relative}"
    span = target[1].span if target else fields.table.span
    fields.draft.add((*path, "workspaces"), workspace(here, inside or ""), "workspaceFolder", span)
    return inside or folder


def _needs(fields: Fields, path: Path) -> None:
    needs = fields.fields("hostRequirements")
    if needs is None:
        return
    for key, field in (("cpus", "cpus"), ("memory", "memory"), ("storage", "disk")):
        if found := needs.text(key):
            count = whole_cpus(found[0]) if field == "cpus" else None
            value = found[0] if count is None else count
            fields.draft.put((*path, "resources", field), value, needs.what(key), found[1].span)
    needs.rest({"gpu": "sandboxes have no GPU"}, _UNKNOWN)
