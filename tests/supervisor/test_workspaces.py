"""Attaching and detaching while things break: which steps in which order, and what is left; with acted machines."""
# ruff: noqa: ASYNC110

from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from sandboxfile.errors import BusyError, GuestError, HostError
from sandboxfile.guest.channel import Ended, Guest
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import Mode, Workspace
from sandboxfile.supervisor import workspaces as module
from sandboxfile.supervisor.workspaces import Workspaces
from sandboxfile.vm.ids import IdMap
from sandboxfile.vm.launch import RunningMachine

pytestmark = pytest.mark.anyio
SOURCE = Workspace("/home/me/src", "/src", "rw", (".git/hooks",))
INNER = Workspace("/home/me/inner", "/src/vendor/inner", "ro")
OTHER = Workspace("/home/me/other", "/srcs", "rw")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class ActedShare:
    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.mode: Mode = workspace.mode
        self.ended = anyio.Event()
        self.closed = False
        self.busy = False
        self.stale_paths: list[str] = []
        self.output = ""

    @property
    def alive(self) -> bool:
        return not self.ended.is_set()

    async def wait(self) -> int:
        await self.ended.wait()
        return 0

    async def set_mode(self, mode: Mode) -> None:
        if self.busy:
            raise BusyError("open for writing")
        self.mode = mode

    def stale(self) -> list[str]:
        return self.stale_paths

    async def reprotect(self) -> tuple[str, ...]:
        self.stale_paths = []
        return ()

    async def close(self) -> None:
        self.closed = True
        self.ended.set()


class Acted:
    """A machine, its QMP and its guest in one; `steps` is what was done, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.plugged: dict[str, ActedShare] = {}
        self.idle = True
        self.failing = ""
        self.qmp = self

    async def status(self) -> str:
        return "running"

    async def devices(self) -> frozenset[str]:
        return frozenset({"slot0", *(f"share-0-{tag}" for tag in self.plugged)})

    def slot_number(self, tag: str) -> int:
        return int(tag.removeprefix("ws"))

    async def plug_share(self, tag: str, share: ActedShare) -> None:
        self.plugged[tag] = share
        self.steps.append(f"plug {tag}")

    async def unplug_share(self, tag: str) -> None:
        self.plugged.pop(tag, None)
        self.steps.append(f"unplug {tag}")

    async def share_is_idle(self, tag: str) -> bool:
        return self.idle

    async def run(self, argv: tuple[str, ...], timeout: float) -> Ended:
        words = " ".join(argv).replace("/run/sbx/bin/", "")
        self.steps.append("bury" if "unshare" in words else words.removeprefix("sh -c "))
        if self.failing and self.failing in words:
            return Ended(1, "no")
        return Ended(0, "")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> dict[str, ActedShare]:
    """The file servers that run, by target."""
    shares: dict[str, ActedShare] = {}

    async def serve_share(workspace: Workspace, ids: IdMap, run_dir: Path) -> Any:
        if "missing" in workspace.source:
            raise HostError("it does not exist")
        shares[workspace.target] = ActedShare(workspace)
        return shares[workspace.target]

    monkeypatch.setattr(module, "serve_share", serve_share)
    return shares


async def ready(*attached: Workspace) -> tuple[Workspaces, Acted]:
    acted = Acted()
    workspaces = Workspaces(IdMap((), (), None), Path("/run"), lambda _: None)
    workspaces.guest = cast(Guest, acted)
    await workspaces.serve_all(attached)
    await workspaces.plug_all(cast(RunningMachine, acted))
    await workspaces.mount_all()
    return workspaces, acted


async def test_at_boot_all_are_mounted_in_one_go_parents_first(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready(INNER, SOURCE)
    tags = {share.workspace.target: tag for tag, share in acted.plugged.items()}
    assert (
        acted.steps[-1] == f"sbx-mount {tags['/src']} /src && sbx-mount {tags['/src/vendor/inner']} /src/vendor/inner"
    )
    assert await workspaces.attached() == (SOURCE, INNER)


async def test_that_files_may_have_been_exchanged_is_told_before_anything_inside_gets_at_them(
    served: dict[str, ActedShare], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WATCH_INTERVAL", 0.01)
    told: list[tuple[Workspace, list[str]]] = []
    acted = Acted()

    def note(workspace: Workspace) -> None:
        told.append((workspace, list(acted.plugged)))
        if len(told) == 2:
            assert served["/src"].stale_paths, "protected again before it was told"
        if len(told) > 1:
            raise HostError("no record")

    workspaces = Workspaces(IdMap((), (), None), Path("/run"), note)
    workspaces.guest = cast(Guest, acted)
    await workspaces.serve_all([SOURCE])
    assert told == [(SOURCE, [])]
    await workspaces.plug_all(cast(RunningMachine, acted))
    async with beside(workspaces.watch):
        served["/src"].stale_paths = [".git/hooks"]
        with anyio.fail_after(5):
            while served["/src"].stale_paths:
                await anyio.sleep(0.01)
        assert len(told) == 2
        await workspaces.attach(OTHER)
        assert told[2] == (OTHER, ["ws1"])


async def test_what_is_attached_already_is_left_alone(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready(SOURCE)
    before = len(acted.steps)
    await workspaces.attach(SOURCE)
    assert acted.steps[before:] == ["sbx-mount ws1 /src"]


async def test_a_mode_is_changed_in_place_and_by_a_new_share_when_files_are_open(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready(SOURCE)
    share, read_only = served["/src"], Workspace("/home/me/src", "/src", "ro", (".git/hooks",))
    await workspaces.attach(read_only)
    assert (share.mode, await workspaces.attached()) == ("ro", (read_only,))
    share.busy = True
    await workspaces.attach(SOURCE)
    assert share.closed
    assert await workspaces.attached() == (SOURCE,)
    assert list(acted.plugged) == ["ws2"]


async def test_detaching_unmounts_before_it_unplugs_and_again_is_nothing(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready(SOURCE)
    before = len(acted.steps)
    await workspaces.detach("/src")
    await workspaces.detach("/src")
    assert acted.steps[before:] == ["sbx-umount /src", "echo 0 >/sys/bus/pci/slots/1/power", "unplug ws1"]
    assert served["/src"].closed
    assert await workspaces.attached() == ()


async def test_those_inside_another_are_mounted_again_after_it(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready(SOURCE, INNER, OTHER)
    await workspaces.attach(Workspace("/home/me/elsewhere", "/src"))
    assert acted.steps[-1] == "sbx-mount ws4 /src && sbx-mount ws2 /src/vendor/inner"
    await workspaces.detach("/src")
    assert acted.steps[-1] == "sbx-mount ws2 /src/vendor/inner"


async def test_a_failed_attach_leaves_nothing_behind(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready()
    with pytest.raises(HostError):
        await workspaces.attach(Workspace("/missing", "/x"))
    acted.failing = "sbx-mount"
    with pytest.raises(GuestError, match="failed inside"):
        await workspaces.attach(SOURCE)
    assert acted.plugged == {}
    assert served["/src"].closed
    assert await workspaces.attached() == ()


async def test_a_file_server_that_dies_idle_is_unplugged_at_once_and_attached_anew(
    served: dict[str, ActedShare],
) -> None:
    workspaces, acted = await ready(SOURCE)
    async with beside(workspaces.watch):
        served["/src"].ended.set()
        await anyio.sleep(0.1)
        assert acted.plugged == {}
        assert await workspaces.attached() == ()
        before = len(acted.steps)
        await workspaces.attach(SOURCE)
        assert acted.steps[before:] == ["umount -l /src", "plug ws2", "sbx-mount ws2 /src"]
        assert await workspaces.attached() == (SOURCE,)
        served["/src"].ended.set()
        await anyio.sleep(0.1)
        assert acted.plugged == {}, "a later one is watched, too"
    assert not workspaces.stuck


async def test_one_that_dies_under_its_users_is_buried_and_never_unplugged(served: dict[str, ActedShare]) -> None:
    workspaces, acted = await ready(SOURCE)
    async with beside(workspaces.watch):
        acted.idle = False
        served["/src"].ended.set()
        await anyio.sleep(0.1)
        assert workspaces.stuck
        await workspaces.attach(SOURCE)
    assert acted.steps[-3:] == ["bury", "plug ws2", "sbx-mount ws2 /src"]
    assert list(acted.plugged) == ["ws1", "ws2"]
    assert await workspaces.attached() == (SOURCE,)


async def test_a_device_that_somebody_else_unplugged_is_not_attached_and_is_mended(
    served: dict[str, ActedShare],
) -> None:
    workspaces, acted = await ready(SOURCE)
    acted.plugged.clear()
    assert await workspaces.attached() == ()
    before = len(acted.steps)
    await workspaces.attach(SOURCE)
    assert acted.steps[before:] == ["umount -l /src", "unplug ws1", "plug ws2", "sbx-mount ws2 /src"]


async def test_what_the_host_replaced_is_protected_again(
    served: dict[str, ActedShare], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_WATCH_INTERVAL", 0.02)
    workspaces, _ = await ready(SOURCE)
    served["/src"].stale_paths = [".git/hooks"]
    with anyio.fail_after(5):
        async with beside(workspaces.watch):
            while served["/src"].stale_paths:
                await anyio.sleep(0.01)
            await anyio.sleep(0.05)
    assert "protected again: .git/hooks" in capfd.readouterr().err
