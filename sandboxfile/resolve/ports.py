"""The ports of sandboxes on this host: joined with those of the defaults, and none taken twice."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from sandboxfile.diagnostics import Diagnostic, Span, error
from sandboxfile.model.desired import Port
from sandboxfile.model.spec import Path, SandboxFile

Placed = tuple[Port, Span | None]


def resolve_ports(file: SandboxFile) -> tuple[Mapping[str, tuple[Port, ...]], tuple[Diagnostic, ...]]:
    """The ports of every sandbox, sorted; a sandbox's own are over those of the defaults on one address and port."""
    beneath = [*_placed(file, ("defaults",))]
    ports: dict[str, tuple[Port, ...]] = {}
    problems = [*_clashes([("the defaults", *item) for item in beneath])]
    taken: list[tuple[str, Port, Span | None]] = []
    for name in sorted(file.sandboxes):
        own = [*_placed(file, ("sandboxes", name))]
        used = {_door(port) for port, _ in own}
        joined = [*own, *(item for item in beneath if _door(item[0]) not in used)]
        ports[name] = tuple(sorted(dict.fromkeys(port for port, _ in joined)))
        taken += ((f"`{name}`", port, span) for port, span in joined)
    return ports, (*problems, *_clashes(taken)) if not problems else tuple(problems)


def _placed(file: SandboxFile, path: Path) -> Iterator[Placed]:
    sandbox = file.defaults if path == ("defaults",) else file.sandboxes[str(path[1])]
    for index, spec in enumerate(sandbox.ports):
        yield Port(spec.host, spec.guest, spec.address), file.span(*path, "ports", index)


def _door(port: Port) -> tuple[str, int]:
    return port.address, port.host


def _clashes(taken: list[tuple[str, Port, Span | None]]) -> Iterator[Diagnostic]:
    """One port of this host can lead to one place only; an address that stands for all others meets all of them."""
    by_port: dict[int, list[tuple[str, Port]]] = {}
    for who, port, span in taken:
        for other, first in by_port.get(port.host, ()):
            if _meet(port.address, first.address):
                detail = f"Port {port.host} of this host leads to {other} ({first.text}) already."
                yield error("Port taken twice", detail, span, f"give {who} another port of this host")
                break
        by_port.setdefault(port.host, []).append((who, port))


def _meet(one: str, other: str) -> bool:
    if one == other:
        return True
    addresses = ip_address(one), ip_address(other)
    if any(address.version == 6 and address.is_unspecified for address in addresses):
        return True  # `::` takes IPv4 as well
    return addresses[0].version == addresses[1].version and any(address.is_unspecified for address in addresses)
