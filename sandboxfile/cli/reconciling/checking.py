"""A commit -> what it asks for. Its files are read from an export that no sandbox gets; workspaces are of the tree.

An agent may have written to the tree, so nothing is loaded from there: neither the sandbox file nor what it includes,
neither variables nor env_files, neither the lock nor what templates are made from.
"""

import os
from dataclasses import replace
from pathlib import Path

from sandboxfile import pipeline
from sandboxfile.cli.belonging import sources_of
from sandboxfile.diagnostics import Diagnostics, Severity, has_errors, in_order
from sandboxfile.errors import SandboxfileError
from sandboxfile.host.git_local import places_of
from sandboxfile.host.layout import Layout, ReconcilerPaths
from sandboxfile.host.trust import find_doubts
from sandboxfile.model.desired import DesiredSandbox, DesiredState, FileContent, Workspace
from sandboxfile.model.reconciliation import Reason

_PROBLEMS = 20  # told of one commit
_NEVER_APPROVED = "refs"  # no digest: branches are there to be moved


class Refused(SandboxfileError):
    """Nothing of a commit was done."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


def load_commit(paths: ReconcilerPaths, file: str, layout: Layout, *, frozen: bool) -> DesiredState:
    """What the exported commit asks for, with workspaces in the tree. Raises Refused."""
    path = paths.source / file
    if not path.is_file():
        raise Refused("file", f"{file}: there is no such file in the commit")
    loaded = pipeline.load(path, layout, frozen=frozen)
    _refuse_foreign(loaded, paths)  # first: what is wrong with a file may say what is in it
    refuse_errors("file", loaded.diagnostics, paths)
    refuse_errors("policy-test", pipeline.failed_policy_tests(loaded), paths)
    if loaded.desired is None:
        raise Refused("file", f"{file}: it is wrong")  # never without an error
    _refuse_turned(loaded, path, layout)
    _refuse_taken(loaded.desired.project, paths, layout)
    sandboxes = tuple(_in_tree(sandbox, paths) for sandbox in loaded.desired.sandboxes)
    return replace(loaded.desired, sandboxes=sandboxes)


def refuse_open(address: str, layout: Layout) -> None:
    """No agent can have moved what is followed: none could write to where the repository lies. Raises SandboxfileError.

    For who follows it with neither signatures nor a bound on what may widen.
    """
    found = find_doubts(layout, [FileContent(place, _NEVER_APPROVED) for place in places_of(address)])
    if found:
        raise SandboxfileError(
            f"an agent could decide what is applied: {found[0].file.path} is in {found[0].directory}, which a sandbox "
            "can write to, or could",
            hint="--verify-signatures or --deny-widening, or follow a repository that no sandbox has",
        )


def refuse_errors(reason: Reason, found: Diagnostics, paths: ReconcilerPaths) -> None:
    """Raises Refused with a line for each error: where it is in the commit, and what."""
    if has_errors(found):
        raise Refused(reason, told(found, paths))


def told(found: Diagnostics, paths: ReconcilerPaths) -> str:
    """A line for each error: `sandbox.yaml:4:7: Unknown field: ...`."""
    errors = [item for item in in_order(found) if item.severity is Severity.ERROR]
    lines = [f"{item.span}: {item.summary}: {item.detail}" if item.span else item.detail for item in errors]
    more = [f"and {len(lines) - _PROBLEMS} more"] if len(lines) > _PROBLEMS else []
    return "\n".join([*lines[:_PROBLEMS], *more]).replace(f"{paths.source}/", "")


def said_by(output: str) -> str:
    """The line of a program's words that says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")


def _refuse_foreign(loaded: pipeline.Loaded, paths: ReconcilerPaths) -> None:
    """Only what is in the commit is loaded, and policies of user and machine: another file might be an agent's.

    Links are followed: `..` behind one leads to where text does not say. Nobody else can turn those of the export.
    """
    foreign = [file.path for file in loaded.files if not _is_in(os.path.realpath(file.path), str(paths.source))]
    if foreign:
        raise Refused("file", f"not in the commit, and only what is can be loaded: {', '.join(sorted(foreign))}")


def _refuse_turned(loaded: pipeline.Loaded, path: Path, layout: Layout) -> None:
    """What is of this host and no commit: links to workspaces, and what clients are configured by, are no agent's."""
    if found := find_doubts(layout, loaded.configuration):
        told = ", ".join(doubt.words for doubt in found)
        raise Refused(
            "file", f"not as it was approved, and a sandbox could have made it so: {told} (sbx -f {path} trust)"
        )


def _refuse_taken(project: str, paths: ReconcilerPaths, layout: Layout) -> None:
    """A commit may call itself anything. What there is of its project has to come from here."""
    foreign = (source for source in sources_of(project, layout) if not _is_in(source, str(paths.source)))
    if other := min(foreign, default=""):
        raise Refused("file", f"the project {project!r} belongs to {other}: give one of the two another `name:`")


def _in_tree(sandbox: DesiredSandbox, paths: ReconcilerPaths) -> DesiredSandbox:
    """With workspaces of the export taken from the tree instead, at the place where they are going to stay."""
    return replace(sandbox, workspaces=tuple(_moved(workspace, paths) for workspace in sandbox.workspaces))


def _moved(workspace: Workspace, paths: ReconcilerPaths) -> Workspace:
    outside = str(paths.source.parent.parent)
    source, target = (_rebased(path, paths) for path in (workspace.source, workspace.target))
    within = _is_in(source, str(paths.tree))
    if not within and (_is_in(source, outside) or _is_in(outside, source)):
        raise Refused("file", f"the workspace {source} would give away what reconcilers check out")
    return replace(workspace, source=source, target=target)


def refuse_detours(desired: DesiredState, paths: ReconcilerPaths) -> None:
    """After the tree was laid: none of its workspaces is a symlink that an agent has put there. Raises Refused."""
    for workspace in (workspace for sandbox in desired.sandboxes for workspace in sandbox.workspaces):
        if _is_in(workspace.source, str(paths.tree)) and os.path.realpath(workspace.source) != workspace.source:
            raise Refused("content", f"the workspace {workspace.source} leads through a symlink")


def _rebased(path: str, paths: ReconcilerPaths) -> str:
    return str(paths.tree) + path.removeprefix(str(paths.source)) if _is_in(path, str(paths.source)) else path


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")
