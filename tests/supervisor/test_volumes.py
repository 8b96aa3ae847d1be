"""Plugging volumes in and out while things break: which steps in which order, and what is left; with acted machines."""

from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from sandboxfile.errors import BusyError, GuestError, MachineError, NotFoundError
from sandboxfile.guest.channel import Ended, Guest
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories
from sandboxfile.host.volumes import volume_holder
from sandboxfile.model.desired import Mount
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.supervisor import volumes as module
from sandboxfile.supervisor.volumes import Volumes
from sandboxfile.vm.launch import RunningMachine

pytestmark = pytest.mark.anyio
WEB, DB = SandboxId("shop", "web"), SandboxId("shop", "db")
DATA, CACHE = Mount("/data", "data"), Mount("/src/cache", "cache")


class Acted:
    """A machine, its QMP and its guest in one; `steps` is what was done, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.plugged: dict[str, Path] = {}
        self.sizes: dict[str, int] = {}
        self.failing = ""
        self.said = ""
        self.qmp = self

    async def devices(self) -> frozenset[str]:
        return frozenset({"slot0", *(f"disk-0-{tag}" for tag in self.plugged)})

    def slot_number(self, tag: str) -> int:
        return int(tag.removeprefix("volume"))

    async def run(self, argv: tuple[str, ...], timeout: float) -> Ended:
        words = " ".join(argv).replace("/run/sbx/bin/", "").removeprefix("sh -c ")
        self.steps.append(words)
        return Ended(1, self.said) if self.failing and self.failing in words else Ended(0, "")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    ensure_directories(layout)
    for name in ("data", "cache"):
        paths = layout.volume(VolumeId("shop", name))
        paths.root.mkdir(parents=True)
        paths.disk.touch()
    return layout


@pytest.fixture(autouse=True)
def _plugging(monkeypatch: pytest.MonkeyPatch) -> None:
    async def plug(machine: Any, tag: str, disk: Path, lock: int) -> None:
        if machine.failing == "plug":
            raise MachineError("all places are taken")
        machine.plugged[tag] = disk
        machine.steps.append(f"plug {tag} {disk.parent.name}")

    async def unplug(machine: Any, tag: str) -> None:
        if machine.failing == "unplug":
            raise MachineError("the guest does not let go")
        machine.plugged.pop(tag, None)
        machine.steps.append(f"unplug {tag}")

    async def grow(machine: Any, tag: str, size: int) -> None:
        machine.sizes[tag] = size

    monkeypatch.setattr(module, "plug_disk", plug)
    monkeypatch.setattr(module, "unplug_disk", unplug)
    monkeypatch.setattr(module, "grow_plugged_disk", grow)


async def ready(layout: Layout, *mounts: Mount, id: SandboxId = WEB) -> tuple[Volumes, Acted]:
    acted, volumes = Acted(), Volumes(layout, id)
    await volumes.hold_all(mounts)
    await volumes.plug_all(cast(RunningMachine, acted))
    volumes.guest = cast(Guest, acted)
    await volumes.mount_all()
    return volumes, acted


def holder(layout: Layout, name: str) -> SandboxId | None:
    return volume_holder(layout, VolumeId("shop", name))


async def test_at_boot_all_are_held_plugged_in_and_mounted_in_one_go(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA, CACHE)
    mounted = "sbx-mount-volume volume1 /data && sbx-mount-volume volume2 /src/cache"
    assert acted.steps == ["plug volume1 data", "plug volume2 cache", mounted]
    assert await volumes.attached() == (DATA, CACHE)
    assert holder(layout, "data") == WEB
    volumes.close()
    assert holder(layout, "data") is None


async def test_one_comes_and_goes_and_is_held_in_between(layout: Layout) -> None:
    volumes, acted = await ready(layout)
    await volumes.attach(DATA)
    assert await volumes.attached() == (DATA,)
    assert holder(layout, "data") == WEB
    await volumes.attach(DATA)  # again: only looked at
    await volumes.detach("/data")
    await volumes.detach("/data")
    assert acted.steps == [
        "plug volume1 data",
        "sbx-mount-volume volume1 /data",
        "sbx-mount-volume volume1 /data",
        "sbx-umount-volume volume1 /data",
        "echo 0 >/sys/bus/pci/slots/1/power",
        "unplug volume1",
    ]
    assert holder(layout, "data") is None


async def test_one_that_programs_use_stays_and_they_are_named(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA)
    acted.failing, acted.said = "sbx-umount-volume", "sbx-umount-volume: in use by node server.js (212)\n"
    with pytest.raises(BusyError) as caught:
        await volumes.detach("/data")
    assert caught.value.message == "the volume data cannot be unmounted: in use by node server.js (212)"
    assert await volumes.attached() == (DATA,)
    assert holder(layout, "data") == WEB
    assert not any("unplug" in step or "power" in step for step in acted.steps)
    volumes.close()


async def test_one_that_the_guest_does_not_let_go_of_nobody_else_gets(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA)
    acted.failing = "unplug"
    with pytest.raises(MachineError):
        await volumes.detach("/data")
    assert holder(layout, "data") == WEB
    assert await volumes.attached() == ()  # it is unmounted: whoever wants it back has to say so
    acted.failing = ""
    await volumes.detach("/data")
    assert holder(layout, "data") is None


@pytest.mark.parametrize(("failing", "error"), [("plug", MachineError), ("sbx-mount-volume", GuestError)])
async def test_one_that_cannot_be_attached_is_not_held(layout: Layout, failing: str, error: type[Exception]) -> None:
    volumes, acted = await ready(layout)
    acted.failing = failing
    with pytest.raises(error):
        await volumes.attach(DATA)
    assert acted.plugged == {}
    assert await volumes.attached() == ()
    assert holder(layout, "data") is None


async def test_one_that_another_sandbox_has_or_that_does_not_exist_is_refused(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandboxfile.host.volumes._PATIENCE", 0.0)
    first, _ = await ready(layout, DATA, id=DB)
    second, acted = await ready(layout)
    with pytest.raises(BusyError, match="shop/db"):
        await second.attach(DATA)
    with pytest.raises(NotFoundError):
        await second.attach(Mount("/x", "gone"))
    assert acted.steps == []
    first.close()


async def test_at_another_target_it_is_unplugged_first(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA)
    await volumes.attach(Mount("/srv", "data"))
    assert await volumes.attached() == (Mount("/srv", "data"),)
    assert acted.steps.index("unplug volume1") < acted.steps.index("plug volume2 data")
    volumes.close()


async def test_one_that_somebody_unplugged_is_missed_and_comes_back(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA)
    acted.plugged.clear()
    assert await volumes.attached() == ()
    await volumes.attach(DATA)
    assert await volumes.attached() == (DATA,)
    assert "sbx-umount-volume volume1 /data" in acted.steps
    volumes.close()


async def test_it_grows_with_its_file_system_where_it_is_plugged_in(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA)
    await volumes.grow("data", 5 << 30)
    assert acted.sizes == {"volume1": 5 << 30}
    assert acted.steps[-1] == "sbx-mount-volume volume1 /data"
    with pytest.raises(NotFoundError):
        await volumes.grow("cache", 5 << 30)
    volumes.close()


async def test_those_inside_a_workspace_are_mounted_again_after_it(layout: Layout) -> None:
    volumes, acted = await ready(layout, DATA, CACHE)
    before = len(acted.steps)
    await volumes.mount_below("/src")
    await volumes.mount_below("/sr")
    assert acted.steps[before:] == ["sbx-mount-volume volume2 /src/cache"]
    volumes.close()


async def test_changes_go_one_by_one(layout: Layout) -> None:
    volumes, acted = await ready(layout)
    async with anyio.create_task_group() as group:
        group.start_soon(volumes.attach, DATA)
        group.start_soon(volumes.attach, CACHE)
    plugs = [index for index, step in enumerate(acted.steps) if step.startswith("plug")]
    assert plugs == [0, 2]
    volumes.close()
