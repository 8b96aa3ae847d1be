"""Which files somebody has to look at before they are applied: not as they were approved, and open to an agent.

Pure. The rule is one for all: a way to a file that passes below a directory which a sandbox has, or ever had, `rw` can
be turned by what ran in there, and so can what is read at its end. `host.trust` gathers the facts, `cli.trusting` acts.
"""

import hashlib
import json
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sandboxfile.model.desired import DesiredSandbox, DesiredState, FileContent
from sandboxfile.model.plan import AttachWorkspace, CreateSandbox, Plan, PlanOptions, UpdateRecord

State = Literal["new", "changed", "gone"]
ABSENT = ""  # the digest of what is not there


@dataclass(frozen=True, slots=True, order=True)
class Doubt:
    """A file that is not as it was approved. `directory`: of a sandbox, which could have written it from there."""

    file: FileContent
    state: State
    directory: str

    @property
    def words(self) -> str:
        """`/home/me/shop/.env: changed, in the workspace /home/me/shop`."""
        return f"{posixpath.normpath(self.file.path)}: {self.state}, in the workspace {self.directory}"


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
    return posixpath.relpath(path, base) if posixpath.normpath(path).startswith(f"{base}/") else path


def not_as_approved(files: Iterable[FileContent], approved: Mapping[str, str]) -> tuple[FileContent, ...]:
    """Those whose content is another than the approved one; `approved` has digests by path."""
    return tuple(file for file in files if approved.get(file.path, ABSENT) != file.digest)


def doubts(
    files: Iterable[FileContent],
    approved: Mapping[str, str],
    ways: Mapping[str, Sequence[str]],
    exposed: Collection[str],
) -> tuple[Doubt, ...]:
    """What somebody has to look at, sorted.

    `ways` has for each path every place that is passed on the way to it, the last being its end; `exposed` are the
    directories that sandboxes can write to, or could.
    """
    found = []
    for file in not_as_approved(files, approved):
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


def writable(specs: Iterable[DesiredSandbox]) -> frozenset[str]:
    """The directories of this host that these sandboxes can write to."""
    return frozenset(each.source for spec in specs for each in spec.workspaces if each.mode == "rw")


def opened_by(plan: Plan) -> frozenset[str]:
    """The directories that sandboxes can write to once the plan is carried out, and perhaps could not before."""
    return frozenset(_opened(plan))


def _opened(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        match step.operation:
            case CreateSandbox(spec) | UpdateRecord(spec):
                yield from writable([spec])
            case AttachWorkspace(_, workspace) if workspace.mode == "rw":
                yield workspace.source


def covers(desired: DesiredState, options: PlanOptions) -> bool:
    """Whether a plan with these options does all that the files ask for: who sees it has seen what they say."""

    def is_asked(each: DesiredSandbox) -> bool:
        named = not options.only or each.id.name in options.only
        return named and (not each.profiles or bool({"*", *each.profiles} & set(options.profiles)))

    return all(map(is_asked, desired.sandboxes))
