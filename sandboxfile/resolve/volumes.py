"""The volumes of a project, and where sandboxes have them: joined with those of the defaults, each in one sandbox only.

A volume may lie inside an `rw` workspace (`node_modules` of a project), where its directory is made on the host. A
workspace does not lie inside a volume, nor a volume inside another one: which hides which would be a matter of order.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.model.desired import PLACES, Mount, Volume
from sandboxfile.model.spec import Path, Sandbox, SandboxFile, VolumeSpec
from sandboxfile.model.values import MIB
from sandboxfile.names import VolumeId
from sandboxfile.resolve.workspaces import Placed, belongs_to_system, inside

_OTHER = "give one of them another target"
_DAEMON = ("/var/lib/docker", "/var/lib/containerd")


@dataclass(frozen=True, slots=True)
class _Written:
    """A volume in a sandbox, and where the file says so."""

    mount: Mount
    span: Span | None
    target_span: Span | None


def resolve_volumes(
    file: SandboxFile, project: str, placed: Mapping[str, Sequence[Placed]]
) -> tuple[tuple[Volume, ...], Mapping[str, tuple[Mount, ...]], Diagnostics]:
    """All volumes of the file, sorted; and those of each sandbox, sorted, its own over the defaults' by target.

    `placed` are the workspaces of each sandbox.
    """
    beneath = _written(file, ("defaults",), file.defaults)
    joined: dict[str, list[_Written]] = {}
    problems: list[Diagnostic] = []
    for name in sorted(file.sandboxes):
        own = _written(file, ("sandboxes", name), file.sandboxes[name])
        targets = {item.mount.target for item in own}
        joined[name] = [*own, *(item for item in beneath if item.mount.target not in targets)]
        problems += _wrong_targets(joined[name], placed[name])
        problems += _too_many(file, name, len(joined[name]) + len(placed[name]))
    problems += _shared(joined)
    volumes = tuple(Volume(VolumeId(project, name), _size(file.volumes[name])) for name in sorted(file.volumes))
    mounts = {name: tuple(sorted(item.mount for item in items)) for name, items in joined.items()}
    return volumes, mounts, tuple(dict.fromkeys(problems))  # what the defaults have wrong is said once


def _too_many(file: SandboxFile, name: str, count: int) -> Iterator[Diagnostic]:
    if count > PLACES:
        detail = f"The sandbox `{name}` has {count} workspaces and volumes, and there is room for {PLACES} in one."
        hint = "show one directory that holds several of them, or put several things on one volume"
        yield error("Too many workspaces and volumes", detail, file.span("sandboxes", name), hint)


def _size(spec: VolumeSpec | None) -> int:
    """In whole MiB, as disks are."""
    return -(-(spec or VolumeSpec()).size // MIB) * MIB


def _written(file: SandboxFile, path: Path, sandbox: Sandbox) -> list[_Written]:
    places = ((*path, "volumes", index) for index in range(len(sandbox.volumes)))
    return [
        _Written(Mount(item.target, item.volume), file.span(*place, "volume"), file.span(*place, "target"))
        for item, place in zip(sandbox.volumes, places, strict=True)
    ]


def _wrong_targets(items: Sequence[_Written], workspaces: Sequence[Placed]) -> Iterator[Diagnostic]:
    for index, item in enumerate(items):
        target = item.mount.target
        if belongs_to_system(target):
            detail = f"The target `{target}` would hide a part of the sandbox's own system."
            yield error("Unsafe target", detail, item.target_span, "give it another target: VOLUME:/data")
            continue
        if any(inside(target, place) for place in _DAEMON):
            detail = f"`{target}` is the Docker daemon's, which is started before volumes are mounted."
            yield error("Unsafe target", detail, item.target_span, "volumes of Docker are on the sandbox's own disk")
            continue
        others = [other.mount.target for other in items[:index]]
        yield from _clash(item, others, "volume")
        outer = [workspace for workspace in workspaces if inside(target, workspace.target)]
        around = [workspace.target for workspace in workspaces if inside(workspace.target, target)]
        yield from _clash(item, around, "workspace")
        if outer and outer[0].mode == "ro" and not around:
            detail = f"The target `{target}` lies in a read-only workspace, where its directory cannot be made."
            yield error("Nested targets", detail, item.target_span, "make the workspace `rw`, or give another target")


def _clash(item: _Written, others: Collection[str], kind: str) -> Iterator[Diagnostic]:
    target = item.mount.target
    for other in others:
        if target == other:
            detail = f"A {kind} has the target `{target}` as well."
            yield error("Duplicate target", detail, item.target_span, _OTHER)
        elif inside(target, other) or inside(other, target):
            inner, outer = sorted((target, other), key=len, reverse=True)
            word = "another volume" if kind == "volume" else "a volume"  # it is the workspace that lies inside
            detail = f"The target `{inner}` lies inside the target `{outer}` of {word}."
            yield error("Nested targets", detail, item.target_span, _OTHER)


def _shared(joined: Mapping[str, Sequence[_Written]]) -> Iterator[Diagnostic]:
    """One sandbox at a time has a volume, at one place: two that write to one file system destroy it."""
    seen: dict[str, str] = {}
    for name, items in joined.items():
        for item in items:
            volume = item.mount.volume
            if volume in seen:
                where = "at another target" if seen[volume] == name else f"in the sandbox `{seen[volume]}`"
                detail = f"The volume `{volume}` is {where} already, and one sandbox at a time has it, at one place."
                hint = "give each its own volume; a directory of this host can be a workspace of several sandboxes"
                yield error("Volume used twice", detail, item.span, hint)
            seen.setdefault(volume, name)
