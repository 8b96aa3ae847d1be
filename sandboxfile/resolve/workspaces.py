"""Which host directories a sandbox may see, where inside, and what of them stays read-only.

Sources are checked and shared by their real path: a symlink is followed once, here, and never inside an `rw`
workspace, where a guest could turn it elsewhere before the next apply.
"""

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.model.desired import DEFAULT_PROTECT, Workspace
from sandboxfile.model.spec import Workspace as WrittenWorkspace
from sandboxfile.resolve.inputs import PathFact, ResolveInputs

# Of the host: kernel interfaces, never somebody's files. Of the guest: its own, or ours (/run/sbx).
_KERNEL = ("/proc", "/sys", "/dev")
_SYSTEM_INSIDE = ("/proc", "/sys", "/dev", "/run", "/var/run", "/boot")
_SYSTEM = frozenset(
    ["/", "/bin", "/etc", "/home", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr", "/var", "/var/lib"]
    + [f"/usr/{name}" for name in ("bin", "lib", "lib32", "lib64", "libexec", "libx32", "sbin", "share")]
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A workspace with both ends absolute. `written` is the source as made absolute, before symlinks."""

    written: str
    fact: PathFact
    target: str
    mode: str
    protect: tuple[str, ...]
    span: Span | None
    target_span: Span | None


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that shapes the sandboxes: the sandbox file itself or an env_file."""

    path: str
    fact: PathFact


def place(item: WrittenWorkspace, span: Span | None, target_span: Span | None, inputs: ResolveInputs) -> Placed:
    """Make both ends of a workspace absolute."""
    source = inputs.absolute(item.source)
    target = posixpath.normpath(item.target) if item.target else source
    return Placed(source, inputs.paths[source], target, item.mode, item.protect, span, target_span)


def join(own: Sequence[Placed], beneath: Sequence[Placed]) -> tuple[tuple[Placed, ...], Diagnostics]:
    """A sandbox's own workspaces, then those of the defaults whose target it does not use itself.

    Its own come first so that its first one is the working directory.
    """
    problems = [*_clashes(own), *_clashes(beneath)]
    targets = {item.target for item in own}
    joined = (*own, *(item for item in beneath if item.target not in targets))
    if not problems:
        problems = list(_clashes(joined))
    return joined, tuple(problems)


def check(items: Sequence[Placed], inputs: ResolveInputs) -> Iterator[Diagnostic]:
    """What is wrong with each workspace by itself."""
    for item in items:
        problem = _wrong_source(item, inputs)
        if problem is not None:
            yield problem
        elif wrong := _wrong_target(item):
            yield wrong


def check_links(items: Sequence[Placed], loaded: Sequence[LoadedFile]) -> Iterator[Diagnostic]:
    """Symlinks inside an `rw` workspace that lead to another workspace or to a loaded file: a guest can turn them."""
    writable = [item for item in items if item.mode == "rw"]
    for item in items:
        if link := link_within(item.fact, writable):
            detail = _changeable(item.written, "reached", link)
            yield error("Symlink inside a workspace", detail, item.span, f"write the real path, {item.fact.real}")
    for file in loaded:
        for item in writable:
            if link := link_within(file.fact, [item]):
                detail = _changeable(file.path, "loaded", link)
                hint = f"make the workspace read-only, or use the real file, {file.fact.real}"
                yield error("Symlink inside a workspace", detail, item.span, hint)


def finish(item: Placed, loaded: Sequence[LoadedFile]) -> Workspace:
    """The workspace as wanted, with what it must protect: the defaults, every loaded file in it, the user's list."""
    source = item.fact.real
    if item.mode == "ro":
        return Workspace(source, item.target, "ro")
    files = (posixpath.relpath(file.fact.real, source) for file in loaded if inside(file.fact.real, source))
    return Workspace(source, item.target, "rw", tuple(sorted({*DEFAULT_PROTECT, *item.protect, *files})))


# --- the checks --------------------------------------------------------------------------------------------------


def _wrong_source(item: Placed, inputs: ResolveInputs) -> Diagnostic | None:
    fact = item.fact
    shown = f"`{item.written}`" + (f" (really {fact.real})" if fact.real != item.written else "")
    if fact.kind == "missing":
        hint = "create it, or correct the path"
        return error(
            "Workspace not found", f"{shown}: {fact.problem or 'there is no such directory'}.", item.span, hint
        )
    if fact.kind != "directory":
        return error(
            "Workspace is not a directory", f"{shown} is not a directory.", item.span, "share the directory it is in"
        )
    reason = _unsafe(fact.real, inputs)
    if reason is not None:
        return error("Unsafe workspace", f"{shown} {reason}.", item.span, "share only the directories that are needed")
    return None


def _unsafe(source: str, inputs: ResolveInputs) -> str | None:
    if source == "/":
        return "is the whole host"
    home = inputs.paths[inputs.home].real
    if source == home:
        return "is the home directory: keys, credentials and settings are in it"
    if inside(home, source):
        return f"contains the home directory {home}"
    for private in inputs.private:
        real = inputs.paths[private].real
        if inside(real, source) or inside(source, real):
            word = "is" if source == real else "contains" if inside(real, source) else f"is in {real},"
            return f"{word} the directory where sandboxfile keeps its own files"
    if any(inside(source, kernel) for kernel in _KERNEL) and not inside(source, "/dev/shm"):  # noqa: S108
        return "belongs to the kernel"
    return None


def _wrong_target(item: Placed) -> Diagnostic | None:
    if belongs_to_system(item.target):
        detail = f"The target `{item.target}` would hide a part of the sandbox's own system."
        hint = "give it another target: PATH:/workspace"
        return error("Unsafe target", detail, item.target_span, hint)
    return None


def _clashes(items: Sequence[Placed]) -> Iterator[Diagnostic]:
    for index, item in enumerate(items):
        for other in items[:index]:
            if "/" in (item.target, other.target):
                continue  # refused by itself
            if item.target == other.target:
                detail = f"Two workspaces have the target `{item.target}`."
                yield error("Duplicate target", detail, item.target_span, "give one of them another target")
            elif inside(item.target, other.target) or inside(other.target, item.target):
                inner, outer = sorted((item.target, other.target), key=len, reverse=True)
                detail = f"The target `{inner}` lies inside the target `{outer}` of another workspace."
                hint = "give one of them another target; `protect` keeps a part of a workspace read-only"
                yield error("Nested targets", detail, item.target_span, hint)


def _changeable(path: str, how: str, link: str) -> str:
    through = "a symlink" if link == path else f"{how} through the symlink {link}"
    return f"`{path}` is {through} that a sandbox can change."


def belongs_to_system(target: str) -> bool:
    """Whether a mount there would hide a part of the sandbox's own system."""
    return target in _SYSTEM or any(inside(target, place) for place in _SYSTEM_INSIDE)


def link_within(fact: PathFact, writable: Sequence[Placed]) -> str | None:
    return next((link for link in fact.links for item in writable if inside(link, item.fact.real)), None)


def inside(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
