"""Whether a sandbox file is of the project that it names. Whoever may write a file may write any `name:` into it.

So a file stands for the project whose sandboxes and volumes are its own: those that no file has applied, those of a
file beside it or of one that is gone (it was moved), and never those of another file that is there.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sandboxfile.errors import NotFoundError, SandboxfileError, StateError
from sandboxfile.host.directories import sandbox_directories
from sandboxfile.host.layout import Layout
from sandboxfile.names import SandboxId, VolumeId

_HINT = "say which project is meant, as in {0}/NAME (`sbx ls -a` lists all)"


def refuse_foreign(project: str, file: Path, layout: Layout) -> None:
    """Raises SandboxfileError where a project is of another file, or this file was applied as another project."""
    sources, own = _sources(layout), os.fspath(file)
    for other in sorted(sources.get(project, ())):
        if _is_elsewhere(Path(other), file):
            raise SandboxfileError(
                f"{own} calls itself {project!r}, and that project belongs to {other}",
                hint=f"{_HINT.format(project)}, or give one of the two files another `name:`",
            )
    former = _projects_of(own, sources)
    if former and project not in former:
        raise SandboxfileError(
            f"{own} calls itself {project!r} now, and was applied as {former[0]!r}", hint=_HINT.format(former[0])
        )


def applied_as(file: Path, layout: Layout) -> str | None:
    """The project that a file was applied as, whatever is in it now; None when there is none, or several."""
    found = _projects_of(os.fspath(file), _sources(layout))
    return found[0] if len(found) == 1 else None


def sources_of(project: str, layout: Layout) -> set[str]:
    """The files that the sandboxes and volumes of a project are of."""
    return _sources(layout).get(project, set())


def others_told[Id: (SandboxId, VolumeId)](
    names: Sequence[str], sources: Mapping[Id, str], file: str | None
) -> Iterator[str]:
    """A sentence for each that was named without its project, and is of a file that is neither here nor above.

    `sources`: the file of each, empty when nobody can tell; `file`: the one given.
    """
    here: Path = Path(file).absolute().parent if file is not None else Path.cwd()
    around = {place.resolve() for place in (here, *here.parents)}
    for id, source in sources.items():
        said = any(name.startswith(f"{id.project}/") for name in names)
        if source and not said and Path(source).parent.resolve() not in around:
            yield f"{id.name} is {id}, of {source}"


def _projects_of(source: str, sources: Mapping[str, set[str]]) -> list[str]:
    return sorted(project for project, found in sources.items() if source in found)


def _is_elsewhere(other: Path, file: Path) -> bool:
    return other != file and other.exists() and other.parent.resolve() != file.parent.resolve()


def _sources(layout: Layout) -> dict[str, set[str]]:
    """The files that the sandboxes and volumes of each project are of. What cannot be read says nothing."""
    from sandboxfile.host.statedir import read_record
    from sandboxfile.host.volumes import volume_ids, volume_source

    found: dict[str, set[str]] = {}
    for project, name in sandbox_directories(layout):
        with suppress(StateError, NotFoundError):
            found.setdefault(project, set()).add(read_record(layout.sandbox(SandboxId(project, name))).source)
    for id in volume_ids(layout):
        found.setdefault(id.project, set()).add(volume_source(layout, id))
    return {project: each - {""} for project, each in found.items()}
