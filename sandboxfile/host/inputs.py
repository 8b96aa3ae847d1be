"""Looks at this host for `resolve`: finds the sandbox file, and gathers facts about what it names.

Decides nothing.
"""

import contextlib
import datetime
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host.file_digests import FileDigests
from sandboxfile.host.files import read_file as read_file
from sandboxfile.host.git_identity import GitConfig, git_config
from sandboxfile.host.layout import LOCK_FILE, SANDBOX_FILES, Layout
from sandboxfile.host.registries import preset_facts
from sandboxfile.host.stored_secrets import stored_names
from sandboxfile.language.document import FILE_LIMIT
from sandboxfile.model.spec import SandboxFile
from sandboxfile.planning.trusting import digest_of
from sandboxfile.resolve.inputs import (
    PathFact,
    PolicyFiles,
    ResolveInputs,
    Source,
    SourceFact,
    absolute,
    env_files_needed,
    git_needed,
    paths_needed,
    presets_needed,
    secret_paths,
    sources_needed,
    workspaces_needed,
)

if TYPE_CHECKING:
    from sandboxfile.host.reading import Reader

_LINK_LIMIT = 40  # as the kernel's MAXSYMLINKS


def find_file(start: Path) -> Path | None:
    """The nearest sandbox file in `start` or above it."""
    for directory in (start, *start.parents):
        for name in SANDBOX_FILES:
            if (directory / name).is_file():
                return directory / name
    return None


def gather(
    file: SandboxFile,
    path: Path,
    layout: Layout,
    environ: Mapping[str, str],
    policies: PolicyFiles,
    *,
    home: Path | None = None,
    today: str = "",
    project: str = "",
    beside: Sequence[Path] = (),
    reader: "Reader | None" = None,
) -> ResolveInputs:
    """Everything that `resolve` needs to know. `path` is the sandbox file's; relative ones count from here.

    `policies` are those of `host.policy_files`; `today` is now, in UTC, unless given; `project` is that of sandboxes
    which commands made; `beside` are other files that were loaded, or would have been. `reader`: where the
    project's files are, when that is not the disk.
    """
    here = str(Path.cwd())
    home_path = absolute(str(home or Path.home()), here, here)
    file_path = absolute(str(path), here, home_path)
    base = os.path.dirname(file_path)  # noqa: PTH120 - as `resolve` sees it
    roots = (layout.state, layout.cache, layout.runtime, layout.config)
    private = tuple(absolute(str(root), here, home_path) for root in roots)
    lock = absolute(LOCK_FILE, base, home_path)
    wanted = env_files_needed(file, base, home_path)
    others = tuple(absolute(str(each), here, home_path) for each in beside)
    paths = paths_needed(file, base, home_path) | {file_path, base, lock, home_path, *private, *others}
    presets = preset_facts(presets_needed(file, policies), Path(home_path), environ)
    git = git_config(Path(home_path), environ) if git_needed(file) else GitConfig()
    configuration = (*policies.files, *(item for preset in presets.values() for item in preset.files), *git.files)
    see, source_of = (look, facts_of) if reader is None else (reader.look, reader.facts)
    facts = {absolute(item.path, here, home_path): look(item.path) for item in configuration}
    facts |= {path: see(path, read=path in wanted) for path in sorted(paths)}
    return ResolveInputs(
        file_path,
        home_path,
        private,
        MappingProxyType(facts),
        MappingProxyType(dict(environ)),
        policies,
        presets,
        today or datetime.datetime.now(datetime.UTC).date().isoformat(),
        source_of(sources_needed(file, base, home_path), facts, layout),
        lock,
        project,
        stored_names(layout),
        git.identity,
        others,
        configuration,
        "" if project else here,  # what a command asks for is in no file
    )


def facts_of(sources: Iterable[Source], paths: Mapping[str, PathFact], layout: Layout) -> Mapping[Source, SourceFact]:
    """As `template_sources.source_facts`, which is loaded when a template is made from something of this host."""
    if not (named := frozenset(sources)):
        return MappingProxyType({})
    from sandboxfile.host.template_sources import source_facts

    return source_facts(named, paths, layout)


def contents_of(inputs: ResolveInputs) -> Iterator[tuple[str, str]]:
    """Path and digest of everything whose content is among the facts: env_files, and what templates are made from."""
    yield from ((path, digest_of(fact.content)) for path, fact in inputs.paths.items() if fact.content is not None)
    yield from ((source.name, fact.digest) for source, fact in inputs.sources.items() if source.is_path and fact.digest)


def detours_of(file: SandboxFile, inputs: ResolveInputs) -> Iterator[tuple[str, str]]:
    """Workspaces that are reached through links, each with a digest of where they lead: who turns one shares another.

    Told from the file's directory, and so the same wherever a project lies.
    """
    for path in sorted(workspaces_needed(file, inputs.base, inputs.home)):
        real = inputs.paths[path].real
        if real != path:
            yield path, digest_of(f"leads to {os.path.relpath(real, inputs.base)}")


def programs_of(file: SandboxFile, inputs: ResolveInputs, layout: Layout) -> Iterator[tuple[str, str]]:
    """Path and digest of the files that commands of secrets name: those run on this host, or tell others what to do."""
    commands = [secret for secret in file.secrets.values() if secret.command]
    paths = {path for secret in commands for path in secret_paths(secret, inputs.base, inputs.home)}
    with FileDigests(layout.file_digests) as digests:
        for path in sorted(path for path in paths if inputs.paths[path].kind == "file"):
            with contextlib.suppress(HostError, NotFoundError):  # then it is not run, as nobody has approved it
                yield path, digests.of(inputs.paths[path].real)


def look(path: str, *, read: bool = False) -> PathFact:
    """What stands at an absolute path; with `read`, also what is in it. Never raises."""
    try:
        real, links = follow(path)
        mode = os.stat(real).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return PathFact("missing", *_follow_existing(path))
    except OSError as exc:
        return PathFact("missing", path, problem=exc.strerror or str(exc))
    if stat.S_ISDIR(mode):
        return PathFact("directory", real, links)
    if not stat.S_ISREG(mode):
        return PathFact("other", real, links)
    if not read:
        return PathFact("file", real, links)
    try:
        content = read_file(Path(real))
    except (HostError, NotFoundError) as exc:
        return PathFact("file", real, links, problem=exc.message)
    if len(content) > FILE_LIMIT:
        return PathFact("file", real, links, problem=f"it is longer than {FILE_LIMIT >> 10} KiB")
    return PathFact("file", real, links, content)


def _follow_existing(path: str) -> tuple[str, tuple[str, ...]]:
    """As `follow`, for a path whose last parts do not exist (a state directory before the first use)."""
    head, tail = os.path.split(path)
    try:
        real, links = follow(head)
    except OSError:
        real, links = _follow_existing(head) if head != path else (path, ())
    return os.path.join(real, tail), links  # noqa: PTH118


def follow(path: str) -> tuple[str, tuple[str, ...]]:
    """The real path of an absolute one, and the real place of every symlink on the way. Raises OSError.

    Not os.path.realpath: it does not tell which links it followed, and a guest may be able to turn some of them.
    """
    current, links = "/", []
    pending = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while pending:
        part = pending.pop()
        if part == "..":
            current = os.path.dirname(current)  # noqa: PTH120
            continue
        step = os.path.join(current, part)  # noqa: PTH118
        if not stat.S_ISLNK(os.lstat(step).st_mode):
            current = step
            continue
        links.append(step)
        if len(links) > _LINK_LIMIT:
            raise OSError(40, "too many levels of symbolic links", path)
        target = os.readlink(step)  # noqa: PTH115
        current = "/" if target.startswith("/") else current
        pending += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return current, tuple(links)
