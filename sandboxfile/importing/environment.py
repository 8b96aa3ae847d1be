"""Docker's sandbox environment file (`schemaVersion: "1"`, `sbxenv.yaml`) to one sandbox.

Fields as its reference documents them. `${{ env.args.NAME }}` becomes the argument's default, and says so; the two
directories become paths. Commands for the host (`lifecycle`) are never carried over.
"""

import re
from math import ceil
from posixpath import basename

from sandboxfile.agents import AGENTS
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.importing.draft import Draft, Source, shown
from sandboxfile.importing.reading import Fields, mistyped, read_table, text_of, workspace
from sandboxfile.language.tree import Node, Scalar, Table
from sandboxfile.model.spec import Path

VERSION = "1"
_EXPRESSION = re.compile(r"\$?\$\{\{\s*env\.(args\.[A-Za-z_][A-Za-z0-9_-]*|projectDir|fileDir)\s*\}\}")
_REASONS = {
    "kits": "kits are Docker's; a template's `packages`, `files` and `run` do what most of them do",
    "lifecycle": "nothing in a file runs on the host; `setup` runs inside, when the sandbox is created",
    "bindings": "`inject` of a secret says which hosts get it, and `sbx secret approve` approves them",
    "registries": "images are fetched with the credentials of this host's own containers tools",
    "mcp": "there is no gateway for MCP servers; one that runs inside needs `setup` and a policy",
}
_OPTIONS = {
    "pullPolicy": "an image is fetched when it is not in the cache; `sbx template lock` pins it",
    "profile": "policies with `enforce: true` of this machine and this user always apply",
    "skills": "there is no shared store of skills; a read-only workspace can be one",
    "display": "sandboxes have no display",
    "gpu": "sandboxes have no GPU",
    "usb": "sandboxes have no devices of the host",
}
_UNKNOWN = "this version knows no such field of a sandbox environment file"
_SOURCES = ("snapshot", "refresh", "backend", "noVerify")


class _Texts:
    """Texts with their expressions replaced."""

    def __init__(self, arguments: dict[str, str], draft: Draft) -> None:
        self.arguments, self.draft = arguments, draft

    def of(self, text: str, what: str, node: Node) -> str | None:
        """The text; None when a part of it is given with each command only."""
        missing = [name for name in self._names(text) if name not in self.arguments]
        if missing:
            why = f"`{missing[0]}` is given with each command there; write a value"
            self.draft.leave(what, why, node.span)
            return None
        if any(self._names(text)):
            self.draft.leave(what, "an argument was replaced by its default", node.span)
        return _EXPRESSION.sub(self._value, text)

    def _names(self, text: str) -> list[str]:
        found = [match for match in _EXPRESSION.finditer(text) if not match[0].startswith("$$")]
        return [match[1].removeprefix("args.") for match in found if match[1].startswith("args.")]

    def _value(self, match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        name = match[1]
        return self.arguments.get(name.removeprefix("args."), "") if name.startswith("args.") else "."


def draft(source: Source, draft: Draft) -> None:
    """Fill a draft with the sandbox that the file describes."""
    root = read_table(source, draft)
    if root is None:
        return
    fields = Fields(root, draft)
    version = fields.text("schemaVersion")
    if version is None or version[0] != VERSION:
        span = version[1].span if version else root.span
        draft.wrong("Unknown schema version", f'It must say `schemaVersion: "{VERSION}"`.', span)
        return
    texts = _Texts(_arguments(fields, draft), draft)
    agent = fields.text("agent")
    name = fields.text("name")
    wanted = name[0] if name else f"{agent[0] if agent else 'shell'}-{basename(source.directory)}"
    found = draft.name("sandboxes", wanted, "name" if name else "", name[1].span if name else None)
    path: Path = ("sandboxes", found)
    draft.put(path, {}, "sandbox", root.span)
    if agent:
        _agent(*agent, path, texts, draft)
    _workspaces(fields, path, texts, source, draft)
    _options(fields, found, path, texts, draft)
    _environment(fields, path, texts, draft)
    _secrets(fields, path, texts, draft)
    for index, item in enumerate(fields.items("ports")):
        _port(item, index, path, draft)
    fields.rest(_REASONS, _UNKNOWN)


def _arguments(fields: Fields, draft: Draft) -> dict[str, str]:
    declared = fields.fields("args")
    found: dict[str, str] = {}
    for entry in declared.table.entries if declared else ():
        default = entry.value.entry("default") if isinstance(entry.value, Table) else None
        text = text_of(default.value) if default else None
        if text is not None:
            found[entry.key] = text
        draft.leave(f"args.{entry.key}", "sandbox files have no arguments of their own", entry.key_span)
    return found


def _agent(written: str, node: Scalar, path: Path, texts: _Texts, draft: Draft) -> None:
    agent = texts.of(written, "agent", node)
    if agent is not None and agent not in AGENTS:
        draft.leave(f"agent {agent}", f"the agents here are {', '.join(AGENTS)}", node.span)
    elif agent is not None:
        draft.put((*path, "agent"), agent, "agent", node.span)


def _workspaces(fields: Fields, path: Path, texts: _Texts, source: Source, draft: Draft) -> None:
    entry = fields.table.entry("workspace")
    if entry is not None and isinstance(entry.value, Table):
        below = fields.fields("workspace")
        assert below is not None
        _workspace(below, "clone", path, texts, source, draft)
    elif found := fields.text("workspace"):
        _add_workspace(*found, "workspace", path, texts, source, draft)
    for index, item in enumerate(fields.items("additionalWorkspaces")):
        what = f"additionalWorkspaces[{index}]"
        if isinstance(item, Table):
            _workspace(Fields(item, draft, what), "readOnly", path, texts, source, draft)
        else:
            fields.wrong(what, item, "a map")


def _workspace(below: Fields, flag: str, path: Path, texts: _Texts, source: Source, draft: Draft) -> None:
    found, read_only = below.text("path"), below.flag(flag)
    if found is None:
        detail = f"`{below.within}` lacks its `path`."
        draft.wrong("Missing field", detail, below.table.span)
        return
    _add_workspace(*found, below.what("path"), path, texts, source, draft, read_only=read_only)
    if flag == "clone" and read_only:
        why = "there are no clones: the directory is shown read-only, and a clone of it can be made inside"
        draft.leave(below.what("clone"), why, below.table.span)
    below.rest({}, _UNKNOWN)


def _add_workspace(
    written: str, node: Scalar, what: str, path: Path, texts: _Texts, source: Source, draft: Draft,
    *, read_only: bool = False,
) -> None:  # fmt: skip
    text = texts.of(written, what, node)
    if text is not None:
        draft.add((*path, "workspaces"), workspace(source.path(text), read_only=read_only), what, node.span)


def _options(fields: Fields, name: str, path: Path, texts: _Texts, draft: Draft) -> None:
    options = fields.fields("sandboxOptions")
    if options is None:
        return
    for key, field in (("cpus", "cpus"), ("memory", "memory")):
        if found := options.text(key):
            _resource(*found, options.what(key), (*path, "resources", field), texts, draft)
    found = options.text("template")
    image = texts.of(found[0], options.what("template"), found[1]) if found else None
    if found and image:
        template = draft.name("templates", name, "", None, tuple(BUILTIN_TEMPLATES))
        draft.put(("templates", template), {"base": f"oci:{image}"}, options.what("template"), found[1].span)
        draft.put((*path, "template"), template, options.what("template"), found[1].span)
    options.rest(_OPTIONS, _UNKNOWN)


def _resource(written: str, node: Scalar, what: str, path: Path, texts: _Texts, draft: Draft) -> None:
    text = texts.of(written, what, node)
    if text is None:
        return
    if path[-1] != "cpus":
        draft.put(path, text, what, node.span)
    elif (count := whole_cpus(text)) == 0:
        draft.leave(what, "every processor of the host cannot be asked for; the default is 2", node.span)
    else:
        draft.put(path, text if count is None else count, what, node.span)


def whole_cpus(text: str) -> int | None:
    """A number of processors, rounded up; None when it is no number."""
    return ceil(float(text)) if re.fullmatch(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", text) else None


def _environment(fields: Fields, path: Path, texts: _Texts, draft: Draft) -> None:
    env = fields.fields("env")
    for entry in env.table.entries if env else ():
        what = f"env.{entry.key}"
        written = text_of(entry.value)
        if written is None:
            fields.wrong(what, entry.value, "a text")
            continue
        text = texts.of(written, what, entry.value)
        if text is not None:
            draft.put((*path, "env", entry.key), text, what, entry.value.span)


def _secrets(fields: Fields, path: Path, texts: _Texts, draft: Draft) -> None:
    secrets = fields.fields("secrets")
    for entry in secrets.table.entries if secrets else ():
        what = f"secrets.{entry.key}"
        if not isinstance(entry.value, Table):
            fields.wrong(what, entry.value, "a map")
            continue
        below = Fields(entry.value, draft, what)
        command, value, reference = (below.text(key) for key in ("command", "value", "ref"))
        if value:
            why = f"a value does not belong into a file: `sbx secret set {shown(entry.key)}` keeps it"
            draft.leave(f"{what}.value", why, value[1].span)
        if reference:
            why = "write the command that prints it, e.g. `command: [op, read, REFERENCE]`"
            draft.leave(f"{what}.ref", why, reference[1].span)
        if command and (text := texts.of(command[0], f"{what}.command", command[1])):
            draft.put(("secrets", entry.key), {"command": ["/bin/sh", "-c", text]}, f"{what}.command", command[1].span)
            draft.add((*path, "secrets"), entry.key, f"{what}.command", command[1].span)
        below.rest(dict.fromkeys(_SOURCES, "a command is run when its value is needed"), _UNKNOWN)


def _port(item: Node, index: int, path: Path, draft: Draft) -> None:
    what = f"ports[{index}]"
    if not isinstance(item, Table):
        mistyped(draft, what, item, "a map")
        return
    below = Fields(item, draft, what)
    guest, host, address, protocol = (below.text(key) for key in ("sandbox", "host", "hostIP", "protocol"))
    kind = protocol[0] if protocol else "tcp4"
    if guest is None or host is None:
        draft.leave(what, "a port needs the host's number as well; `sbx forward` finds a free one", item.span)
    elif kind not in ("tcp", "tcp4", "tcp6"):
        draft.leave(what, "only TCP passes", item.span)
    else:
        if kind == "tcp" and address is None:
            draft.leave(what, "it listens on 127.0.0.1 only, not on ::1 as well", item.span)
        listen = address[0] if address else "::1" if kind == "tcp6" else ""
        draft.add((*path, "ports"), port_text(listen, host[0], guest[0]), what, item.span)
    below.rest({}, _UNKNOWN)


def port_text(address: str, host: str, guest: str) -> str:
    """A port as the language writes it."""
    listen = f"[{address.strip('[]')}]:" if ":" in address else f"{address}:" if address else ""
    return f"{listen}{host}:{guest}"
