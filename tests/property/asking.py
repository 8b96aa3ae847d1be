"""What a person asks for, and what a plan may then be, found without the planner."""

from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from sandboxfile.model.desired import DesiredSandbox, DesiredState
from sandboxfile.model.plan import Plan, PlanOptions
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.planning.snapshot import concerned

from .fake_host import FakeHost
from .fake_supervisor import Box
from .files import SCALED
from .histories import Round
from .pools import PROJECT

FILE_WORK = ("checkpoint", "drop checkpoint", "restore", "restore keeping", "fork", "rename", "adopt")
FOR_GOOD = ("down", "remove", "remove fork")  # delete checkpoints, too
VERBS = ("start", "stop", "restart", "remove")  # planned from what is there, whatever the file says
VOLUME_IN_USE = "Volume in use"


@dataclass(frozen=True)
class Intent:
    """What the user asked for with a plan: the measure of what it may change and destroy.

    `scope` has the names of the sandboxes that are meant; None: all that are there. `anew` are those of them that are
    to be replaced.
    """

    desired: DesiredState
    action: str = "up"
    scope: frozenset[str] | None = None
    anew: frozenset[str] = frozenset()
    deletes_any: bool = False
    allow_destroy: bool = False
    volumes: bool = False
    project: str = PROJECT

    def means(self, id: SandboxId) -> bool:
        """Whether this sandbox may be changed."""
        if id.project != self.project:
            return False
        orphan = id not in {spec.id for spec in self.desired.sandboxes}
        return self.scope is None or id.name in self.scope or (self.action == "up" and orphan and self.deletes_any)

    @property
    def meant(self) -> tuple[DesiredSandbox, ...]:
        """Of the file."""
        return tuple(spec for spec in self.desired.sandboxes if self.scope is None or spec.id.name in self.scope)


INTENT: ContextVar[Intent | None] = ContextVar("intent", default=None)
PLAN: ContextVar[Plan | None] = ContextVar("plan", default=None)


def options_of(round: Round) -> PlanOptions:
    """As the command line makes them of its arguments."""
    only = (*round.only, *round.anew) if round.only else ()
    if round.action == "down":
        return PlanOptions("down", round.only, allow_destroy=round.allow_destroy, volumes=round.volumes)
    return PlanOptions("up", only, round.remove_orphans, round.allow_destroy, round.anew, round.profiles)


def intent_of(round: Round, desired: DesiredState) -> Intent:
    """The same, in the words of a person."""
    allowed, file = round.allow_destroy, desired.sandboxes
    if round.action in ("down", "rollback", *VERBS):
        named = frozenset(meant_there(round.only)) if round.only and round.action != "rollback" else None
        volumes = round.action == "down" and round.volumes
        return Intent(desired, round.action, named, frozenset(), True, allowed, volumes)
    if round.action == "delete volumes":
        return Intent(desired, round.action, frozenset(), volumes=True)
    if round.action == "remove fork":
        return Intent(desired, round.action, None, deletes_any=True, allow_destroy=allowed, project=UNMANAGED)
    if round.action in FILE_WORK:
        return Intent(desired, round.action, frozenset())
    anew = frozenset(_meant_by(file, round.anew))
    deletes = round.remove_orphans and not round.only
    return Intent(desired, "up", _chosen(file, round), anew, deletes, allowed)


def meant_there(names: Collection[str]) -> set[str]:
    """What names mean of what is there, replicas that the file has no more among it."""
    return {*names, *(f"{SCALED}-{number}" for number in (1, 2) if SCALED in names)}


def _meant_by(file: Collection[DesiredSandbox], names: Collection[str]) -> set[str]:
    """What names mean of the file: themselves, and the replicas of what is scaled."""
    return {spec.id.name for spec in file if spec.id.name in names or spec.service in names}


def _chosen(file: Collection[DesiredSandbox], round: Round) -> frozenset[str]:
    """What is named with all that it depends on; else what has no profile, or one that is asked for."""
    if not round.only:
        asked = set(round.profiles)
        return frozenset(s.id.name for s in file if not s.profiles or asked & {"*", *s.profiles})
    found = _meant_by(file, (*round.only, *round.anew))
    for spec in sorted(file, key=lambda spec: spec.id, reverse=True):  # nobody depends on one that comes after it
        if spec.id.name in found:
            found |= {each.name for each in spec.depends_on}
    return frozenset(found)


# --- what a plan may be ------------------------------------------------------------------------------------------


def wrong_in(plan: Plan, intent: Intent, boxes: Mapping[SandboxId, Box]) -> Iterator[str]:
    """How a plan, just made, is not what was asked for."""
    ids = {id for step in plan.steps if (id := concerned(step.operation)) is not None}
    kind = "sandbox "
    told = {c.subject.removeprefix(kind): c.action for c in plan.changes if c.subject.startswith(kind)}
    for id in sorted(ids | {SandboxId(plan.project, name) for name in told}):
        if not intent.means(id):
            yield f"{id} is to be changed, and only {intent.scope} were asked for"
    if intent.action == "up":
        for spec in intent.meant:
            box = boxes.get(spec.id)
            wanted = _made_how(spec, box, spec.id.name in intent.anew)
            found = told.get(spec.id.name)
            if (box is None or box.record is not None) and wanted != (found if found in _MAKES else None):
                yield f"{spec.id} is to be made by {wanted}, and the plan says {found}"


_MAKES = ("create", "replace", "delete")


def _made_how(spec: DesiredSandbox, box: Box | None, anew: bool) -> str | None:
    if box is None:
        return "create"
    return "replace" if anew or loses_its_disk(spec, box) else None


def loses_its_disk(spec: DesiredSandbox, box: Box) -> bool:
    """Whether a sandbox has to be made anew to be as the file says."""
    old = box.record.spec if box.record is not None else spec
    return (old.image.digest, old.agent) != (spec.image.digest, spec.agent) or box.disk is None


def refusals_of_up(host: FakeHost, intent: Intent) -> tuple[set[str], set[str]]:
    """What a person would refuse, from what is there; and what may be refused besides."""
    if told := set(_refusals(host, intent)):  # who is refused neither takes volumes nor gives up its own
        return told, {VOLUME_IN_USE}
    takers = [spec for spec in intent.meant if any(_is_held(host, intent, mount.volume) for mount in spec.mounts)]
    if all(spec.id in host.boxes and host.boxes[spec.id].asleep for spec in takers):  # they may not need it yet
        return set(), {VOLUME_IN_USE} if takers else set()
    return {VOLUME_IN_USE}, set()


def _refusals(host: FakeHost, intent: Intent) -> Iterator[str]:
    records = {id: box.record for id, box in host.boxes.items() if id.project == PROJECT}
    source = intent.desired.source
    if any(r is not None and r.source != source and r.source in host.files for r in records.values()):
        yield "Project name in use"
    names = {spec.id.name for spec in intent.meant}
    if any(each.name not in names for spec in intent.meant for each in spec.depends_on):
        yield "Profile not asked for"
    for spec in intent.meant:
        if spec.id not in records:
            continue
        record = records[spec.id]
        if record is None:
            yield "Unreadable sandbox"
        elif spec.id.name in intent.anew or loses_its_disk(spec, host.boxes[spec.id]):
            if (record.spec.protect or spec.protect) and not intent.allow_destroy:
                yield "Protected sandbox"
        elif spec.resources.disk < record.spec.resources.disk:
            yield "Disk cannot shrink"


def _is_held(host: FakeHost, intent: Intent, name: str) -> bool:
    """Whether one that is not meant has a volume, and nobody stops it."""
    volume = host.volumes.disks.get(name)
    holder = volume.holder.spec.id if volume is not None and volume.holder is not None else None
    return holder is not None and not intent.means(holder)
