"""Which files somebody has to look at before they are applied: not as they were approved, and open to an agent.

Pure. The rule is one for all: a way to a file that passes below a directory which a sandbox has, or ever had, `rw` can
be turned by what ran in there, and so can what is read at its end. But for files that nothing inside could have, by
any name, ever since they were approved: who changed those was at the host. `host.trust` gathers the facts,
`cli.trusting` acts.
"""

import hashlib
import json
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sandboxfile.model.desired import DesiredSandbox, DesiredState, FileContent, Workspace
from sandboxfile.model.plan import (
    AttachWorkspace,
    CheckAgent,
    CreateSandbox,
    DeleteSandbox,
    DetachWorkspace,
    Plan,
    PlanOptions,
    PreparePlatform,
    ResumeSandbox,
    RunSetup,
    StartMain,
    StartSandbox,
    StopSandbox,
    UpdateRecord,
    WaitFor,
)
from sandboxfile.names import SandboxId
from sandboxfile.planning.widening import widening

State = Literal["new", "changed", "gone"]
# By a directory that sandboxes can write to: what in it they cannot, as paths from there.
Guards = Mapping[str, frozenset[str]]
ABSENT = ""  # the digest of what is not there
# They go by what was applied, and nothing of a file is in them.
_AS_APPLIED = (
    PreparePlatform,
    StartSandbox,
    RunSetup,
    StartMain,
    CheckAgent,
    ResumeSandbox,
    StopSandbox,
    WaitFor,
)


@dataclass(frozen=True, slots=True, order=True)
class Doubt:
    """A file that is not as it was approved. `directory`: of a sandbox, which could have written it from there."""

    file: FileContent
    state: State
    directory: str

    @property
    def words(self) -> str:
        """`/home/me/shop/.env: changed, in the workspace /home/me/shop`."""
        told = f"{posixpath.normpath(self.file.path)}: {self.state}, in the workspace {self.directory}"
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in told)  # a name makes no line


def digest_of(content: str | bytes) -> str:
    """That of a file's content."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def contents(found: Iterable[tuple[str, str]]) -> tuple[FileContent, ...]:
    """Paths with digests as files, sorted; what was read several times, and was not the same, has a digest of all."""
    digests: dict[str, set[str]] = {}
    for path, digest in found:
        digests.setdefault(path, set()).add(digest)
    return tuple(FileContent(path, _together(every)) for path, every in sorted(digests.items()))


def _together(digests: Collection[str]) -> str:
    return next(iter(digests)) if len(digests) == 1 else digest_of(json.dumps(sorted(digests)))


def digest_of_all(files: Iterable[FileContent], base: str) -> str:
    """One digest of all files, for who pins them: the same wherever a project lies, as far as they lie in `base`."""
    entries = [[_named(file.path, base), file.digest] for file in sorted(files) if file.digest != ABSENT]
    return digest_of(json.dumps(entries))


def _named(path: str, base: str) -> str:
    return posixpath.relpath(path, base) if lies_in(path, base) else path


def lies_in(path: str, base: str) -> bool:
    """Whether a path, as it is written, leads below a directory."""
    return _below(posixpath.normpath(path), base)


def not_as_approved(files: Iterable[FileContent], approved: Mapping[str, str]) -> tuple[FileContent, ...]:
    """Those whose content is another than the approved one; `approved` has digests by path."""
    return tuple(file for file in files if approved.get(file.path, ABSENT) != file.digest)


def doubts(
    files: Iterable[FileContent],
    approved: Mapping[str, str],
    ways: Mapping[str, Sequence[str]],
    exposed: Collection[str],
    guarded: Collection[str] = (),
) -> tuple[Doubt, ...]:
    """What somebody has to look at, sorted.

    `ways` has for each path every place that is passed on the way to it, the last being its end; `exposed` are the
    directories that sandboxes can write to, or could; `guarded` the paths of files that nobody inside could write to
    since they were approved.
    """
    found = []
    for file in not_as_approved(files, approved):
        if file.path in guarded and file.path in approved:
            continue
        directory = next((each for each in sorted(exposed) if _is_open(ways[file.path], each)), None)
        if directory is not None:
            found.append(Doubt(file, _state(file, approved), directory))
    return tuple(sorted(found))


def _is_open(way: Sequence[str], directory: str) -> bool:
    """Whether something on a way lies in the directory, or it in what is at the end (a build context)."""
    end = way[-1]
    return any(_below(place, directory) for place in way) or directory == end or _below(directory, end)


def _below(path: str, directory: str) -> bool:
    return path.startswith(f"{directory.rstrip('/')}/")


def _state(file: FileContent, approved: Mapping[str, str]) -> State:
    if file.path not in approved:
        return "new"
    return "changed" if file.digest != ABSENT else "gone"


def alters(plan: Plan) -> bool:
    """Whether a plan changes anything of what was applied, more than that it runs. What is not known to be so does."""
    if any(change.fields for change in plan.changes) or widening(plan):
        return True
    return not all(isinstance(step.operation, _AS_APPLIED) for step in plan.steps)


def what_it_does(plan: Plan) -> Iterator[str]:
    """Its changes, in sentences: which fields, and by what something may do more."""
    for change in plan.changes:
        yield f"{change.subject}: {change.action} ({', '.join(each.path for each in change.fields) or change.cause})"
        yield from (f"  widens: {shift.text}" for shift in change.shifts if shift.direction == "widens")


def guards(workspaces: Iterable[Workspace]) -> Guards:
    """What these leave read-only. Of two on one directory, what both do."""
    found: dict[str, frozenset[str]] = {}
    for each in workspaces:
        if each.mode == "rw":
            protected = frozenset(each.protect)
            found[each.source] = found.get(each.source, protected) & protected
    return found


def is_guarded(path: str, kept: Guards) -> bool:
    """Whether a path is read-only in whatever of these directories it lies, by itself; one that lies in none is so."""
    place = posixpath.normpath(path)
    return all(_keeps(directory, protected, place) for directory, protected in kept.items())


def _keeps(directory: str, protected: frozenset[str], path: str) -> bool:
    if not _below(path, directory):
        return path != directory and not _below(directory, path)
    return posixpath.relpath(path, directory) in protected


def guards_of(plan: Plan) -> Guards:
    """What the directories that a plan opens leave read-only."""
    return guards(_attached(plan))


def _attached(plan: Plan) -> Iterator[Workspace]:
    for step in plan.steps:
        match step.operation:
            case CreateSandbox(spec) | UpdateRecord(spec):
                yield from spec.workspaces
            case AttachWorkspace(_, workspace):
                yield workspace


def closed_by(plan: Plan) -> frozenset[SandboxId]:
    """The sandboxes whose record says now what they could write to, and perhaps not when the plan is carried out.

    And those that start by it, with what it says.
    """
    return frozenset(_closed(plan))


def _closed(plan: Plan) -> Iterator[SandboxId]:
    for step in plan.steps:
        match step.operation:
            case DeleteSandbox(id) | DetachWorkspace(id) | StartSandbox(id):
                yield id
            case UpdateRecord(spec):
                yield spec.id


def covers(desired: DesiredState, options: PlanOptions) -> bool:
    """Whether a plan with these options does all that the files ask for: who sees it has seen what they say."""

    def is_asked(each: DesiredSandbox) -> bool:
        named = not options.only or each.id.name in options.only
        return named and (not each.profiles or bool({"*", *each.profiles} & set(options.profiles)))

    return all(map(is_asked, desired.sandboxes))
