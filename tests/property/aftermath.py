"""What must be after a command that nobody disturbed."""

from collections.abc import Mapping
from dataclasses import replace

from sandboxfile.model.history import Before
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

from .asking import Intent
from .checks import Broken
from .fake_host import FakeHost
from .fake_supervisor import Box, Disk
from .pools import PROJECT


def left_alone(host: FakeHost, intent: Intent, before: Mapping[SandboxId, tuple[Disk | None, Applied | None]]) -> None:
    """What was not meant is as it was."""
    for id, (disk, record) in before.items():
        box = host.boxes.get(id)
        now = (box.disk, box.record and box.record.spec) if box is not None else None
        if not intent.means(id) and now != (disk, record and record.spec):
            raise Broken(f"{id} was changed, and only {intent.scope} were asked for")


def as_it_was(host: FakeHost, before: Before, there: Mapping[SandboxId, Box], allow_destroy: bool) -> None:
    """After a rollback: all that was there is, with the disk that it had, unless that is gone for good; and of
    what was made since only what is protected.
    """
    for was in before.sandboxes:
        box = host.boxes.get(was.id)
        if box is None or box.record is None:
            raise Broken(f"{was.id} did not come back")
        if was.id in there and was.is_same(there[was.id].record) and not was.is_same(box.record):
            raise Broken(f"{was.id} came back without its disk")
        if replace(box.record.spec, resources=was.applied.spec.resources) != was.applied.spec:
            raise Broken(f"{was.id} has other settings than before")
        if was.running != (box.supervisor is not None) and not box.asleep:
            raise Broken(f"{was.id} runs, or does not, unlike before")

    ids = {was.id for was in before.sandboxes}
    others = [b.record for id, b in host.boxes.items() if id not in ids and id.project == PROJECT and b.record]
    if any(record.created_at >= before.at and (allow_destroy or not record.spec.protect) for record in others):
        raise Broken("something was made since, and is there")
