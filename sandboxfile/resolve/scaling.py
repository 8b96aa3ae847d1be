"""`scale`: a sandbox of the file as so many, NAME-1 to NAME-N, before the rest of `resolve` sees the file.

Replicas are sandboxes like all others, and whatever is wrong with them is shown where theirs is written. What only one
sandbox can have (a port of this host, a volume) cannot be scaled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sandboxfile.diagnostics import Diagnostic, Diagnostics, error
from sandboxfile.model.spec import Path, SandboxFile
from sandboxfile.names import NAME_LIMIT
from sandboxfile.resolve.chains import given

SANDBOXES = 10_000  # of one file: a few words must not make millions


@dataclass(frozen=True, slots=True)
class Scaled:
    """The file with replicas in the place of what is scaled.

    `replicas`: of what is scaled, by its name in the file as written; `service`: of what each replica is one.
    """

    file: SandboxFile
    replicas: Mapping[str, tuple[str, ...]]
    service: Mapping[str, str]

    def meant(self, name: str) -> tuple[str, ...]:
        """The sandboxes that a name of the file as written stands for: none with `scale: 0`."""
        return self.replicas.get(name, (name,) if name in self.file.sandboxes else ())


def scaled(file: SandboxFile) -> tuple[Scaled, Diagnostics]:
    """Every sandbox that says how many it is, as that many; of one that cannot be several, the first."""
    counts = {name: given("scale", own, file.defaults).scale for name, own in file.sandboxes.items()}
    if all(count is None for count in counts.values()):
        return Scaled(file, {}, {}), ()
    problems: list[Diagnostic] = []
    replicas: dict[str, tuple[str, ...]] = {}
    total = sum(count is None for count in counts.values())
    for name, count in counts.items():
        if count is not None:
            total += count
            found = [*_wrong(file, name, count)] if total <= SANDBOXES else [_too_many(file, name)]
            problems += found
            numbers = range(1, (min(count, 1) if found else count) + 1)
            if total > SANDBOXES:
                return Scaled(file, {}, {}), tuple(problems)
            replicas[name] = tuple(r for r in (f"{name}-{number}" for number in numbers) if r not in file.sandboxes)
    service = {replica: name for name, found in replicas.items() for replica in found}
    sandboxes = {name: own for name, own in file.sandboxes.items() if counts[name] is None}
    sandboxes |= {replica: file.sandboxes[name] for replica, name in service.items()}
    origins: dict[Path, Path] = {("sandboxes", replica): ("sandboxes", name) for replica, name in service.items()}
    expanded = file.model_copy(update={"sandboxes": sandboxes}).made_from(origins)
    return Scaled(expanded, replicas, service), tuple(problems)


def _written(file: SandboxFile, name: str) -> Path:
    """Where it is said how many."""
    return ("sandboxes", name, "scale") if "scale" in file.sandboxes[name].model_fields_set else ("defaults", "scale")


def _too_many(file: SandboxFile, name: str) -> Diagnostic:
    detail = f"With all of `{name}` the file has more than {SANDBOXES} sandboxes."
    return error("Too many sandboxes", detail, file.span(*_written(file, name)), "lower its `scale`")


def _wrong(file: SandboxFile, name: str, count: int) -> Iterator[Diagnostic]:
    path = _written(file, name)
    taken = [f"{name}-{number}" for number in range(1, count + 1) if f"{name}-{number}" in file.sandboxes]
    if taken:
        detail = f"`{name}` is scaled to {count}, and one of these is `{taken[0]}`: there is a sandbox of that name."
        yield error("Name taken twice", detail, file.span(*path), f"call `{name}` or `{taken[0]}` otherwise")
    if count and len(longest := f"{name}-{count}") > NAME_LIMIT:
        detail = f"`{longest}` is longer than {NAME_LIMIT} characters."
        yield error("Invalid name", detail, file.span(*path), "give the sandbox a shorter name")
    if count > 1:
        yield from _unshared(file, name, count)


def _unshared(file: SandboxFile, name: str, count: int) -> Iterator[Diagnostic]:
    """What only one of them could have."""
    for path, sandbox in ((("sandboxes", name), file.sandboxes[name]), (("defaults",), file.defaults)):
        for index, port in enumerate(sandbox.ports):
            detail = f"`{name}` is {count} sandboxes, and port {port.host} of this host leads to one."
            hint = "`sbx forward NAME PORT` reaches each of them; or remove `scale`"
            yield error("Port of several sandboxes", detail, file.span(*path, "ports", index), hint)
        for index, mount in enumerate(sandbox.volumes):
            detail = f"`{name}` is {count} sandboxes, and one sandbox at a time has the volume `{mount.volume}`."
            hint = "give it to a sandbox of its own, or remove `scale`"
            yield error("Volume of several sandboxes", detail, file.span(*path, "volumes", index), hint)
