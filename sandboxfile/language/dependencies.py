"""`depends_on` of one file: names that are there, no circles, and only what can become true. Called by `validate`.

What refers to a sandbox, a healthcheck or a command that has an error of its own is no second error: `root` is the
whole tree, with what is wrong in it.
"""

from collections.abc import Iterator, Mapping

from sandboxfile.diagnostics import Diagnostic, Span, error
from sandboxfile.language.explain import did_you_mean
from sandboxfile.language.tree import Scalar, Sequence, Table, find, keys
from sandboxfile.model.spec import DependencySpec, Path, Sandbox, SandboxFile

_Edges = Mapping[str, tuple[str, ...]]


def check_dependencies(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """Every `depends_on` of the sandboxes and of the defaults."""
    known = keys(root, "sandboxes")
    for path, sandbox in _holders(file):
        for name, dependency in sandbox.depends_on.items():
            span = _written(root, path, name)
            if name not in known:
                hint = did_you_mean(name, known) or (f"the sandboxes are {', '.join(sorted(known))}" if known else None)
                yield error("Unknown sandbox", f"There is no sandbox `{name}`.", span, hint)
            elif path == ("sandboxes", name):
                detail = f"`{name}` cannot wait for itself."
                yield error("Dependency cycle", detail, span, "remove it from its `depends_on`")
            else:
                found = find(root, (*path, "depends_on", name, "condition"))
                yield from _condition(file, root, name, dependency, found[0].span if found else span)
    yield from _cycles(file, root)


def edges(file: SandboxFile) -> _Edges:
    """What each sandbox waits for, by name: its own, and that of the defaults but for itself."""
    return {
        name: tuple(other for other in {**file.defaults.depends_on, **own.depends_on} if other != name)
        for name, own in file.sandboxes.items()
    }


def _holders(file: SandboxFile) -> Iterator[tuple[Path, Sandbox]]:
    yield ("defaults",), file.defaults
    for name, sandbox in file.sandboxes.items():
        yield ("sandboxes", name), sandbox


def _written(root: Table, path: Path, name: str) -> Span | None:
    """Where a holder names what it waits for: an item of a list, or a key of a map."""
    found = find(root, (*path, "depends_on"))
    if found is not None and isinstance(found[0], Sequence):
        return next((item.span for item in found[0].items if isinstance(item, Scalar) and item.value == name), None)
    entry = found[0].entry(name) if found is not None and isinstance(found[0], Table) else None
    return entry.key_span if entry is not None else None


def _condition(
    file: SandboxFile, root: Table, name: str, dependency: DependencySpec, span: Span | None
) -> Iterator[Diagnostic]:
    if dependency.condition == "healthy" and not _has(root, name, "healthcheck"):
        detail = f"`{name}` has no `healthcheck`: nothing says when it is healthy."
        yield error("Condition cannot come true", detail, span, f"give `{name}` one, or wait for `started`")
    if dependency.condition == "completed":
        if not _has(root, name, "command"):
            detail = f"`{name}` has no `command`: nothing of it completes."
            yield error("Condition cannot come true", detail, span, f"give `{name}` one, or wait for `started`")
        elif _restart(file, name) == "always":
            detail = f"`{name}` has `restart: always`: whenever its command ends it is started again."
            yield error("Condition cannot come true", detail, span, "`restart: on-failure` lets it end well")


def _has(root: Table, name: str, field: str) -> bool:
    """Whether a sandbox, or else the defaults, say something of a field, right or wrong; `null` takes it away."""
    places = (("sandboxes", name, field), ("defaults", field))
    said = next((found[0] for place in places if (found := find(root, place)) is not None), None)
    return said is not None and not (isinstance(said, Scalar) and said.value is None)


def _restart(file: SandboxFile, name: str) -> str:
    own = file.sandboxes.get(name)
    return (own if own is not None and "restart" in own.model_fields_set else file.defaults).restart


# --- circles -----------------------------------------------------------------------------------------------------


def _cycles(file: SandboxFile, root: Table) -> Iterator[Diagnostic]:
    """One error for each circle, at its first sandbox. Without recursion: a chain may be as long as the file."""
    waits = edges(file)
    done: set[str] = set()
    for start in sorted(waits):
        trail: dict[str, Iterator[str]] = {}  # the way to where we are, each with what is left of it to look at
        name: str | None = start
        while name is not None:
            if name in trail:
                yield _cycle(file, root, [*trail][[*trail].index(name) :])
            elif name in waits and name not in done:
                trail[name] = iter(sorted(waits[name]))
            name = _next(trail, done)


def _next(trail: dict[str, Iterator[str]], done: set[str]) -> str | None:
    """Where to look next; those with nothing left are done."""
    while trail:
        last = next(reversed(trail))
        for name in trail[last]:
            return name
        done.add(last)
        del trail[last]
    return None


def _cycle(file: SandboxFile, root: Table, names: list[str]) -> Diagnostic:
    first = names.index(min(names))
    names = [*names[first:], *names[: first + 1]]
    shown = " -> ".join(f"`{name}`" for name in names)
    own = names[1] in file.sandboxes[names[0]].depends_on
    span = _written(root, ("sandboxes", names[0]) if own else ("defaults",), names[1])
    return error("Dependency cycle", f"Sandboxes wait for each other: {shown}.", span, "remove one of these")
