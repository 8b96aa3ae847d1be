"""When a service of Compose is there, how many of it, what it waits for, and how it says that it is well."""

from collections.abc import Mapping

from sandboxfile.importing.compose_values import variables, words
from sandboxfile.importing.reading import Fields, text_of
from sandboxfile.language.tree import Node, Scalar, Sequence, Table
from sandboxfile.model.spec import Path

_UNKNOWN = "this version has nothing like it"
_CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}
_ONE_DOOR = "one port of this host leads to one sandbox, and one sandbox at a time has a volume: it is not scaled"


def profiles(fields: Fields, path: Path) -> None:
    """The profiles, one by one."""
    for text, node in fields.texts("profiles"):
        fields.draft.add((*path, "profiles"), variables(text), f"{fields.what('profiles')} {text}", node.span)


def scale(fields: Fields, path: Path) -> None:
    """`scale`, else `deploy.replicas`. One is what there is anyway, by its own name."""
    deploy = fields.table.entry("deploy")
    replicas = deploy.value.entry("replicas") if deploy is not None and isinstance(deploy.value, Table) else None
    own = fields.take("scale")
    entry, what = (own, "scale") if own is not None else (replicas, "deploy.replicas")
    text = text_of(entry.value) if entry is not None else None
    if entry is None or text == "1":
        return
    if text is None:
        fields.wrong(what, entry.value, "a number")
    elif text != "0" and (fields.table.entry("ports") or _has_volume(fields)):
        fields.draft.leave(fields.what(what), _ONE_DOOR, entry.key_span)
    else:
        value = int(text) if text.isdecimal() and len(text) < 10 else variables(text)
        fields.draft.put((*path, "scale"), value, fields.what(what), entry.key_span)


def _has_volume(fields: Fields) -> bool:
    """Whether it mounts anything but directories of the host."""
    entry = fields.table.entry("volumes")
    items = entry.value.items if entry is not None and isinstance(entry.value, Sequence) else ()
    return any(_is_volume(item) for item in items)


def _is_volume(item: Node) -> bool:
    if isinstance(item, Table):
        kind = item.entry("type")
        return kind is None or text_of(kind.value) != "bind"
    return (text_of(item) or ".")[0] not in "./~$"


def health(fields: Fields, path: Path) -> None:
    """The healthcheck: the command of each form, and its times."""
    entry = fields.table.entry("healthcheck")
    below = fields.fields("healthcheck")
    if below is None or entry is None:
        return
    what, place = fields.what("healthcheck"), (*path, "healthcheck")
    command = _test(below)
    if below.flag("disable"):
        fields.draft.leave(
            what, "a healthcheck is there only when it is written: nothing is to be disabled", entry.key_span
        )
        command = None
    elif command is None:
        fields.draft.leave(what, "there is no command in it", entry.key_span)
    times = [(key, below.text(key)) for key in ("interval", "timeout", "start_period")]
    retries = below.text("retries")
    if command is not None:
        fields.draft.put((*place, "command"), command, what, entry.key_span)
        for key, found in times:
            if found:
                fields.draft.put((*place, key), variables(found[0]), below.what(key), found[1].span)
        if retries:
            text, node = retries
            number = int(text) if text.isdecimal() and len(text) < 10 else variables(text)
            fields.draft.put((*place, "retries"), number, below.what("retries"), node.span)
    below.rest({}, _UNKNOWN)


def _test(below: Fields) -> str | list[str] | None:
    """A text is for the shell; a list begins with how it is run."""
    entry = below.table.entry("test")
    if entry is not None and isinstance(entry.value, Scalar):
        below.take("test")
        text = text_of(entry.value)
        return variables(text) if text and text.strip() else None
    argv = words(below, "test")
    if argv[:1] == ["CMD-SHELL"] and argv[1:]:
        return variables(" ".join(argv[1:]))
    return [variables(word) for word in argv[1:]] if argv[:1] == ["CMD"] and argv[1:] else None


def depends_on(fields: Fields, path: Path, names: Mapping[str, str], services: Table) -> None:
    """What it waits for. A condition that nothing in the file makes true is told, and it waits for the start."""
    entry = fields.take("depends_on")
    if entry is None:
        return
    asked: list[tuple[str, str, Node]] = []
    if isinstance(entry.value, Sequence):
        asked = [(text, "service_started", node) for text, node in fields.only_texts("depends_on", entry.value.items)]
    elif isinstance(entry.value, Table):
        asked = [(item.key, _condition(item.key, item.value, fields), item.value) for item in entry.value.entries]
    else:
        fields.wrong("depends_on", entry.value, "a list or a map")
    for service, written, node in asked:
        what = f"{fields.what('depends_on')}.{service}"
        if service not in names:
            fields.draft.leave(what, "there is no such service", node.span)
            continue
        condition = _CONDITIONS.get(written, "started")
        if why := _never(services, service, condition):
            fields.draft.leave(what, why, node.span)
            condition = "started"
        value = {"condition": condition}
        fields.draft.put((*path, "depends_on", names[service]), value, what, node.span)


def _condition(service: str, node: Node, fields: Fields) -> str:
    what = f"{fields.what('depends_on')}.{service}"
    below = Fields(node, fields.draft, what) if isinstance(node, Table) else None
    found = below.text("condition") if below else None
    if below:
        below.rest({"restart": "nothing is restarted because something else is"}, _UNKNOWN)
    if found and found[0] not in _CONDITIONS:
        fields.draft.leave(what, f"`{found[0]}` is no condition: it waits for the start", found[1].span)
    return found[0] if found else "service_started"


def _never(services: Table, service: str, condition: str) -> str:
    """Why a condition cannot come true of what the file says; nothing when it can."""
    entry = services.entry(service)
    node = entry.value if entry is not None else None
    if condition == "started" or not isinstance(node, Table):
        return ""
    if condition == "healthy":
        found = node.entry("healthcheck")
        test = found.value.entry("test") if found is not None and isinstance(found.value, Table) else None
        return "" if test is not None else "a healthcheck of its image is not known here: it waits for the start"
    if node.entry("command") is None and node.entry("entrypoint") is None:
        return "what its image would start is not started here: it waits for the start"
    restart = node.entry("restart")
    always = restart is not None and text_of(restart.value) in ("always", "unless-stopped")
    return "it is started again whenever it ends: it waits for the start" if always else ""
