"""An unmanaged sandbox as an entry of a sandbox file: what is written for it, and what comes of that. Writes nothing.

The entry is made from the sandbox's record, so what commands changed since it was made is in it. A proposal is the
file as it would be, read as `up` would read it: the sandbox must keep its disk, and what it may reach.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sandboxfile import pipeline
from sandboxfile.agents import find_agent
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.cli.editing import Proposal, same_meaning
from sandboxfile.cli.project import show_diagnostics, show_problems, this_layout
from sandboxfile.cli.unmanaged import PROTECTED
from sandboxfile.cli.views.console import Console
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import NotFoundError, SandboxfileError
from sandboxfile.host.files import read_file
from sandboxfile.host.layout import SandboxPaths
from sandboxfile.host.policy_files import read_policy_files
from sandboxfile.language.adding import Entries, add_entries, plain
from sandboxfile.language.document import decode, parse
from sandboxfile.model.desired import DEFAULT_PROTECT, DesiredSandbox, DesiredState
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.model.policy import Policy
from sandboxfile.names import UNMANAGED, SandboxId, name_from
from sandboxfile.planning import plan
from sandboxfile.planning.widening import no_longer_protected
from sandboxfile.policy.implied import without_implied
from sandboxfile.resolve.render import config


@dataclass(frozen=True, slots=True)
class Adoption:
    """The edit of a file that takes the sandbox of a record in, as `id`. `desired`: what the file asks for then."""

    id: SandboxId
    proposal: Proposal
    desired: DesiredState
    applied: Applied

    def plan(self, observed: ObservedState, *, disk_present: bool) -> Plan:
        """What `sbx up` does for it afterwards."""
        moved = replace(self.applied, spec=replace(self.applied.spec, id=self.id), source=self.desired.source)
        there = ObservedSandbox(self.id, "stopped", moved, disk_present=disk_present)
        others = tuple(sandbox for sandbox in observed.sandboxes if sandbox.id != self.id)
        state = replace(observed, sandboxes=tuple(sorted((*others, there), key=lambda each: each.id)))
        return plan(self.desired, state, PlanOptions(only=(self.id.name,)))


class _OtherPolicy(SandboxfileError):
    """In this form the sandbox could reach something else."""


def propose(path: Path, name: str, applied: Applied, paths: SandboxPaths, console: Console) -> Adoption:
    """The file at `path`, or a new one there, with the sandbox in it as `name`.

    Raises SandboxfileError, after showing why, when the file is wrong, has that name, or would change the sandbox.
    """
    before = read_file(path) if path.exists() else b""
    text = _text_of(path, before, console)
    problem: _OtherPolicy | None = None
    definitions = _definitions(applied.spec, paths, text, str(path))
    for body in _bodies(applied.spec, path, text):
        try:
            found = _proposed(path, before, text, name, {("sandboxes", name): body, **definitions}, applied, console)
            kept = _keeping(body, found, path)
            if kept == body:
                return found
            return _proposed(path, before, text, name, {("sandboxes", name): kept, **definitions}, applied, console)
        except _OtherPolicy as exc:
            problem = exc
    assert problem is not None, "there is a body"
    raise problem


def _text_of(path: Path, before: bytes, console: Console) -> str:
    """The text that is edited: that of a right file, or the beginning of a new one."""
    if not before.strip():
        return before.decode() + f"name: {name_from(path.absolute().parent.name)}\n\nsandboxes:\n"
    loaded = pipeline.load(path, this_layout(), content=before, frozen=None)
    if loaded.desired is None:
        show_problems(loaded, console)
        raise SandboxfileError(f"{path} was not changed")
    text, _ = decode(before, str(path))
    assert text is not None, "it was loaded"
    return text


def _proposed(
    path: Path, before: bytes, text: str, name: str, entries: Entries, applied: Applied, console: Console
) -> Adoption:
    taken = [f"{section}: {key}" for section, key in entries if key in _names(text, str(path), section)]
    if taken:
        raise SandboxfileError(
            f"{path} has {', '.join(taken)} already", hint="--as NAME gives the sandbox another name"
        )
    edited, problems = add_entries(text, str(path), entries)
    if edited is None:
        show_diagnostics(problems, {str(path): text}, console)
        raise SandboxfileError(f"{path} was not changed")
    loaded = pipeline.load(path, this_layout(), content=edited.encode(), frozen=None)
    if loaded.desired is None:
        show_problems(loaded, console)
        raise SandboxfileError(f"{path} was not changed: {name} cannot be written into it")
    id = SandboxId(loaded.desired.project, name)
    spec = next(sandbox for sandbox in loaded.desired.sandboxes if sandbox.id == id)
    if not same_meaning(_own(spec.policy), _own(applied.spec.policy)):
        raise _OtherPolicy(f"{path} was not changed: the policy of {name} would be another one in it")
    if gained := list(_gained(spec, applied.spec)):
        raise SandboxfileError(
            f"{path} was not changed: in it, {name} would {'; '.join(gained)}",
            hint="change `defaults` and `policies` of the file, or write the sandbox into another one",
        )
    return Adoption(id, Proposal(path, before, edited.encode(), spec.policy), loaded.desired, applied)


def _gained(spec: DesiredSandbox, old: DesiredSandbox) -> Iterator[str]:
    """What the file would give it that it does not have: its defaults, and what it does not enforce."""
    had = {workspace.target for workspace in old.workspaces}
    yield from (f"see {each.source}" for each in spec.workspaces if each.target not in had)
    usual = {name for name, _ in find_agent(spec.agent).environment}
    yield from (f"be given {name}" for name, _ in spec.env if name not in dict(old.env) and name not in usual)
    yield from (f"be reached at {port.text}" for port in spec.ports if port not in old.ports)
    held = {layer.name for layer in spec.policy.layers}
    yield from (f"not be held to {layer.name}" for layer in old.policy.layers[:-1] if layer.name not in held)


def _own(policy: Policy) -> Policy:
    """What the sandbox's owner chose of it."""
    return Policy((without_implied(policy.own),))


def _names(text: str, filename: str, section: str) -> Mapping[str, Any]:
    document, _ = parse(text, filename)
    assert document is not None
    found: Mapping[str, Any] = plain(document.root).get(section) or {}
    return found


# --- the entry ---------------------------------------------------------------------------------------------------


def _bodies(spec: DesiredSandbox, path: Path, text: str) -> Iterator[dict[str, Any]]:
    """What can stand for the sandbox in a file, the shortest first: which one means the same, only loading it tells."""
    own = spec.policy.own
    inline = replace(spec.policy, layers=(*spec.policy.layers[:-1], replace(own, name="of the sandbox")))
    whole = _rendered(replace(spec, policy=inline), path, text)
    yield {key: value for key, value in whole.items() if key != "policy"}
    name = own.name.rpartition("policy ")[2]
    if name in _names(text, str(path), "policies") or name in read_policy_files(this_layout()).names:
        yield {**whole, "policy": name}
    yield whole


def _rendered(spec: DesiredSandbox, path: Path, text: str) -> dict[str, Any]:
    """The entry as `sbx config` prints it, without what is so by itself."""
    printed: dict[str, Any] = config(DesiredState(UNMANAGED, "", (spec,)))["sandboxes"][spec.id.name]
    body = {"agent": spec.agent, **printed}
    usual = {} if _names(text, str(path), "defaults") else {"restart": "no", "protect": False, "template": spec.agent}
    body = {key: value for key, value in body.items() if usual.get(key) != value}
    if "workspaces" in body:
        body["workspaces"] = [_workspace(item, path.parent) for item in body["workspaces"]]
    return body


def _keeping(body: Mapping[str, Any], found: Adoption, path: Path) -> dict[str, Any]:
    """The entry with what the sandbox cannot write to now, and could as the file's: `.env`, which few files use."""
    (spec,) = (each for each in found.desired.sandboxes if each.id == found.id)
    now = {workspace.target: workspace for workspace in spec.workspaces}
    old = found.applied.spec
    lost = {each.target: no_longer_protected(each, now[each.target]) for each in old.workspaces if each.mode == "rw"}
    if not any(lost.values()):
        return dict(body)
    printed = config(DesiredState(UNMANAGED, "", (old,)))["sandboxes"][old.id.name]["workspaces"]
    return {**body, "workspaces": [_workspace(item, path.parent, lost.get(item["target"], ())) for item in printed]}


def _workspace(written: Mapping[str, Any], base: Path, besides: Collection[str] = ()) -> str | dict[str, Any]:
    """The short form where that says everything, relative where it is in the file's directory.

    What is protected by itself is not repeated: git's own, and the file that it is written into. `besides`: of what
    usually is, what is not in this file.
    """
    source, mode = str(written["source"]), written["mode"]
    usual = {*DEFAULT_PROTECT, *PROTECTED} - {*besides}
    protect = [each for each in written.get("protect", ()) if each not in usual]
    if source != written["target"] or ":" in source:
        return {**written, **({"protect": protect} if protect else {})}
    if base == base.resolve() and Path(source).is_relative_to(base):
        relative = Path(source).relative_to(base)
        source = f"./{relative}" if relative.parts else "."
    if protect:
        return {"source": source, "protect": protect}
    return f"{source}:ro" if mode == "ro" else source


def _definitions(spec: DesiredSandbox, paths: SandboxPaths, text: str, filename: str) -> dict[tuple[str, str], Any]:
    """The template that it was made from, with what that needs, where the file does not have it."""
    there = _names(text, filename, "templates")
    if spec.template in BUILTIN_TEMPLATES or spec.template in there:
        return {}
    try:
        document, _ = parse(paths.command.read_text("utf-8"), str(paths.command))
    except (OSError, ValueError):
        document = None
    made_by = plain(document.root) if document is not None and document.whole else {}
    if spec.template not in (made_by.get("templates") or {}):
        raise NotFoundError(
            f"{filename} has no template {spec.template}, which {spec.id} was made from",
            hint=f"write it under `templates:`, and run the same command again: sbx adopt {spec.id}",
        )
    return {
        (section, name): definition
        for section in ("templates", "policies")
        for name, definition in (made_by.get(section) or {}).items()
        if name not in _names(text, filename, section)
    }


def check_kept(after: Plan, id: SandboxId, path: Path, console: Console) -> None:
    """Raise SandboxfileError when `up` could not go on with the sandbox as it is."""
    if has_errors(after.diagnostics):
        show_diagnostics(after.diagnostics, {}, console)
        raise SandboxfileError(f"{path} was not changed")
    lost = [change for change in after.changes if change.loses_disk]
    if lost:
        causes = ", ".join(field.path for change in lost for field in change.fields if field.effect == "replace")
        raise SandboxfileError(
            f"{path} was not changed: with it `sbx up` would replace {id}, and its disk would be lost"
            f" ({causes or lost[0].cause})",
            hint="the file's template or `defaults` are not those that it was made with",
        )
