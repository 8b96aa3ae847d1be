"""One run of a healthcheck: what its exit code means, its time, and that nothing of it is left. The guest is acted."""

from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest
import trio.testing

from sandboxfile.errors import GuestError
from sandboxfile.guest.channel import Guest
from sandboxfile.guest.process import Process
from sandboxfile.host.tasks import beside
from sandboxfile.model.desired import Command, DesiredSandbox, Healthcheck, Image, Workspace
from sandboxfile.names import SandboxId
from sandboxfile.supervisor.checking import OUTPUT_LIMIT, run_check
from sandboxfile.supervisor.health import Finding

pytestmark = pytest.mark.anyio
SPEC = DesiredSandbox(
    SandboxId("p", "box"), "dev", Image("d" * 64), workspaces=(Workspace("/src", "/src"),), env=(("A", "1"),)
)
CHECK = Healthcheck(Command(("probe", "-x")), timeout=3.0)


@pytest.fixture
def anyio_backend() -> object:
    return ("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})


class Channel:
    """A process inside that does `behave` when its input has ended: at once, for it gets none."""

    def __init__(self, process: Process, behave: Callable[[Process], None]) -> None:
        self._process = process
        self._behave = behave
        process.connection_made(self)

    def write_eof(self) -> None:
        self._behave(self._process)

    def close(self) -> None:
        self._process.connection_lost(None)

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def send_signal(self, signal: str) -> None: ...
    def change_terminal_size(self, width: int, height: int) -> None: ...


class ActedGuest:
    """Runs one kind of program; `ended` are those that were ended by us."""

    def __init__(self, behave: Callable[[Process], None], starts_in: float = 0.0) -> None:
        self._behave = behave
        self._starts_in = starts_in
        self.started: list[dict[str, Any]] = []
        self.ended: list[Process] = []

    async def start(self, argv: tuple[str, ...], **more: Any) -> Process:
        await anyio.sleep(self._starts_in)
        self.started.append({"argv": argv, **more})
        process = Process("id")
        Channel(process, self._behave)
        return process

    async def end(self, process: Process) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1)
        self.ended.append(process)
        process.close()


def exits(code: int, output: bytes = b"") -> Callable[[Process], None]:
    def behave(process: Process) -> None:
        process.data_received(output, None)
        process.exit_status_received(code)
        process.eof_received()
        process.connection_lost(None)

    return behave


def hangs(process: Process) -> None:
    process.data_received(b"wait", None)


async def found(guest: ActedGuest) -> Finding:
    return await run_check(cast(Guest, guest), SPEC, (("FROM", "image"),), CHECK)


async def test_exit_code_0_is_a_success_and_any_other_is_not() -> None:
    guest = ActedGuest(exits(0, b"fine\n"))
    assert await found(guest) == Finding(True, "it exited with 0", "fine\n")
    assert await found(ActedGuest(exits(1, b"no\n"))) == Finding(False, "it exited with 1", "no\n")
    assert (await found(ActedGuest(exits(127)))).ok is False
    assert guest.ended == []


async def test_it_runs_as_the_sandboxs_user_in_its_directory_with_its_variables() -> None:
    guest = ActedGuest(exits(0))
    await found(guest)
    (started,) = guest.started
    assert (started["argv"], started["user"], started["cwd"]) == (("probe", "-x"), "agent", "/src")
    assert {("A", "1"), ("FROM", "image")} <= set(started["env"])


async def test_the_end_of_what_it_prints_is_kept_and_never_more_than_the_bound() -> None:
    finding = await found(ActedGuest(exits(1, b"x" * 100_000 + b"\xffthe end")))
    assert len(finding.output) == OUTPUT_LIMIT
    assert finding.output.endswith("\N{REPLACEMENT CHARACTER}the end")


async def test_one_that_does_not_end_in_its_time_has_failed_and_is_ended() -> None:
    guest, began = ActedGuest(hangs), anyio.current_time()
    assert await found(guest) == Finding(False, "it did not end within 3s", "wait")
    assert len(guest.ended) == 1
    assert anyio.current_time() - began == 3 + 1  # the second is that of ending it


async def test_one_that_is_not_even_started_in_its_time_has_failed() -> None:
    guest = ActedGuest(exits(0), starts_in=10)
    assert (await found(guest)).ok is False
    assert guest.started == []


async def test_one_that_nobody_wants_to_know_of_any_more_is_ended() -> None:
    guest = ActedGuest(hangs)
    async with beside() as group:
        group.start_soon(found, guest)
        await anyio.sleep(1)
    assert len(guest.ended) == 1


async def test_a_guest_that_is_lost_is_no_finding() -> None:
    def lost(process: Process) -> None:
        process.connection_lost(None)

    guest = ActedGuest(lost)
    with pytest.raises(GuestError, match="connection"):
        await found(guest)
    assert len(guest.ended) == 1
