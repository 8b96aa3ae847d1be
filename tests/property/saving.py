"""Saved plans: made with `sbx plan -o`, through the text of their file, and applied when other things have happened."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandboxfile import pipeline
from sandboxfile.diagnostics import has_errors
from sandboxfile.errors import StaleError
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.plan import BuildImage, CreateSandbox, Plan, PlanOptions
from sandboxfile.names import SandboxId
from sandboxfile.planning.saved import SavedPlan, decode, encode
from sandboxfile.planning.snapshot import concerned, concerned_volumes, moved, snapshot

from .asking import Intent, wrong_in
from .fake_host import FakeHost
from .pools import KEY

Check = Callable[[bool, str], None]
_SEAL, _PROGRAM = b"a key", "1.0"


@dataclass(frozen=True)
class Saved:
    """The text of a saved plan, what it was made for, and how all that it concerns was then."""

    text: str
    intent: Intent
    then: tuple[Any, ...]
    essence: tuple[Any, ...]


async def save(host: FakeHost, intent: Intent, options: PlanOptions, check: Check) -> Saved | None:
    """As `sbx plan -o` does it; None when the plan is refused. Raises StaleError."""
    plan = await pipeline.make_plan(intent.desired, host.layout, options)
    for wrong in wrong_in(plan, intent, host.boxes):
        check(False, wrong)
    rests_on = snapshot(await host.observe(host.layout, plan.project), plan.steps)
    if has_errors(plan.diagnostics):
        return None
    if plan.steps and fingerprint(rests_on) != plan.observation:
        raise StaleError("something changed while the plan was made")
    saved = SavedPlan(plan, rests_on)
    text = encode(saved, _SEAL, _PROGRAM)
    read = decode(text.encode(), _SEAL, _PROGRAM)
    check(repr(read) == repr(saved), f"{saved} is read back as {read}")  # which shows fields that are not compared too
    return Saved(text, intent, surroundings(host, plan), essence(host, plan))


async def read_unmoved(host: FakeHost, saved: Saved) -> Plan:
    """The plan, as `sbx apply` reads it. Raises StaleError when something moved."""
    read = decode(saved.text.encode(), _SEAL, _PROGRAM)
    now = snapshot(await host.observe(host.layout, read.plan.project), read.plan.steps)
    if told := moved(read.rests_on, now):
        raise StaleError("; ".join(told))
    if fingerprint(now) != fingerprint(read.rests_on):
        host.violations.append("something moved, and nothing says what")
    return read.plan


def plan_in(saved: Saved) -> Plan:
    """The same, whatever has moved."""
    return decode(saved.text.encode(), _SEAL, _PROGRAM).plan


def surroundings(host: FakeHost, plan: Plan) -> tuple[Any, ...]:
    """All that steps of a plan may rest on: while this is the same, the plan may not be refused."""
    return (
        *(_whole(host, id) for id in _ids(plan)),
        *(_volume(host, name) for name in _volumes(plan)),
        *(host.images.get(digest) for digest in _images(plan)),
        host.platform,
    )


def essence(host: FakeHost, plan: Plan) -> tuple[Any, ...]:
    """What steps of a plan rest on in any case: when this is another, nothing of it may be done."""
    boxes = [host.boxes.get(id) for id in _ids(plan)]
    return (
        *(box and (box.record, box.disk is not None) for box in boxes),
        *(volume and volume[0] for volume in (_volume(host, name) for name in _volumes(plan))),
    )


def _ids(plan: Plan) -> list[SandboxId]:
    return sorted({id for step in plan.steps if (id := concerned(step.operation)) is not None})


def _volumes(plan: Plan) -> list[str]:
    return sorted({id.name for step in plan.steps for id in concerned_volumes(step.operation)})


def _images(plan: Plan) -> list[str]:
    operations = [step.operation for step in plan.steps]
    built = {each.template.recipe.digest for each in operations if isinstance(each, BuildImage)}
    return sorted({each.spec.image.digest for each in operations if isinstance(each, CreateSandbox)} - built)


def _whole(host: FakeHost, id: SandboxId) -> Any:
    box = host.boxes.get(id)
    if box is None:
        return None
    supervisor = box.supervisor
    answers = supervisor and (supervisor.status(), supervisor.hanging, supervisor.outdated, dict(supervisor.values))
    return box.record, box.disk, box.asleep, supervisor, answers, os.environ[KEY]


def _volume(host: FakeHost, name: str) -> Any:
    volume = host.volumes.disks.get(name)
    return volume and (volume.size, volume.holder, volume.content)
