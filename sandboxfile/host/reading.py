"""Where the files of a project are read: on the disk, or elsewhere as if they lay there (`sbx compare`).

`pipeline.load` is given a Reader. Another one than the disk's answers for the files that shape a project alone; what
else there is of this host (its environment, its clients, the policies of user and machine) is always as it is.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from sandboxfile.host.files import read_file
from sandboxfile.host.inputs import facts_of, look
from sandboxfile.host.layout import Layout
from sandboxfile.resolve.inputs import PathFact, Source, SourceFact

_LINK_LIMIT = 40  # as the kernel's


class Reader(Protocol):
    """What is asked about files."""

    def read(self, path: Path) -> bytes:
        """The beginning of a file, as `host.files.read_file` gives it. Raises NotFoundError and HostError."""

    def exists(self, path: Path) -> bool:
        """Whether something is there, be it a link to nowhere."""

    def look(self, path: str, *, read: bool = False) -> PathFact:
        """What stands at an absolute path; with `read`, also what is in it. Never raises."""

    def facts(
        self, sources: Iterable[Source], paths: Mapping[str, PathFact], layout: Layout
    ) -> Mapping[Source, SourceFact]:
        """About what templates are made from; `paths` has facts about those that are paths."""


@dataclass(frozen=True, slots=True)
class Disk:
    """Files are where they are."""

    def read(self, path: Path) -> bytes:
        return read_file(path)

    def exists(self, path: Path) -> bool:
        return os.path.lexists(path)

    def look(self, path: str, *, read: bool = False) -> PathFact:
        return look(path, read=read)

    def facts(
        self, sources: Iterable[Source], paths: Mapping[str, PathFact], layout: Layout
    ) -> Mapping[Source, SourceFact]:
        return facts_of(sources, paths, layout)


DISK = Disk()


@dataclass(frozen=True, slots=True)
class Moved:
    """Another sandbox file, with what lies beside it, as if it lay where `file` does.

    A directory that is not there is taken for the one here: workspaces need not have been copied. A file is not.
    """

    file: Path
    other: Path

    def read(self, path: Path) -> bytes:
        return read_file(Path(self._there(str(path))))

    def exists(self, path: Path) -> bool:
        return os.path.lexists(self._there(str(path)))

    def look(self, path: str, *, read: bool = False) -> PathFact:
        there = self._there(path)
        fact = look(there, read=read)
        if there == path:
            return fact
        if fact.kind == "missing":
            here = look(path)
            return here if here.kind == "directory" else fact
        return replace(fact, real=self._real(path))

    def facts(
        self, sources: Iterable[Source], paths: Mapping[str, PathFact], layout: Layout
    ) -> Mapping[Source, SourceFact]:
        found = {}
        for source in sources:
            there = replace(source, name=self._there(source.name)) if source.is_path else source
            known = {there.name: look(there.name)} if source.is_path else paths
            found[source] = facts_of([there], known, layout)[there]
        return MappingProxyType(found)

    def _real(self, path: str) -> str:
        """Where a path ends that is something beside the other file: by the links of there, as if they lay here."""
        beside, other = (os.path.realpath(os.path.dirname(each)) for each in (self.file, self.other))  # noqa: PTH120
        given = os.path.abspath(path)  # noqa: PTH100
        if given == os.path.abspath(self.file):  # noqa: PTH100 - the other one may have any name
            return look(given).real
        start = os.path.dirname(os.path.abspath(self.file))  # noqa: PTH100, PTH120
        current, followed = beside, 0
        pending = given[len(start) + 1 :].split("/")[::-1]
        while pending:
            part = pending.pop()
            step = os.path.normpath(os.path.join(current, part))  # noqa: PTH118 - `current` has no links
            inside = step.startswith(f"{beside}/")
            disk = other + step[len(beside) :] if inside else step
            followed += os.path.islink(disk)  # noqa: PTH114
            if followed > _LINK_LIMIT:
                return given
            target = os.readlink(disk) if os.path.islink(disk) else ""  # noqa: PTH114, PTH115
            current = step if not target else "/" if target.startswith("/") else current
            pending += [each for each in reversed(target.split("/")) if each not in ("", ".")]
        return current

    def _there(self, path: str) -> str:
        """Where it is that is asked for under this path."""
        given, here = os.path.abspath(path), os.path.abspath(self.file)  # noqa: PTH100 - links stay as they are
        if given == here:
            return os.path.abspath(self.other)  # noqa: PTH100
        beside = os.path.dirname(here)  # noqa: PTH120
        if not given.startswith(f"{beside}/"):
            return path
        return os.path.join(os.path.dirname(os.path.abspath(self.other)), given[len(beside) + 1 :])  # noqa: PTH100, PTH118, PTH120
