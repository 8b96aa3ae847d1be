"""The machine stands still while its disk is copied, and nobody takes that for a pause."""

from types import SimpleNamespace

import anyio
import pytest

from sandboxfile.errors import GuestError, HostError, MachineError
from sandboxfile.host.checkpoints import list_checkpoints
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import write_record
from sandboxfile.model.desired import DesiredSandbox, Image
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId
from sandboxfile.supervisor import copying
from sandboxfile.supervisor import sandbox as supervisor
from sandboxfile.supervisor.copying import Copying, copy_disk
from sandboxfile.supervisor.health import Finding

ID = SandboxId("shop", "web")


class Qemu:
    """Tells a listener of stops and resumes, as QEMU does, before the command is answered."""

    def __init__(self, notice, state="running"):
        self.notice, self.state, self.gone = notice, state, False

    async def status(self):
        return self.state

    async def execute(self, command):
        assert command == "stop"
        if self.state == "running":
            self.state = "paused"
            self.notice(paused=True)

    async def resume(self):
        if self.gone:
            raise MachineError("QEMU is gone")
        self.state = "running"
        self.notice(paused=False)


class Guest:
    def __init__(self):
        self.ran, self.answers = [], True

    async def run(self, argv, timeout):
        self.ran.append(argv)
        if not self.answers:
            raise GuestError("it does not answer")


@pytest.fixture
def sandbox(tmp_path):
    paths = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run").sandbox(ID)
    paths.root.mkdir(parents=True)
    for file in (paths.disk, paths.base, paths.tree, paths.image):
        file.write_text("disk")
    write_record(paths, Applied(DesiredSandbox(ID, "shell", Image("d")), "/f", "2026-01-01T00:00:00+00:00", 0))
    found = Copying()
    seen = []

    def notice(*, paused):
        seen.append((paused, found.notice(paused=paused)))

    qemu, inside = Qemu(notice), Guest()

    async def guest():
        return inside

    async def machine():
        return SimpleNamespace(qmp=qemu)

    return SimpleNamespace(
        paths=paths, copying=found, guest=guest, machine=machine, qemu=qemu, inside=inside, seen=seen
    )


def labels(sandbox):
    return [each.label for each in list_checkpoints(sandbox.paths)]


def test_it_is_written_out_stopped_copied_and_goes_on(sandbox, monkeypatch):
    states = []
    make = copying.checkpoints.make_checkpoint

    def watched(*given):
        states.append((sandbox.qemu.state, sandbox.copying.holds))
        make(*given)

    monkeypatch.setattr(copying.checkpoints, "make_checkpoint", watched)
    anyio.run(copy_disk, sandbox, "good")
    assert states == [("paused", True)]
    assert sandbox.inside.ran
    assert labels(sandbox) == ["good"]
    assert sandbox.seen == [(True, True), (False, True)]
    assert (sandbox.qemu.state, sandbox.copying.holds) == ("running", False)
    assert not sandbox.copying.notice(paused=True), "the next pause is somebody's"


def test_one_that_is_paused_or_does_not_answer_is_copied_as_it_is(sandbox):
    sandbox.qemu.state, sandbox.inside.answers = "paused", False
    anyio.run(copy_disk, sandbox, "good")
    assert (labels(sandbox), sandbox.qemu.state, sandbox.seen) == (["good"], "paused", [])


def test_a_machine_that_somebody_lets_go_on_meanwhile_is_not_copied(sandbox, monkeypatch):
    make = copying.checkpoints.make_checkpoint

    def disturbed(*given):
        sandbox.copying.notice(paused=False)
        make(*given)

    monkeypatch.setattr(copying.checkpoints, "make_checkpoint", disturbed)
    with pytest.raises(HostError, match="went on"):
        anyio.run(copy_disk, sandbox, "good")
    assert labels(sandbox) == []
    monkeypatch.undo()
    anyio.run(copy_disk, sandbox, "good")
    assert labels(sandbox) == ["good"]


def test_what_fails_lets_it_go_on_also_when_qemu_is_gone(sandbox):
    sandbox.paths.disk.unlink()
    with pytest.raises(HostError):
        anyio.run(copy_disk, sandbox, "good")
    assert sandbox.qemu.state == "running"
    sandbox.qemu.gone = True
    with pytest.raises(HostError):
        anyio.run(copy_disk, sandbox, "good")
    assert not sandbox.copying.holds


@pytest.mark.parametrize(("copied", "expected"), [(True, [False, True]), (False, [False])])
def test_a_check_that_failed_while_the_machine_stood_still_says_nothing(sandbox, monkeypatch, copied, expected):
    looked = []

    async def run_check(*given):
        if copied and not looked:
            await copy_disk(sandbox, "good")
        looked.append(bool(looked))
        return Finding(looked[-1], "")

    monkeypatch.setattr(supervisor, "run_check", run_check)
    sandbox.spec = sandbox.image_env = None
    found = anyio.run(supervisor.Sandbox._check, sandbox, None)
    assert looked == expected
    assert found.ok is copied
