"""Services of a Compose file to sandboxes: images, builds, commands, variables, ports, directories, resources, order.

`${VAR}` means the same in both and stays. What a service has only because containers have it is not taken over: a
network that reaches everything, ports on every address, whatever its image would start by itself; each is told.
"""

from collections.abc import Iterator, Mapping
from posixpath import join, normpath, relpath

from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.importing.compose_order import depends_on, health, profiles, scale
from sandboxfile.importing.compose_values import Mount, ports, resources, variables, volume, words
from sandboxfile.importing.draft import Draft, Source
from sandboxfile.importing.named_volumes import NamedVolumes
from sandboxfile.importing.reading import Fields, mistyped, read_table, text_of, workspace
from sandboxfile.language.tree import Node, Scalar, Sequence, Table
from sandboxfile.model.spec import Path
from sandboxfile.names import name_from

_NETWORK = "a sandbox reaches what its `policy` allows, and no other sandbox"
_KERNEL = "a sandbox is a machine with its own kernel; its user has sudo inside"
_ONE = "sandboxes are not known by it"
_REASONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("networks", "network_mode", "links", "external_links", "dns", "dns_search", "extra_hosts"), _NETWORK
    ),
    **dict.fromkeys(("expose", "hostname", "domainname", "mac_address"), _NETWORK),
    **dict.fromkeys(("privileged", "cap_add", "cap_drop", "security_opt", "sysctls", "ulimits", "ipc", "pid"), _KERNEL),
    **dict.fromkeys(("userns_mode", "cgroup", "cgroup_parent", "shm_size", "tmpfs", "read_only", "init"), _KERNEL),
    **dict.fromkeys(("container_name", "labels", "annotations", "label_file"), _ONE),
    "secrets": "`secrets` of a sandbox file go into requests and never into the sandbox",
    "configs": "`files` of a template are put into its image",
    "devices": "sandboxes have no devices of the host",
    "gpus": "sandboxes have no GPU",
    "logging": "`sbx logs` has the main process's output",
    "user": "the user inside is the template's: `user` of the template",
    "extends": "write its fields out",
    "develop": "workspaces show what changes on the host at once",
    "tty": "`sbx exec -t` and `sbx shell` give a terminal",
    "stdin_open": "`sbx exec -i` passes standard input",
    "pull_policy": "an image is fetched when it is not in the cache; `sbx template lock` pins it",
    "platform": "sandboxes are of the host's architecture",
    "runtime": "every sandbox is a microVM",
    "stop_signal": "sandboxes are shut down",
    "stop_grace_period": "sandboxes are shut down",
}
_UNKNOWN = "this version has nothing like it"
_TOP = {
    "networks": _NETWORK,
    "volumes": "only their names are carried over, with who has them",
    "secrets": "`secrets` of a sandbox file go into requests and never into the sandbox",
    "configs": "`files` of a template are put into its image",
    "include": "import those files as well",
    "models": "this version has no models",
}
_BUILD = "only context, dockerfile, args and target are carried over"
_RESTART = {"no": "no", "always": "always", "unless-stopped": "always", "on-failure": "on-failure"}


def draft(source: Source, draft: Draft) -> None:
    """Fill a draft with a sandbox for each service."""
    root = read_table(source, draft)
    if root is None:
        return
    draft.interpolated = True
    fields = Fields(root, draft)
    if name := fields.text("name"):
        wanted = name[0] if "$" in name[0] else name_from(name[0])
        draft.put(("name",), variables(wanted), "name", name[1].span)
    services = fields.fields("services")
    names: dict[str, str] = {}
    volumes = NamedVolumes(draft)
    for entry in services.table.entries if services else ():
        what = f"services.{entry.key}"
        if isinstance(entry.value, Table):
            names[entry.key] = draft.name("sandboxes", entry.key, what, entry.key_span)
        else:
            mistyped(draft, what, entry.value, "a map")
    if services is None:
        draft.wrong("Nothing to import", "There are no `services` in it.", root.span)
    elif names:
        why = "services reach each other and the internet; a sandbox reaches nothing until a `policy` allows it"
        draft.leave("services", why, root.entry("services").key_span)  # type: ignore[union-attr]
    for entry in services.table.entries if services else ():
        if isinstance(entry.value, Table):
            below = Fields(entry.value, draft, f"services.{entry.key}")
            _service(below, names, services.table, source, volumes)  # type: ignore[union-attr]
    plain = _without_options(root)
    fields.rest(_TOP, _UNKNOWN, silent=("version", "volumes") if plain else ("version",))


def _without_options(root: Table) -> bool:
    """Whether its volumes are no more than names."""
    entry = root.entry("volumes")
    entries = entry.value.entries if entry is not None and isinstance(entry.value, Table) else ()
    return all(item.value.size == 1 for item in entries)


def _service(fields: Fields, names: Mapping[str, str], services: Table, source: Source, volumes: NamedVolumes) -> None:
    name = names[fields.within.removeprefix("services.")]
    draft, path = fields.draft, ("sandboxes", name)
    draft.put(path, {}, fields.within, fields.table.span)
    _template(fields, name, path, source)
    scale(fields, path)
    _directories(fields, path, source, volumes)
    _environment(fields, path, source)
    ports(fields, path)
    resources(fields, path)
    _command(fields, path)
    if found := fields.text("restart"):
        policy, _, count = found[0].partition(":")
        draft.put((*path, "restart"), _RESTART.get(policy, found[0]), fields.what("restart"), found[1].span)
        if count:
            draft.leave(fields.what("restart"), "the number of attempts is not carried over", found[1].span)
    health(fields, path)
    depends_on(fields, path, names, services)
    profiles(fields, path)
    fields.rest(_REASONS, _UNKNOWN)


# --- what it is made of ------------------------------------------------------------------------------------------


def _template(fields: Fields, name: str, path: Path, source: Source) -> None:
    image, build = fields.text("image"), fields.take("build")
    draft = fields.draft
    if build is not None:
        what, span = fields.what("build"), build.key_span
        value: dict[str, object] | None = {"build": found} if (found := _build(build.value, fields, source)) else None
        if image:
            draft.leave(fields.what("image"), "what is built has the template's name", image[1].span)
    elif image:
        what, span = fields.what("image"), image[1].span
        value = {"base": f"oci:{variables(image[0])}"}
    else:
        return
    if value is not None:
        template = draft.name("templates", name, "", None, tuple(BUILTIN_TEMPLATES))
        draft.put(("templates", template), value, what, span)
        draft.put((*path, "template"), template, what, span)


def _build(node: Node, fields: Fields, source: Source) -> dict[str, object] | None:
    if (text := text_of(node)) is not None:
        return {"context": variables(_local(text, source))}
    if not isinstance(node, Table):
        fields.wrong("build", node, "a path or a map")
        return None
    below = Fields(node, fields.draft, fields.what("build"))
    context = below.text("context")
    built: dict[str, object] = {"context": variables(_local(context[0] if context else ".", source))}
    for key in ("dockerfile", "target"):
        if found := below.text(key):
            built[key] = variables(found[0])
    if arguments := _assignments(below, "args"):
        built["args"] = {key: value for key, value, _ in arguments}
    below.rest({}, _BUILD)
    return built


def _local(path: str, source: Source) -> str:
    """A path from the file's directory; a variable at its beginning, and a URL, are left as they are."""
    return path if path.startswith("$") or "://" in path else source.path(path)


def _directories(fields: Fields, path: Path, source: Source, volumes: NamedVolumes) -> None:
    directory = fields.text("working_dir")
    items = fields.items("volumes")
    found = [volume(item, f"{fields.what('volumes')}[{index}]", source, fields) for index, item in enumerate(items)]
    mounts = [mount for mount in found if mount is not None and not mount.volume]
    for mount in found:
        if mount is not None and mount.volume:
            read_only = mount.read_only
            volumes.mount(mount.volume, variables(mount.target), path, mount.what, mount.span, read_only=read_only)
    mounts, protected = _apart(mounts, fields.draft)
    if directory:
        first = [mount for mount in mounts if mount.target.rstrip("/") == directory[0].rstrip("/")]
        if not first:
            why = "the working directory is the first workspace; no directory of the host is mounted there"
            fields.draft.leave(fields.what("working_dir"), why, directory[1].span)
        mounts = first + [mount for mount in mounts if mount not in first]
    for mount in mounts:
        protect = protected.get(mount.target, ())
        item = workspace(mount.host, mount.target, read_only=mount.read_only, protect=protect)
        fields.draft.add((*path, "workspaces"), item, mount.what, mount.span)


def _apart(mounts: list[Mount], draft: Draft) -> tuple[list[Mount], Mapping[str, list[str]]]:
    """Those whose target lies in no other's, and what is read-only below each target: nothing becomes writable."""
    kept: list[Mount] = []
    protected: dict[str, list[str]] = {}
    for mount in mounts:
        above = min(_above(mount, mounts), key=lambda other: len(other.target), default=None)
        if above is None:
            kept.append(mount)
            continue
        below = relpath(mount.target, above.target)
        if normpath(join(above.host, below)) != normpath(mount.host):
            draft.leave(mount.what, f"a workspace cannot lie in another one, which is at {above.target}", mount.span)
        elif mount.read_only and not above.read_only:
            protected.setdefault(above.target, []).append(below)
        elif above.read_only and not mount.read_only:
            draft.leave(mount.what, f"it is read-only, as {above.target} is", mount.span)
    return kept, protected


def _above(mount: Mount, mounts: list[Mount]) -> Iterator[Mount]:
    for other in mounts:
        if mount.target.startswith(f"{other.target.rstrip('/')}/") and normpath(mount.target) != normpath(other.target):
            yield other


# --- what runs in it ---------------------------------------------------------------------------------------------


def _command(fields: Fields, path: Path) -> None:
    entry = fields.table.entry("entrypoint") or fields.table.entry("command")
    program, arguments = words(fields, "entrypoint"), words(fields, "command")
    if entry is None:
        why = "what its image would start by itself is not started; write it as `command`"
        fields.draft.leave(fields.within, why, fields.table.span)
    elif program or arguments:
        argv = [variables(word) for word in [*program, *arguments]]
        fields.draft.put((*path, "command"), argv, fields.what(entry.key), entry.key_span)
        if not program:
            why = "it is the whole command here; an ENTRYPOINT of the image is not put before it"
            fields.draft.leave(fields.what("command"), why, entry.key_span)


def _assignments(fields: Fields, key: str) -> list[tuple[str, str | None, Scalar]]:
    """A map or a list of NAME=VALUE; None where the value is somebody's environment's."""
    entry = fields.take(key)
    if entry is None:
        return []
    found: list[tuple[str, str | None, Scalar]] = []
    if isinstance(entry.value, Table):
        for item in entry.value.entries:
            text = text_of(item.value)
            if not isinstance(item.value, Scalar):
                fields.wrong(f"{key}.{item.key}", item.value, "a text")
            else:
                found.append((item.key, None if text is None else variables(text), item.value))
    elif isinstance(entry.value, Sequence):
        for written, node in fields.only_texts(key, entry.value.items):
            name, equals, value = written.partition("=")
            found.append((name, variables(value) if equals else None, node))
    else:
        fields.wrong(key, entry.value, "a map or a list of NAME=VALUE")
    return found


def _environment(fields: Fields, path: Path, source: Source) -> None:
    for name, value, node in _assignments(fields, "environment"):
        fields.draft.put((*path, "env", name), value, fields.what(f"environment.{name}"), node.span)
    entry = fields.take("env_file")
    if entry is None:
        return
    for item in entry.value.items if isinstance(entry.value, Sequence) else (entry.value,):
        below = Fields(item, fields.draft, fields.what("env_file")) if isinstance(item, Table) else None
        required = below.take("required") if below else None
        found = below.text("path") if below else None
        text = found[0] if found else text_of(item)
        if text is None:
            fields.wrong("env_file", item, "a path")
        elif required is not None and text_of(required.value) != "true":
            why = "a file that may be missing cannot be named here"
            fields.draft.leave(f"{fields.what('env_file')} {text}", why, item.span)
        else:
            value = variables(_local(text, source))
            fields.draft.add((*path, "env_file"), value, f"{fields.what('env_file')} {text}", item.span)
        if below:
            below.rest({}, _UNKNOWN)
