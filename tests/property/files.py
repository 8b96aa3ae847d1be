"""The sandbox file of a history, as it is resolved: edited, scaled, and without what the language refuses."""

import json
from collections.abc import Mapping
from dataclasses import replace

from sandboxfile.model.desired import Dependency, DesiredSandbox, Volume
from sandboxfile.names import SandboxId, VolumeId

from .fake_supervisor import WORK
from .histories import Edit
from .pools import GIB, PROJECT

SCALED = "web"  # which comes last, so that nothing depends on it
FORK = "copy"  # what a fork is called, and what was adopted of it
# The other name of what may be renamed; by either the order stays.
OTHERS = {"api": "apse", "apse": "api", "db": "dbms", "dbms": "db"}


def text_of(names: Mapping[str, str]) -> str:
    """The file as far as names go: what the sandboxes of the history are called."""
    return json.dumps(dict(names))


def renamed_in(text: str, old: str, new: str) -> str:
    return text_of({each: new if name == old else name for each, name in json.loads(text).items()})


def adopted_in(text: str) -> str:
    return text_of({**json.loads(text), FORK: FORK})


def called(file: tuple[DesiredSandbox, ...], names: Mapping[str, str]) -> tuple[DesiredSandbox, ...]:
    """The file with the names that its sandboxes have now."""
    found = file
    for old, new in names.items():
        if old != new:
            found = tuple(
                waiting_for(replace(spec, id=replace(spec.id, name=new)) if spec.id.name == old else spec, old, new)
                for spec in found
            )
    return found


def waiting_for(spec: DesiredSandbox, old: str, new: str) -> DesiredSandbox:
    """The same with what it depends on called otherwise."""
    return replace(
        spec, depends_on=tuple(replace(each, name=new) if each.name == old else each for each in spec.depends_on)
    )


def edited(file: tuple[DesiredSandbox, ...], edits: tuple[Edit, ...]) -> tuple[DesiredSandbox, ...]:
    """The file after some edits."""
    specs = {spec.id.name: spec for spec in file}
    for edit in edits:
        if edit.field == "*":
            if edit.name in specs:
                del specs[edit.name]
            else:
                specs[edit.name] = edit.value
        elif edit.name in specs:
            specs[edit.name] = replace(specs[edit.name], **{edit.field: edit.value})
    return tuple(specs[name] for name in sorted(specs))


def rightly(file: tuple[DesiredSandbox, ...]) -> tuple[DesiredSandbox, ...]:
    """The file without what the language refuses: two sandboxes with one volume, dependencies that cannot be met."""
    specs, taken, found = {spec.id.name: spec for spec in file}, set[str](), []
    for name, spec in specs.items():
        mounts = tuple(mount for mount in spec.mounts if mount.volume not in taken)
        taken |= {mount.volume for mount in mounts}
        needs = tuple(each for each in spec.depends_on if each.name < name and _can_be_met(specs.get(each.name), each))
        found.append(replace(spec, mounts=mounts, depends_on=needs))
    return tuple(found)


def _can_be_met(spec: DesiredSandbox | None, dependency: Dependency) -> bool:
    if spec is None or dependency.condition == "started":
        return spec is not None
    if dependency.condition == "healthy":
        return spec.healthcheck is not None
    return spec.command == WORK and spec.restart != "always"


def volumes(size: int) -> tuple[Volume, ...]:
    """The volumes of the file."""
    return tuple(Volume(VolumeId(PROJECT, name), size * GIB) for name in ("cache", "data"))


def scaled(file: tuple[DesiredSandbox, ...], count: int) -> tuple[DesiredSandbox, ...]:
    """With so many replicas of one sandbox, without what only one can have; with none it is as it was."""
    if not count:
        return file
    found = [spec for spec in file if spec.id.name != SCALED]
    for spec in (spec for spec in file if spec.id.name == SCALED):
        ids = [SandboxId(PROJECT, f"{SCALED}-{number}") for number in range(1, count + 1)]
        found += [replace(spec, id=id, service=SCALED, ports=(), mounts=()) for id in ids]
    return tuple(found)
