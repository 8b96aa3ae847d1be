"""What a command acts on: the sandbox file, found upward as Compose does, and the sandboxes that names mean."""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandboxfile.cli.views.text import did_you_mean
from sandboxfile.errors import NotFoundError, SandboxfileError, StateError
from sandboxfile.host.layout import SANDBOX_FILES, Layout
from sandboxfile.names import UNMANAGED, SandboxId

if TYPE_CHECKING:
    from sandboxfile.cli.views.console import Console
    from sandboxfile.diagnostics import Diagnostics
    from sandboxfile.model.desired import DesiredState
    from sandboxfile.pipeline import Given, Loaded


class WrongFile(SandboxfileError):
    """The sandbox file has errors, and they have been shown."""


class InvalidFile(SandboxfileError):
    """The sandbox file is wrong. The message has everything that is, each with file:line:column, snippet and hint.

    `diagnostics` are the same as values, warnings among them; `sources` the texts that they point into, by file name.
    """

    def __init__(self, path: Path, diagnostics: "Diagnostics", sources: Mapping[str, str]) -> None:
        from sandboxfile.cli.views.diagnostics import render_human

        super().__init__(f"{path} has errors\n{render_human(diagnostics, sources).rstrip()}")
        self.path = path
        self.diagnostics = diagnostics
        self.sources = sources


def this_layout() -> Layout:
    """Where this user's files are."""
    return Layout.from_environment(os.environ, Path.home(), os.getuid())


def find_file(given: str | None) -> Path:
    """The file given, else the nearest sandbox.yaml here or above. Raises NotFoundError."""
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise NotFoundError(f"there is no file {given}")
        return path
    found = find_upward()
    if found is None:
        raise NotFoundError(
            f"no {SANDBOX_FILES[0]} here or in a directory above", hint="`sbx init` writes one; -f FILE names another"
        )
    return found


def find_upward() -> Path | None:
    """The nearest sandbox file here or above."""
    from sandboxfile.host import inputs

    return inputs.find_file(Path.cwd())


def load_file(args: argparse.Namespace, *, frozen: bool | None = False, templates: Sequence[str] = ()) -> "Loaded":
    """Load the sandbox file that the arguments mean, right or wrong. Raises NotFoundError."""
    from sandboxfile import pipeline

    path = find_file(args.file)
    return pipeline.load(path, this_layout(), frozen=frozen, templates=templates, given=given_with(args))


def given_with(args: argparse.Namespace) -> "Given":
    """What the arguments say of the file besides its name. Raises NotFoundError."""
    from sandboxfile.pipeline import Given

    more, env_files = tuple(map(Path, args.more_files)), tuple(map(Path, args.variables))
    for path in (*more, *env_files):
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}")
    return Given(more, args.file is None, env_files)


def load_project(args: argparse.Namespace, console: "Console", templates: Sequence[str] = ()) -> "DesiredState":
    """Load the sandbox file, show what is wrong with it, and give what it asks for. Raises WrongFile.

    With --frozen the lock must hold the `templates` (none given: those that sandboxes use).
    """
    return right(load_file(args, frozen=getattr(args, "frozen", False), templates=templates), console)


def right(loaded: "Loaded", console: "Console") -> "DesiredState":
    """Show what is wrong with the sandbox file, and give what it asks for. Raises WrongFile."""
    show_problems(loaded, console)
    if loaded.desired is None:
        raise WrongFile("the sandbox file has errors; nothing was changed")
    return loaded.desired


def show_problems(loaded: "Loaded", console: "Console") -> None:
    """Errors and warnings with their place in the file, on standard error."""
    show_diagnostics(loaded.diagnostics, loaded.sources, console)


def show_diagnostics(diagnostics: "Diagnostics", sources: Mapping[str, str], console: "Console") -> None:
    """The same for diagnostics from elsewhere; `sources` are the texts of the files they point into."""
    if diagnostics:
        from sandboxfile.cli.views.diagnostics import render_human

        console.say(render_human(diagnostics, sources, color=console.color).rstrip())


# --- names -------------------------------------------------------------------------------------------------------


def known_sandboxes(layout: Layout) -> list[SandboxId]:
    """Every sandbox of this user that has a directory, whatever its state."""
    from sandboxfile.host.directories import sandbox_directories

    return [SandboxId(project, name) for project, name in sandbox_directories(layout)]


def find_sandboxes(names: Sequence[str], args: argparse.Namespace, *, several: bool = False) -> list[SandboxId]:
    """What the names mean, without repeats. Raises NotFoundError for the first that means nothing.

    The name of what is scaled means all of its replicas where a name may mean `several`; else it is an error.
    """
    known = known_sandboxes(this_layout())
    # The file is only read when it matters which project is meant: `exec` is called in loops.
    unclear = any("/" not in name and [id.name for id in known].count(name) != 1 for name in names)
    here = project_here(args) if unclear else None
    return list(dict.fromkeys(id for name in names for id in _meant(name, known, here, several)))


def find_with_checkpoints(name: str, args: argparse.Namespace) -> SandboxId:
    """The sandbox of that name; or one that is gone, and has left checkpoints. Raises NotFoundError."""
    try:
        (id,) = find_sandboxes([name], args)
    except NotFoundError:
        left = left_checkpoints(this_layout())
        here = project_here(args) if "/" not in name else None
        if not any(name in (id.name, str(id)) for id in left):
            raise
        return match_name(name, left, here)
    return id


def left_checkpoints(layout: Layout) -> list[SandboxId]:
    """What has checkpoints, and is no sandbox any more."""
    from sandboxfile.host.directories import checkpoint_owners

    known = set(known_sandboxes(layout))
    owners = (SandboxId(project, name) for project, name in checkpoint_owners(layout))
    return [id for id in owners if id not in known]


def sandboxes_or_all(names: Sequence[str], args: argparse.Namespace) -> list[SandboxId]:
    """What the names mean; without names every sandbox of the project of the file that exists.

    Raises NotFoundError when a name means nothing, or there is neither a name nor a file.
    """
    if names:
        return find_sandboxes(names, args)
    find_file(args.file)
    here = project_here(args)
    if here is None:
        wrong = _errors(load_file(args))
        raise SandboxfileError(
            "which project is meant is unclear: its file has errors", hint="sbx validate", output=wrong
        )
    return [id for id in known_sandboxes(this_layout()) if id.project == here]


def project_here(args: argparse.Namespace) -> str | None:
    """The project of the sandbox file given or found upward; None when there is none.

    Of a wrong file what it was applied as, or what it says when nothing was applied of it. Raises SandboxfileError for
    a file that calls itself as another does.
    """
    if args.file is None and find_upward() is None:
        return None
    from sandboxfile.cli.belonging import applied_as

    loaded = load_file(args)
    if loaded.desired is not None:
        return checked_project(loaded.desired.project, args)
    said = loaded.file.name if loaded.file is not None else ""
    return applied_as(absolute_file(args), this_layout()) or (checked_project(said, args) if said else None)


def _errors(loaded: "Loaded") -> str:
    """A line for each: where, and what."""
    from sandboxfile.diagnostics import Severity

    wrong = [item for item in loaded.diagnostics if item.severity is Severity.ERROR]
    return "\n".join(f"{item.span}: {item.summary}: {item.detail}" if item.span else item.detail for item in wrong)


def checked_project(name: str, args: argparse.Namespace) -> str:
    """The name of the project of the file that is meant. Raises SandboxfileError when it is that of another file."""
    from sandboxfile.cli.belonging import refuse_foreign

    refuse_foreign(name, absolute_file(args), this_layout())
    return name


def absolute_file(args: argparse.Namespace) -> Path:
    """The file that is meant, as records have it. Raises NotFoundError."""
    return Path(os.path.abspath(find_file(args.file)))  # noqa: PTH100 - `..` is text here


def _meant(name: str, known: Sequence[SandboxId], here: str | None, several: bool) -> list[SandboxId]:
    found = replicas(name, known, here)
    if not found:
        return [match_name(name, known, here)]
    if several and len({id.project for id in found}) == 1:
        return found
    raise NotFoundError(f"{name} is {len(found)} sandboxes", hint=f"say which one: {', '.join(map(str, found))}")


def replicas(name: str, known: Sequence[SandboxId], here: str | None) -> list[SandboxId]:
    """The replicas of what the project `here`, or one that the name has, scales; none when a sandbox is called so."""
    project, _, service = name.rpartition("/")
    near = [id for id in known if not project or id.project == project]
    near = (not project and [id for id in near if id.project == here]) or near
    if any(id.name == service for id in near):
        return []
    numbered = [id for id in near if id.name.rpartition("-")[0] == service and id.name.rpartition("-")[2].isdecimal()]
    return sorted((id for id in numbered if _is_replica(id, service)), key=lambda id: (id.project, len(id.name), id))


def _is_replica(id: SandboxId, service: str) -> bool:
    from sandboxfile.host.statedir import read_record

    with suppress(StateError, NotFoundError):
        return read_record(this_layout().sandbox(id)).spec.service == service
    return False


def match_name(name: str, known: Sequence[SandboxId], here: str | None) -> SandboxId:
    """`project/name`, or `name`: of the project `here`, else an unmanaged one, else the only sandbox of that name.

    `_run/name` is the unmanaged one wherever one is. Raises NotFoundError.
    """
    if "/" in name:
        matches = [id for id in known if f"{id.project}/{id.name}" == name]
    else:
        matches = [id for id in known if id.name == name]
        for project in (here, UNMANAGED):
            matches = [id for id in matches if id.project == project] or matches
            if len(matches) == 1:
                break
    if len(matches) == 1:
        return matches[0]
    if matches:
        listed = ", ".join(map(str, matches))
        raise NotFoundError(f"several sandboxes are called {name}", hint=f"say which one: {listed}")
    words = [str(id) for id in known] + [id.name for id in known if here in (None, id.project)]
    hint = did_you_mean(name, words) or "`sbx ls -a` lists the sandboxes, `sbx up` creates those of the sandbox file"
    raise NotFoundError(f"there is no sandbox {name}", hint=hint)
