"""The volumes of the fake host: disks that no sandbox owns, and that one machine at a time may have."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandboxfile.errors import BusyError, HostError
from sandboxfile.model import plan as operations
from sandboxfile.model.observed import ObservedVolume
from sandboxfile.names import VolumeId

if TYPE_CHECKING:
    from .fake_host import FakeHost
    from .fake_supervisor import Supervisor


@dataclass(eq=False)
class FakeVolume:
    """`content` names what is on it: another disk, another content."""

    size: int
    content: int
    holder: "Supervisor | None" = None


class FakeVolumes:
    """By name, those of the only project."""

    def __init__(self, host: "FakeHost") -> None:
        self._host = host
        self.disks: dict[str, FakeVolume] = {}

    def observe(self, project: str) -> tuple[ObservedVolume, ...]:
        return tuple(
            ObservedVolume(VolumeId(project, name), volume.size, volume.holder.spec.id if volume.holder else None)
            for name, volume in sorted(self.disks.items())
        )

    async def change(self, layout: Any, operation: Any) -> None:
        """As the driver does it."""
        await self._host.point()
        self._host.changes += 1
        name = operation.id.name
        match operation:
            case operations.DeleteVolume():
                if name in self.disks and self.disks[name].holder is not None:
                    raise BusyError(f"the volume {name} is in use")
                if name in self.disks and (wrong := self._host.may_delete_volume(name)) is not None:
                    self._host.violations.append(wrong)
                self.disks.pop(name, None)
            case operations.CreateVolume(_, size) if name not in self.disks:
                self.disks[name] = FakeVolume(size, self._host.changes)
            case operations.CreateVolume(_, size) | operations.GrowVolume(_, size):
                self.disks[name].size = max(self.disks[name].size, size)
        await self._host.point()

    def take(self, name: str, taker: "Supervisor") -> None:
        """As the lock of a volume does it. Raises HostError."""
        volume = self.disks.get(name)
        if volume is None:
            raise HostError(f"there is no volume {name}")
        if volume.holder not in (None, taker):
            raise BusyError(f"another sandbox has the volume {name}")
        volume.holder = taker

    def release(self, holder: "Supervisor", name: str | None = None) -> None:
        """One volume, or all that it has."""
        for each, volume in self.disks.items():
            if volume.holder is holder and name in (None, each):
                volume.holder = None
