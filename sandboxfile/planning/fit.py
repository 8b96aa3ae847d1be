"""Whether this host can do what is planned: memory, room on its disks, programs. All that is missing, at once. Pure.

Called before anything is built or started, with what `host.capacity` found. What cannot work is an error, what may not
is a warning: guests take their memory as they use it, and disks are as large as what is in them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sandboxfile.diagnostics import Diagnostic, Diagnostics, as_warnings, error, in_order, warning
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import (
    AttachWorkspace,
    BuildImage,
    CheckpointSandbox,
    CreateSandbox,
    CreateVolume,
    GrowVolume,
    Operation,
    Plan,
    PreparePlatform,
    StartSandbox,
    StopSandbox,
    UpdateRecord,
)
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning.tools import (
    DISKS,
    EROFS,
    EXT4,
    FILE_SERVER,
    ID_MAPPER,
    MACHINE,
    MODULES,
    ZSTD,
    Tool,
    tools_for,
)

_MIB, _GIB = 1 << 20, 1 << 30
OVERHEAD = 200 * _MIB  # of host memory for a sandbox besides its own: QEMU, supervisor, file server
# What a root takes, before anybody has seen it: Debian's essential packages (270 MiB as a disk image, measured), one
# named package with what it depends on, one package of a complete list, one step. Rather too little than too much:
# who is refused must be wrong.
_ESSENTIAL, _NAMED, _LISTED, _STEP = 250 * _MIB, 15 * _MIB, 1 * _MIB, 20 * _MIB
_UNKNOWN = 64 * _MIB  # an image from elsewhere
_COPIES = 2  # of a root in the cache while it is built: its layers, packed, and a tar and a disk of all of it
_PLATFORM = 300 * _MIB
_CPUS = 2  # the default, which one processor can do as well
_OVERCOMMIT = "--overcommit goes on all the same"


@dataclass(frozen=True, slots=True)
class Room:
    """A file system. `place`: what is to be written there; `device` tells one from another; `free` in bytes."""

    place: str
    device: int
    free: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What this host has. Memory in bytes: all of it, and what is available without swapping.

    `scratch` is where temporary files go. `tools`: those of TOOLS that are installed. `running`: the memory of every
    sandbox of this user that runs, whatever its project. `root`: whether this user is root, who needs no ID_MAPPER.
    `disks`: what the disks take that are to be copied.
    """

    cpus: int
    memory: int
    available: int
    cache: Room
    state: Room
    scratch: Room
    tools: frozenset[Tool]
    running: Mapping[SandboxId, int]
    root: bool = False
    disks: Mapping[SandboxId, int] = field(default_factory=dict)


def check_fit(
    plans: Sequence[tuple[Plan, ObservedState]], capacity: Capacity, *, overcommit: bool = False
) -> Diagnostics:
    """What stands against carrying out these plans, all of them. With `overcommit` only missing programs are errors."""
    operations = [step.operation for plan, _ in plans for step in plan.steps]
    specs = _specs(plans)
    images = [operation.template for operation in operations if isinstance(operation, BuildImage)]
    found = [*_memory(operations, specs, capacity), *_processors(operations, specs, capacity)]
    found += _build_room(images, capacity, any(isinstance(each, PreparePlatform) for each in operations))
    volumes = {volume.id: volume.size for _, observed in plans for volume in observed.volumes}
    found += _sandbox_room(operations, volumes, capacity)
    return _ordered(found, _missing(_needed(operations, specs), capacity), overcommit)


def check_builds(templates: Sequence[DesiredTemplate], capacity: Capacity, *, overcommit: bool = False) -> Diagnostics:
    """The same for building images alone."""
    needed = dict.fromkeys(tool for template in templates for tool in tools_for(template.recipe))
    return _ordered(_build_room(templates, capacity, False), _missing(needed, capacity), overcommit)


def _ordered(found: Iterable[Diagnostic], missing: Iterable[Diagnostic], overcommit: bool) -> Diagnostics:
    return in_order([*(as_warnings(found) if overcommit else found), *missing])


def _specs(plans: Sequence[tuple[Plan, ObservedState]]) -> Mapping[SandboxId, DesiredSandbox]:
    """What each sandbox is, once the plans are carried out."""
    specs = {item.id: item.applied.spec for _, observed in plans for item in observed.sandboxes if item.applied}
    for plan, _ in plans:
        for step in plan.steps:
            if isinstance(step.operation, CreateSandbox | UpdateRecord):
                specs[step.operation.spec.id] = step.operation.spec
    return specs


def _started(operations: Iterable[Operation], specs: Mapping[SandboxId, DesiredSandbox]) -> list[DesiredSandbox]:
    ids = dict.fromkeys(operation.id for operation in operations if isinstance(operation, StartSandbox))
    return [specs[id] for id in ids if id in specs]


# --- memory and processors ---------------------------------------------------------------------------------------


def _memory(
    operations: Sequence[Operation], specs: Mapping[SandboxId, DesiredSandbox], capacity: Capacity
) -> Iterator[Diagnostic]:
    """Too many at once take the host down: the kernel kills what it likes."""
    before = {id: memory + OVERHEAD for id, memory in capacity.running.items()}
    stopped = {operation.id for operation in operations if isinstance(operation, StopSandbox)}
    started = {spec.id: spec.resources.memory + OVERHEAD for spec in _started(operations, specs)}
    after = {id: memory for id, memory in before.items() if id not in stopped} | started
    large = [id for id, memory in started.items() if memory > capacity.memory]
    for id in large:
        asked = f"{id} asks for {_about(specs[id].resources.memory)} of memory; this host has {_about(capacity.memory)}"
        yield error("Not enough memory", f"{asked}.", hint=f"lower its resources.memory; {_OVERCOMMIT}")
    total = sum(after.values())
    more = total - sum(before.values())
    others = len(after.keys() - started.keys())
    beside = f", besides {others} that run and keep theirs" if others else ""
    if not large and total > capacity.memory and more > 0:
        yield error(
            "Not enough memory",
            f"{_count(started)} to start can take up to {_about(sum(started.values()))} of memory{beside}:"
            f" {_about(total)} of the {_about(capacity.memory)} that this host has.",
            hint=f"start fewer at once (sbx up NAME), lower resources.memory, or stop others; {_OVERCOMMIT}",
        )
    elif not large and more > capacity.available:
        yield warning(
            "Little memory",
            f"{_count(started)} to start can take up to {_about(sum(started.values()))} of memory{beside};"
            f" {_about(capacity.available)} are available now.",
            hint="lower resources.memory, or stop what takes it",
        )


def _processors(
    operations: Sequence[Operation], specs: Mapping[SandboxId, DesiredSandbox], capacity: Capacity
) -> Iterator[Diagnostic]:
    for spec in _started(operations, specs):
        if spec.resources.cpus > max(capacity.cpus, _CPUS):
            detail = f"{spec.id} asks for {spec.resources.cpus} processors; this host has {capacity.cpus}."
            yield warning("Few processors", detail, hint="more than there are make it slower: lower its resources.cpus")


def _count(ids: Collection[SandboxId]) -> str:
    return "1 sandbox" if len(ids) == 1 else f"{len(ids)} sandboxes"


# --- room --------------------------------------------------------------------------------------------------------


def _build_room(images: Sequence[DesiredTemplate], capacity: Capacity, platform: bool) -> Iterator[Diagnostic]:
    """Builds write into the cache, and mmdebstrap a whole root into the directory for temporary files."""
    if not images and not platform:
        return
    roots = {template.name: _root_size(template.recipe) for template in images}
    of_debian = [roots[item.name] for item in images if item.recipe.origin.kind in ("debian", "ubuntu")]
    needs = [
        (capacity.cache, sum(roots.values()) * _COPIES + (_PLATFORM if platform else 0)),
        (capacity.scratch, max(of_debian, default=0)),
    ]
    names = ", ".join(sorted(roots))
    what = f"building {names}" if names else "building the kernel and the guest tools"
    for device in dict.fromkeys(room.device for room, _ in needs):
        there = [(room, need) for room, need in needs if room.device == device and need]
        need = sum(need for _, need in there)
        free = min((room.free for room, _ in there), default=0)
        if there and need > free:
            places = " and ".join(room.place for room, _ in there)
            detail = f"{what} takes about {_about(need)} in {places}, where {_about(free)} are free."
            yield error("Not enough room", detail, hint=f"make room there (sbx prune, TMPDIR); {_OVERCOMMIT}")


def _root_size(recipe: Recipe) -> int:
    return _origin_size(recipe.origin) + sum(_NAMED * len(step.packages) + _STEP for step in recipe.steps)


def _origin_size(origin: Origin) -> int:
    if origin.kind not in ("debian", "ubuntu"):
        return _UNKNOWN
    if origin.versions:
        return max(_ESSENTIAL, _LISTED * len(origin.versions))
    return _ESSENTIAL + _NAMED * len(origin.packages)


def _sandbox_room(
    operations: Sequence[Operation], there: Mapping[VolumeId, int], capacity: Capacity
) -> Iterator[Diagnostic]:
    """New disks and volumes, by how much volumes that are `there` become larger, and copies of disks.

    Where the file system shares what is the same, copies take no room: nothing of this is sure.
    """
    disks = {str(each.spec.id): each.spec.resources.disk for each in operations if isinstance(each, CreateSandbox)}
    furnished = [each for each in operations if isinstance(each, CreateVolume | GrowVolume)]
    volumes = {str(each.id): each.size - there.get(each.id, 0) for each in furnished}
    copied = [str(each.id) for each in operations if isinstance(each, CheckpointSandbox)]
    copies = sum(capacity.disks.get(each.id, 0) for each in operations if isinstance(each, CheckpointSandbox))
    if copies > capacity.state.free:
        yield warning(
            "Little room",
            f"the checkpoints of {', '.join(copied)} take up to {_about(copies)} in {capacity.state.place},"
            f" where {_about(capacity.state.free)} are free.",
            hint="nothing is changed when they cannot be made; `sbx checkpoint --rm` and `sbx prune` make room",
        )
        return
    total = sum(disks.values()) + sum(volumes.values()) + copies
    if total > capacity.state.free:
        named = [f"the disks of {', '.join(disks)}"] if disks else []
        named += [f"the volumes {', '.join(volumes)}"] if volumes else []
        named += [f"the checkpoints of {', '.join(copied)}"] if copies else []
        bounds = [*["`resources.disk`"][: len(disks)], *["`size`"][: len(volumes)]]
        yield warning(
            "Little room",
            f"{' and '.join(named)} can grow by {_about(total)} in {capacity.state.place},"
            f" where {_about(capacity.state.free)} are free.",
            hint=f"they take what is in them, no more; {' and '.join(bounds)} {'bound' if bounds[1:] else 'bounds'} it",
        )


# --- programs ----------------------------------------------------------------------------------------------------


def _needed(operations: Sequence[Operation], specs: Mapping[SandboxId, DesiredSandbox]) -> dict[Tool, None]:
    """The programs for all of this, in the order of its steps, each once."""
    needed: dict[Tool, None] = {}
    for operation in operations:
        match operation:
            case PreparePlatform():
                tools: tuple[Tool, ...] = (EROFS, MODULES, ZSTD)
            case BuildImage(template):
                tools = tools_for(template.recipe)
            case CreateSandbox():
                tools = (DISKS,)
            case CreateVolume():
                tools = (DISKS, EXT4)
            case StartSandbox(id):
                spec = specs.get(id)
                tools = (*MACHINE, ID_MAPPER, *((FILE_SERVER,) if spec and spec.workspaces else ()))
            case AttachWorkspace():
                tools = (FILE_SERVER,)
            case _:
                tools = ()
        needed |= dict.fromkeys(tools)
    return needed


def _missing(needed: Iterable[Tool], capacity: Capacity) -> Iterator[Diagnostic]:
    missing = [tool for tool in needed if tool not in capacity.tools and not (tool is ID_MAPPER and capacity.root)]
    if missing:
        said = "; ".join(f"{tool.name}, which {tool.purpose}" for tool in missing)
        packages = " ".join(dict.fromkeys(tool.package for tool in missing))
        yield error(
            "Missing programs",
            f"not installed: {said}.",
            hint=f"apt install {packages}",
        )


def _about(count: int) -> str:
    """Bytes for people."""
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count // _MIB} MiB"
