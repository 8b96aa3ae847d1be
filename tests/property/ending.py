"""How a history ends: nobody strikes any more, an apply makes all as the file says, and all of it is taken down."""

from dataclasses import replace

import trio

from sandboxfile import pipeline
from sandboxfile.host.checkpoints import remove_checkpoint
from sandboxfile.model.desired import DesiredSandbox
from sandboxfile.model.plan import Plan
from sandboxfile.names import UNMANAGED, SandboxId

from .asking import VOLUME_IN_USE, intent_of, options_of
from .checks import Broken, differences, setup_problem
from .fake_host import really_sweep
from .fake_supervisor import Disk, Supervisor
from .histories import Round
from .keeping import no_leftovers
from .life import Life
from .pools import GIB, PROJECT

_SETTLED = 3000.0  # seconds after which nothing that was begun is still going on
_REFUSALS = 10  # one after the other: more than there are kinds


async def end(life: Life, seed: int) -> None:
    """The next apply makes it as the file says, and a second one finds nothing to do. Raises Broken."""
    await trio.sleep(_SETTLED)
    life.host.disarm()
    life.guard.must_hold()
    if life.others or life.guard.executing:
        raise Broken("an apply hangs")
    round = Round(profiles=("ci",) if seed % 3 == 0 else ())
    given_in = 0
    while (plan := await life.plan_is_refused_rightly(round)).diagnostics:
        given_in += 1
        if given_in > _REFUSALS:
            raise Broken(f"refused whatever the hints say is done: {plan.diagnostics}")
        round = await _give_in(life, {diagnostic.summary for diagnostic in plan.diagnostics}, round)
    before = {id: (box.supervisor, box.disk) for id, box in life.host.boxes.items()}
    outcome = await life.carry_out(round)
    life.guard.must_hold()
    if outcome is None or not outcome.ok:
        raise Broken(f"the apply fails: {outcome}, plan {plan}")
    _no_more_than_planned(life, plan, before)
    life.host.directories.write_all()
    life.keeping.must_be_whole()
    no_leftovers(life.layout)
    _as_the_file_says(life, round)
    await _nothing_left_to_do(life, round)
    await _take_down(life, volumes=seed % 2 == 0)


async def _give_in(life: Life, refusals: set[str], round: Round) -> Round:
    """Do what the refusals' hints say."""
    boxes = life.host.boxes
    if "Unreadable sandbox" in refusals:
        names = tuple(id.name for id, box in boxes.items() if box.record is None and id.project == PROJECT)
        await life.carry_out(Round(action="remove", only=names, allow_destroy=True))
    if VOLUME_IN_USE in refusals:
        intent = intent_of(round, life.desired)
        await life.carry_out(
            Round(action="stop", only=tuple(id.name for id in boxes if id.project == PROJECT and not intent.means(id)))
        )
    if "Disk cannot shrink" in refusals:
        life.written = tuple(_not_smaller(life, spec) for spec in life.written)
    if "Profile not asked for" in refusals:
        round = replace(round, profiles=("*",))
    return replace(round, allow_destroy=round.allow_destroy or "Protected sandbox" in refusals)


def _not_smaller(life: Life, spec: DesiredSandbox) -> DesiredSandbox:
    """As what it is called now has it, and each of its replicas."""
    name = life.names.get(spec.id.name, spec.id.name)
    records = [box.record.spec for box in life.host.boxes.values() if box.record is not None]
    there = [each.resources.disk for each in records if name in (each.id.name, each.service)]
    return replace(spec, resources=replace(spec.resources, disk=max(spec.resources.disk, *there, 0)))


def _no_more_than_planned(
    life: Life, plan: Plan, before: dict[SandboxId, tuple[Supervisor | None, Disk | None]]
) -> None:
    """What is live does not restart, and what the plan does not name is not touched."""
    actions = {change.subject: change.action for change in plan.changes}
    for id, (supervisor, disk) in before.items():
        action = actions.get(f"sandbox {id.name}")
        box = life.host.boxes.get(id)
        if action not in ("replace", "delete") and (box is None or box.disk is not disk):
            raise Broken(f"the disk of {id} is gone: {action}")
        if action in (None, "update", "resume") and (box is None or box.supervisor is not supervisor):
            raise Broken(f"{id} was restarted: {action}")


def _as_the_file_says(life: Life, round: Round) -> None:
    """All that is meant."""
    specs = intent_of(round, life.desired).meant
    for mount in (mount for spec in specs for mount in spec.mounts):
        if (volume := life.host.volumes.disks.get(mount.volume)) and volume.size < life.volume * GIB:
            raise Broken(f"the volume {mount.volume} is too small")
    for spec in specs:
        box = life.host.boxes.get(spec.id)
        if box is None:
            raise Broken(f"{spec.id} does not exist")
        for what, wanted, there in differences(spec, life.source, box):
            if wanted != there:
                raise Broken(f"{spec.id}: {what} is {there}, not {wanted}")
        if problem := setup_problem(box):
            raise Broken(f"{spec.id}: {problem}")


async def _nothing_left_to_do(life: Life, round: Round) -> None:
    """What is there and not in the file is told; what has another profile is in the file."""
    changes = life.host.changes
    plan = await pipeline.make_plan(life.desired, life.layout, options_of(round))
    if plan.steps or plan.changes or plan.diagnostics:
        raise Broken(f"a second plan is not empty: {plan.changes} {plan.diagnostics}")
    if life.host.changes != changes:
        raise Broken("planning changed something")
    wanted = {spec.id for spec in life.file}
    if set(plan.orphans) != {id for id in life.host.boxes if id.project == PROJECT} - wanted:
        raise Broken(f"orphans: {plan.orphans}")
    if life.layout.journal(PROJECT).exists():
        raise Broken("a journal is left")


async def _take_down(life: Life, *, volumes: bool) -> None:
    """And all of it goes away again; the volumes with what is on them only when that is asked for."""
    before = {name: volume.content for name, volume in life.host.volumes.disks.items()}
    outcome = await life.carry_out(Round(action="down", allow_destroy=True, volumes=volumes))
    life.guard.must_hold()
    await life.carry_out(Round(action="remove fork", allow_destroy=True))
    life.guard.must_hold()
    if outcome is None or not outcome.ok or life.host.boxes or life.host.half_made:
        raise Broken(f"something is left after down: {outcome} {life.host.boxes}")
    life.keeping.must_be_whole()  # what outlived its sandbox outlives this
    for id, shelf in life.host.shelves.items():
        for label in sorted(shelf.sure):
            remove_checkpoint(life.layout.sandbox(id), label)
    really_sweep(life.layout, UNMANAGED)
    if found := [path for path in life.layout.sandboxes.rglob("*") if not path.is_dir()]:
        raise Broken(f"after down there are {found}")
    if any(life.layout.trash.iterdir()):
        raise Broken("the trash is full after down")
    if {name: volume.content for name, volume in life.host.volumes.disks.items()} != ({} if volumes else before):
        raise Broken(f"volumes after down: {life.host.volumes.disks}")
