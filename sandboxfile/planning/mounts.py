"""The volumes in one sandbox: which are there, and what differs of them. Pure; the project's side is in `volumes`."""

from collections.abc import Iterator

from sandboxfile.model.desired import DesiredSandbox, Mount
from sandboxfile.model.observed import Applied, Machine
from sandboxfile.model.plan import FieldChange


def mounted(applied: Applied, machine: Machine | None) -> tuple[Mount, ...]:
    """The volumes that are there: the running machine's, else what the next start will mount."""
    if machine is None or machine.health == "starting":
        return applied.spec.mounts
    return machine.mounts


def mount_changes(spec: DesiredSandbox, applied: Applied, machine: Machine | None) -> Iterator[FieldChange]:
    """A change for each target that gets another volume, or none."""
    before = {mount.target: mount.volume for mount in mounted(applied, machine)}
    after = {mount.target: mount.volume for mount in spec.mounts}
    for target in sorted(before.keys() | after.keys()):
        was, will = before.get(target), after.get(target)
        if was != will:
            yield FieldChange(f"volumes.{target}", was, will, "live", "volumes come and go while the machine runs")


def superfluous(spec: DesiredSandbox, applied: Applied, machine: Machine | None) -> list[Mount]:
    """What is to be unplugged, sorted."""
    return sorted(set(mounted(applied, machine)) - set(spec.mounts))


def missing(spec: DesiredSandbox, applied: Applied, machine: Machine | None) -> list[Mount]:
    """What is to be plugged in, sorted."""
    return sorted(set(spec.mounts) - set(mounted(applied, machine)))
