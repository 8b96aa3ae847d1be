"""What templates are made from on this host: files, tars, build contexts, local images, saved templates; by digest.

Looks and decides nothing; what cannot be had is a fact with its reason. Symlinks are never followed here: a path that
leads through some has been followed by `host.inputs.look`, which says through which.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.builders import local_image_id
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.files import read_file
from sandboxfile.host.ignored import MalformedPattern, Matched, Pattern, ignored, matches, parse_ignore
from sandboxfile.host.layout import Layout
from sandboxfile.resolve.inputs import PathFact, Source, SourceFact

PLACED_FILE_LIMIT = 64 << 20  # bytes
CONTEXT_LIMIT = 4 << 30  # bytes
CONTEXT_ENTRIES = 200_000  # looked at, those that are ignored included
CONTEXT_DEPTH = 100  # each level keeps a descriptor open
_LEAVE_OUT = "a .dockerignore leaves out what the build does not need"
IGNORE_FILES = (".dockerignore", ".containerignore")


def source_facts(
    sources: Iterable[Source], paths: Mapping[str, PathFact], layout: Layout
) -> Mapping[Source, SourceFact]:
    """Facts about these sources; `paths` has facts about those that are paths."""
    with FileDigests(layout.file_digests) as digests:
        look: dict[str, Callable[[Source], str]] = {
            "file": lambda source: digests.of(_real(source, paths), PLACED_FILE_LIMIT),
            "tar": lambda source: digests.of(_real(source, paths)),
            "context": lambda source: context_digest(Path(_real(source, paths)), source.dockerfile, digests),
            "local": _local,
            "saved": lambda source: _saved(layout.saved / source.name),
        }
        facts = {}
        for source in sorted(sources, key=lambda item: (item.kind, item.name, item.dockerfile)):
            try:
                facts[source] = SourceFact(look[source.kind](source))
            except NotFoundError as exc:
                facts[source] = SourceFact(problem=exc.message, hint=exc.hint or "create it, or correct the path")
            except HostError as exc:
                facts[source] = SourceFact(problem=exc.message, hint=exc.hint)
        return MappingProxyType(facts)


def _real(source: Source, paths: Mapping[str, PathFact]) -> str:
    fact = paths[source.name]
    if fact.kind == "missing":
        what = "directory" if source.kind == "context" else "file"
        raise NotFoundError(fact.problem or f"there is no such {what}")
    return fact.real


def _local(source: Source) -> str:
    found = local_image_id(source.name)
    if found is None:
        raise NotFoundError("neither podman nor buildah nor docker of this host has it")
    return found


def _saved(directory: Path) -> str:
    try:
        content = json.loads((directory / "manifest.json").read_bytes())["content"]
    except FileNotFoundError as exc:
        raise NotFoundError("nothing was saved under it") from exc
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise HostError("its manifest cannot be read") from exc
    if not isinstance(content, str):
        raise HostError("its manifest cannot be read")
    return content


# --- build contexts ----------------------------------------------------------------------------------------------


def context_digest(context: Path, dockerfile: str, digests: FileDigests) -> str:
    """A digest of all that a builder is given: kinds, names, contents, what may be run, where links point to.

    Left out is what every ignore file there is leaves out; those files themselves and the Dockerfile always count, and
    must be regular files: a builder would follow a symlink to what nobody has looked at. Raises NotFoundError and
    HostError, with clauses about the context.
    """
    return take_context(context, dockerfile, _Looking(digests))


class Taker(Protocol):
    """What is done with everything in a context: directories before what they hold. Raises HostError, NotFoundError."""

    def directory(self, path: str, status: os.stat_result) -> None:
        """`path` is relative to the context, always; empty for the context itself."""

    def symlink(self, path: str, leads_to: str) -> None: ...

    def content(self, path: str, name: str, directory: int, status: os.stat_result) -> str:
        """The digest of the file `name` in an open directory."""


@dataclass(frozen=True, slots=True)
class _Looking:
    """Takes digests alone."""

    digests: FileDigests

    def directory(self, path: str, status: os.stat_result) -> None:
        pass

    def symlink(self, path: str, leads_to: str) -> None:
        pass

    def content(self, path: str, name: str, directory: int, status: os.stat_result) -> str:  # noqa: ARG002 - as all
        return self.digests.of(name, directory=directory)


def take_context(context: Path, dockerfile: str, taker: Taker) -> str:
    """The digest of a context, each part of which is taken by `taker` as it is found. Raises as `context_digest`."""
    try:
        top = os.open(context, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as exc:
        raise HostError("it is not a directory") from exc
    except OSError as exc:
        raise HostError(f"it cannot be read ({exc.strerror})") from exc
    try:
        ignore_files = {name: _ignore_file(context / name) for name in (f"{dockerfile}.dockerignore", *IGNORE_FILES)}
        rules = [patterns for patterns in ignore_files.values() if patterns is not None]
        always = {dockerfile, *(name for name, patterns in ignore_files.items() if patterns is not None)}
        walk = _Walk(taker, rules, frozenset(always), (dockerfile, *ignore_files))
        taker.directory("", os.fstat(top))
        walk.directory(top, "", [()] * len(rules))
    finally:
        os.close(top)
    if not any(name == dockerfile and kind in ("file", "program") for name, kind, _ in walk.found):
        raise NotFoundError(f"there is no {dockerfile} in it")
    state = hashlib.sha256()
    for parts in sorted(walk.found):
        for part in parts:
            data = os.fsencode(part)
            state.update(len(data).to_bytes(8, "big") + data)
    return f"sha256:{state.hexdigest()}"


def _ignore_file(path: Path) -> tuple[Pattern, ...] | None:
    """Its patterns; None when there is no such file. Raises HostError."""
    try:
        return parse_ignore(read_file(path).decode())
    except NotFoundError:
        return None
    except (UnicodeDecodeError, MalformedPattern) as exc:
        reason = "it is not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else str(exc)
        raise HostError(f"its {path.name} cannot be used: {reason}") from exc


@dataclass(slots=True)
class _Walk:
    """Everything in a context: name, kind, and what counts of it. `plain`: paths that may lead through no symlink."""

    taker: Taker
    rules: list[tuple[Pattern, ...]]
    always: frozenset[str]
    plain: tuple[str, ...]
    found: list[tuple[str, str, str]] = field(default_factory=list)
    looked: int = 0
    size: int = 0

    def directory(self, handle: int, above: str, matched: list[Matched], depth: int = 0) -> None:
        """All that is in an open directory, by descriptors: nobody can put a symlink in our way.

        `matched` is what each ignore file's patterns say of the directory itself.
        """
        if depth > CONTEXT_DEPTH:
            raise HostError(f"it has directories nested more than {CONTEXT_DEPTH} deep")
        with self._readable(above), os.scandir(handle) as entries:
            for entry in entries:
                self.looked += 1
                if self.looked > CONTEXT_ENTRIES:
                    raise HostError(f"it holds more than {CONTEXT_ENTRIES} files and directories", hint=_LEAVE_OUT)
                self._entry(handle, entry.name, above + entry.name, matched, depth)

    def _entry(self, directory: int, name: str, path: str, above: list[Matched], depth: int) -> None:
        with self._readable(path):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        matched = [matches(path, rule, known) for rule, known in zip(self.rules, above, strict=True)]
        left_out = [ignored(rule, found) for rule, found in zip(self.rules, matched, strict=True)]
        counts = path in self.always or not left_out or not all(left_out)
        if stat.S_ISDIR(status.st_mode):
            if counts:
                self.found.append((path, "directory", ""))
            if counts or self._may_hold(path):
                with self._readable(path), _opened(name, directory) as handle:
                    self.taker.directory(path, os.fstat(handle))
                    self.directory(handle, f"{path}/", matched, depth + 1)
        elif stat.S_ISLNK(status.st_mode):
            self._symlink(name, directory, path, counts)
        elif counts and stat.S_ISREG(status.st_mode):
            self.size += status.st_size
            if self.size > CONTEXT_LIMIT:
                raise HostError(f"it holds more than {CONTEXT_LIMIT >> 30} GiB", hint=_LEAVE_OUT)
            kind = "program" if status.st_mode & 0o111 else "file"
            self.found.append((path, kind, self._content(name, directory, path, status)))
        # Sockets, pipes and devices are given to no builder.

    def _symlink(self, name: str, directory: int, path: str, counts: bool) -> None:
        if through := next((each for each in self.plain if f"{each}/".startswith(f"{path}/")), None):
            raise HostError(f"`{path}` in it is a symlink", hint=f"let {through} be a regular file of the context")
        if counts:
            with self._readable(path):
                leads_to = os.readlink(name, dir_fd=directory)
                self.taker.symlink(path, leads_to)
            self.found.append((path, "symlink", leads_to))

    def _may_hold(self, path: str) -> bool:
        """Whether something in an ignored directory may count all the same."""
        kept = any(pattern.keeps for patterns in self.rules for pattern in patterns)
        return kept or any(name.startswith(f"{path}/") for name in self.always)

    def _content(self, name: str, directory: int, path: str, status: os.stat_result) -> str:
        try:
            return self.taker.content(path, name, directory, status)
        except (HostError, NotFoundError) as exc:
            raise HostError(f"`{path}` in it: {exc.message}") from exc

    @contextmanager
    def _readable(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise HostError(f"`{path or '.'}` in it cannot be read ({exc.strerror})") from exc


@contextmanager
def _opened(name: str, directory: int) -> Iterator[int]:
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        yield handle
    finally:
        os.close(handle)
