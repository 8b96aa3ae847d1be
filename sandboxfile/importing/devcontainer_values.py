"""Values of devcontainer.json that have a grammar of their own: variables, mounts, ports, commands."""

import re
from posixpath import basename

from sandboxfile.importing.draft import Source
from sandboxfile.importing.named_volumes import NamedVolumes
from sandboxfile.importing.reading import FILE, Fields, text_of, workspace
from sandboxfile.language.tree import Node, Scalar, Sequence, Table
from sandboxfile.model.spec import Path

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_OWN = re.compile(r"\$\{(?:localEnv|env):([A-Za-z_][A-Za-z0-9_]*)\}\Z")
_NAMELESS = "only directories of the host and named volumes are carried over"
_EDITOR = "only its editor knows what its variables stand for"
_SOCKET = "a host's Docker socket is the host; `docker: true` in the template gives a daemon of its own"


def local(text: str, folder: str, inside: str = "") -> str | None:
    """A text with the variables that speak of directories replaced; None when there are others.

    `inside`: where the project is mounted, if that is known already.
    """
    known = {
        "localWorkspaceFolder": folder,
        "localWorkspaceFolderBasename": basename(folder),
        "localEnv:HOME": "~",
        "env:HOME": "~",
    }
    if inside:
        known |= {"containerWorkspaceFolder": inside, "containerWorkspaceFolderBasename": basename(inside)}
    found = _VARIABLE.findall(text)
    if any(name not in known for name in found):
        return None
    return _VARIABLE.sub(lambda match: known[match[1]], text)


def add_mount(
    item: Node,
    what: str,
    path: Path,
    source: Source,
    folder: str,
    fields: Fields,
    volumes: NamedVolumes,
    within: str = "",
) -> None:
    """A bind mount as a workspace, a named volume as a volume; a note for anything else."""
    draft = fields.draft
    text = text_of(item)
    if isinstance(item, Table):
        pairs = {entry.key: text_of(entry.value) or "" for entry in item.entries}
    elif text is not None:
        parts = [part.partition("=") for part in text.split(",")]
        pairs = {key.strip(): value if equals else "true" for key, equals, value in parts}
    else:
        fields.wrong(what, item, "a text or a map")
        return
    host, target = pairs.get("source") or pairs.get("src"), pairs.get("target") or pairs.get("dst")
    kind = pairs.get("type", "volume")
    if kind not in ("bind", "volume") or not host or not target:
        draft.leave(what, _NAMELESS, item.span)
        return
    read_only = any(pairs.get(key, "false") != "false" for key in ("readonly", "readOnly", "ro"))
    here, inside = local(host, folder, within), local(target, folder, within)
    if here is None or inside is None:
        draft.leave(what, _EDITOR, item.span)
    elif kind == "volume":
        volumes.mount(here, inside, path, what, item.span, read_only=read_only)
    elif here.endswith("docker.sock"):
        draft.leave(what, _SOCKET, item.span)
    elif source.names_file(here):
        draft.leave(what, FILE, item.span)
    else:
        place = source.path(here) if not _below(here, folder) else _from(here, folder, source)
        draft.add((*path, "workspaces"), workspace(place, inside, read_only=read_only), what, item.span)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _from(path: str, folder: str, source: Source) -> str:
    """A path in the project, from where the new file is: it is to be right on other machines too."""
    return Source("", "", folder, source.target).path(path[len(folder.rstrip("/")) :].lstrip("/") or ".")


def environment(fields: Fields, key: str, path: Path, inside: str) -> None:
    """Variables. One that is the host's own of the same name is taken from there; `inside` is where the project is."""
    below = fields.fields(key)
    for entry in below.table.entries if below else ():
        what = f"{key}.{entry.key}"
        text = text_of(entry.value)
        if text is None:
            if isinstance(entry.value, Scalar):
                fields.draft.leave(what, "there is no way to unset a variable", entry.key_span)
            else:
                fields.wrong(what, entry.value, "a text")
        elif (own := _OWN.match(text)) and own[1] == entry.key:
            fields.draft.put((*path, "env", entry.key), None, what, entry.value.span)
        elif _VARIABLE.search(known := _placed(text, inside)):
            fields.draft.leave(what, _EDITOR, entry.value.span)
        else:
            fields.draft.put((*path, "env", entry.key), known, what, entry.value.span)


def build_arguments(fields: Fields, folder: str) -> dict[str, str]:
    """Arguments of a Dockerfile. One with a variable that is nowhere known is not passed: it would mean itself."""
    found: dict[str, str] = {}
    for entry in fields.table.entries:
        if written := fields.text(entry.key):
            value = written[0].replace("${localWorkspaceFolderBasename}", basename(folder))
            if _VARIABLE.search(value):
                fields.draft.leave(fields.what(entry.key), _EDITOR, written[1].span)
            else:
                found[entry.key] = value
    return found


def _placed(text: str, inside: str) -> str:
    """A text with the variables that speak of the project's directory inside replaced; others stay."""
    known = {"containerWorkspaceFolder": inside, "containerWorkspaceFolderBasename": basename(inside)}
    return _VARIABLE.sub(lambda match: known.get(match[1], match[0]), text)


def ports(fields: Fields, path: Path) -> None:
    """Ports to forward, each to the same number on this host alone."""
    for key in ("forwardPorts", "appPort"):
        entry = fields.take(key)
        if entry is None:
            continue
        for item in entry.value.items if isinstance(entry.value, Sequence) else (entry.value,):
            text = text_of(item)
            if text is None:
                fields.wrong(key, item, "a port")
            elif not re.fullmatch(r"[0-9]+(?::[0-9]+)?", text):
                fields.draft.leave(f"{key} {text}", "only ports of the sandbox itself can be carried over", item.span)
            else:
                value = text if ":" in text else f"{text}:{text}"
                fields.draft.add((*path, "ports"), value, f"{key} {text}", item.span)


def commands(fields: Fields, key: str, path: Path, inside: str) -> None:
    """A command for the shell, one as a list, or several by name, which run one after the other here."""
    entry = fields.take(key)
    if entry is None:
        return
    several = isinstance(entry.value, Table)
    nodes = [item.value for item in entry.value.entries] if isinstance(entry.value, Table) else [entry.value]
    for node in nodes:
        text = text_of(node)
        if text is None and not isinstance(node, Sequence):
            fields.wrong(key, node, "a text or a list")
            continue
        words = [] if text is not None else [_placed(word, inside) for word, _ in fields.only_texts(key, node.items)]  # type: ignore[union-attr]
        value = words if text is None else _placed(text, inside)
        if isinstance(value, str) and _VARIABLE.search(value):
            fields.draft.leave(key, "its variables are a shell's inside, not the editor's", node.span)
        if value:
            fields.draft.add((*path, "setup"), value, key, node.span)
    if several and len(nodes) > 1:
        fields.draft.leave(key, "its commands run one after the other, not at once", entry.key_span)
