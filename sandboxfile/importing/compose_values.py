"""Values of Compose that have a grammar of their own: variables, words, ports, volumes, resources."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sandboxfile.diagnostics import Span
from sandboxfile.importing.draft import Source
from sandboxfile.importing.environment import port_text, whole_cpus
from sandboxfile.importing.reading import FILE, Fields, mistyped, text_of
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.model.spec import Path

_UNBRACED = re.compile(r"\$\$|\$([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
# A port or a range, with an address before and a protocol after; variables are looked at by nobody.
_PORT = re.compile(
    r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|[0-9]+(?:\.[0-9]+){3}):)?(?:(?P<host>[0-9]+(?:-[0-9]+)?):)?"
    r"(?P<guest>[0-9]+(?:-[0-9]+)?)(?:/(?P<protocol>[a-z0-9]+))?\Z"
)
_RANGE = 64  # ports of one entry
_EVERY = "it is on 127.0.0.1 here, on every address there; write `ADDRESS:HOST:GUEST` for another one"
_FREE = "the host's port is chosen at each start there; `sbx forward` finds a free one here"
_NAMELESS = "only directories of the host and named volumes are carried over"
_SOCKET = "a host's Docker socket is the host; `docker: true` in the template gives a daemon of its own"
_OPTIONS = frozenset({"rw", "ro", "z", "Z", "cached", "delegated", "consistent", "nocopy", "rprivate", "rslave"})


def variables(text: str) -> str:
    """A text of Compose as one of this language, which has `${VAR}` alike and no `$VAR`."""
    return _UNBRACED.sub(lambda found: f"${{{found[1]}}}" if found[1] else "$$", text)


def words(fields: Fields, key: str) -> list[str]:
    """A command: a list, or a text that is split as a shell would, without one being run."""
    entry = fields.take(key)
    if entry is None:
        return []
    if isinstance(entry.value, Sequence):
        return [text for text, _ in fields.only_texts(key, entry.value.items)]
    text = text_of(entry.value)
    if text is None:
        fields.wrong(key, entry.value, "a text or a list of texts")
        return []
    try:
        return shlex.split(text)
    except ValueError:
        fields.draft.wrong("Unclosed quote", f"A quote in `{fields.what(key)}` does not end.", entry.value.span)
        return []


# --- volumes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host that is mounted, as the new file says it; or, without one, a named `volume`."""

    host: str
    target: str
    what: str
    span: Span
    volume: str = ""
    read_only: bool = False


def volume(node: Node, what: str, source: Source, fields: Fields) -> Mount | None:
    """A bind mount or a named volume; None, with a note, for anything else."""
    if isinstance(node, Table):
        return _long_volume(Fields(node, fields.draft, what), source)
    text = text_of(node)
    if text is None:
        mistyped(fields.draft, what, node, "a text or a map")
        return None
    host, *rest = _parts(text)
    target, options = rest[0] if rest else "", set((rest[1] if len(rest) > 1 else "rw").split(","))
    if not target:
        fields.draft.leave(f"{what} {text}", _NAMELESS, node.span)
        return None
    if not options <= _OPTIONS or len(rest) > 2:
        fields.draft.leave(f"{what} {text}", "its options are not known", node.span)
        return None
    if not host.startswith((".", "/", "~", "$")):
        return Mount("", target, f"{what} {text}", node.span, host, "ro" in options)
    return _mount(host, target, "ro" in options, f"{what} {text}", node.span, source, fields)


def _parts(text: str) -> list[str]:
    """At colons, those within `${...}` excepted."""
    return [part for part in re.findall(r"(?:\$\{[^}]*\}|[^:])+", text)] or [""]


def _long_volume(below: Fields, source: Source) -> Mount | None:
    kind, host, target = (below.text(key) for key in ("type", "source", "target"))
    read_only = below.flag("read_only")
    if kind is None or kind[0] not in ("bind", "volume") or host is None or target is None:
        below.draft.leave(below.within, _NAMELESS, below.table.span)
        return None
    if kind[0] == "volume":
        below.rest({}, "only source, target and read_only are carried over")
        return Mount("", target[0], below.within, host[1].span, host[0], read_only)
    below.rest(
        {"bind": "a directory that is missing is an error"}, "only source, target and read_only are carried over"
    )
    return _mount(host[0], target[0], read_only, below.within, host[1].span, source, below)


def _mount(
    host: str, target: str, read_only: bool, what: str, span: Span, source: Source, fields: Fields
) -> Mount | None:
    if host.endswith("docker.sock"):
        fields.draft.leave(what, _SOCKET, span)
        return None
    if "$" not in host and source.names_file(host):
        fields.draft.leave(what, FILE, span)
        return None
    path = host if host.startswith("$") else source.path(host)
    return Mount(variables(path), variables(target), what, span, read_only=read_only)


# --- ports -------------------------------------------------------------------------------------------------------


def ports(fields: Fields, path: Path) -> None:
    """Ports, on this host alone where no address is given."""
    everywhere: Node | None = None
    for index, item in enumerate(fields.items("ports")):
        what = f"{fields.what('ports')}[{index}]"
        if isinstance(item, Table):
            found = _long_port(Fields(item, fields.draft, what))
        else:
            found = _short_port(item, what, fields)
        for address, host, guest in found:
            everywhere = item if not address else everywhere
            fields.draft.add((*path, "ports"), port_text(address, host, guest), what, item.span)
    if everywhere is not None:
        fields.draft.leave(fields.what("ports"), _EVERY, everywhere.span)


def _short_port(item: Node, what: str, fields: Fields) -> list[tuple[str, str, str]]:
    text = text_of(item)
    if text is None:
        mistyped(fields.draft, what, item, "a port")
        return []
    if "$" in text:
        parts = _parts(variables(text))
        if len(parts) not in (2, 3):
            fields.draft.leave(f"{what} {text}", "write the ports out", item.span)
            return []
        return [(parts[0] if len(parts) == 3 else "", parts[-2], parts[-1])]
    match = _PORT.match(text)
    why = "it is no port" if match is None else "only TCP passes" if match["protocol"] not in (None, "tcp") else ""
    if match is not None and not why and match["host"] is None:
        why = _FREE
    if match is None or why:
        fields.draft.leave(f"{what} {text}", why, item.span)
        return []
    hosts, guests = (list(islice(_range(match[key]), _RANGE + 1)) for key in ("host", "guest"))
    if len(hosts) != len(guests) or not 0 < len(hosts) <= _RANGE:
        fields.draft.leave(f"{what} {text}", "both ranges must be as long, and not longer than 64 ports", item.span)
        return []
    return [(match["address"] or "", host, guest) for host, guest in zip(hosts, guests, strict=True)]


def _range(text: str) -> Iterator[str]:
    first, dash, last = text.partition("-")
    if not dash:
        yield first
    elif len(first) < 7 and len(last) < 7:
        yield from map(str, range(int(first), int(last) + 1))


def _long_port(below: Fields) -> list[tuple[str, str, str]]:
    guest, host, address, protocol = (below.text(key) for key in ("target", "published", "host_ip", "protocol"))
    below.rest({}, "only target, published and host_ip are carried over", silent=("mode", "name", "app_protocol"))
    if guest is None or host is None:
        below.draft.leave(below.within, _FREE, below.table.span)
    elif protocol is not None and protocol[0] != "tcp":
        below.draft.leave(below.within, "only TCP passes", below.table.span)
    else:
        return [(address[0] if address else "", variables(host[0]), variables(guest[0]))]
    return []


# --- resources ---------------------------------------------------------------------------------------------------


def resources(fields: Fields, path: Path) -> None:
    """Limits of both spellings; those under `deploy` are put last, and count."""
    for key, field in (("cpus", "cpus"), ("mem_limit", "memory")):
        _resource(fields, key, (*path, "resources", field))
    deploy = fields.fields("deploy")
    if deploy is None:
        return
    found = deploy.fields("resources")
    limits = found.fields("limits") if found else None
    for key in ("cpus", "memory") if limits else ():
        assert limits is not None
        _resource(limits, key, (*path, "resources", key))
    unlike = "only cpus and memory of its limits are carried over"
    for below in (limits, found, deploy):
        if below is not None:
            below.rest({}, unlike, silent=("replicas",))  # `compose_order.scale` has these


def _resource(fields: Fields, key: str, path: Path) -> None:
    found = fields.text(key)
    if found is None:
        return
    text, node = found
    if path[-1] == "cpus" and (count := whole_cpus(text)) is not None:
        fields.draft.put(path, count, fields.what(key), node.span)
        if str(count) != text:
            fields.draft.leave(fields.what(key), f"processors are whole: {count}", node.span)
    else:
        fields.draft.put(path, variables(text), fields.what(key), node.span)
