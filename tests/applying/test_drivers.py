"""The operations on this host: what each asks and writes, in which order, and that again does no harm."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import anyio
import pytest

from sandboxfile import pipeline
from sandboxfile.applying import drivers, machines
from sandboxfile.applying.drivers import HostDrivers
from sandboxfile.control import messages
from sandboxfile.errors import ControlError, HostError, SandboxfileError
from sandboxfile.host import checkpoints, history
from sandboxfile.host.checkpoints import list_checkpoints
from sandboxfile.host.statedir import is_locked, read_record, write_record
from sandboxfile.host.volumes import volume_source
from sandboxfile.model import plan as operations
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import Command, DesiredState, Mount, Port, Workspace
from sandboxfile.model.plan import PlanOptions
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.observe import observe
from sandboxfile.planning import plan
from sandboxfile.vm.disks import create_overlay, disk_size

WEB = SandboxId("shop", "web")


def do(home, *wanted):
    """Run operations, one after the other."""

    async def main():
        host = HostDrivers(home.layout, partial(observe, home.layout))
        for operation in wanted:
            await host.run(operation, home.told.append)

    anyio.run(main)


def record(home):
    return read_record(home.paths)


@pytest.fixture
def running(home):
    do(home, operations.StartSandbox(WEB))
    return home


def test_what_a_supervisor_does_is_asked_of_it(running):
    workspace = Workspace("/src", "/src")
    do(
        running,
        operations.AttachWorkspace(WEB, workspace),
        operations.DetachWorkspace(WEB, "/src"),
        operations.AttachVolume(WEB, Mount("/data", "data")),
        operations.DetachVolume(WEB, "/data"),
        operations.SetPolicy(WEB, NO_POLICY),
        operations.ResumeSandbox(WEB),
        operations.StartMain(WEB),
        operations.GrowDisk(WEB, 1 << 30),
        operations.SetPorts(WEB, (Port(8080, 80),)),
        operations.CheckAgent(WEB),
        operations.WaitFor(WEB, "healthy"),
    )
    mounts = ["Attach", "Detach", "AttachVolume", "DetachVolume"]
    asked = [*mounts, "SetPolicy", "Resume", "StartMain", "GrowDisk", "SetPorts", "CheckAgent", "WaitHealthy"]
    assert running.asked() == ["WaitReady", *asked]


def test_volumes_are_made_made_larger_and_deleted_and_again_does_no_harm(home):
    data = VolumeId("shop", "data")
    disk = home.layout.volume(data).disk
    do(home, *[operations.CreateVolume(data, 1 << 30)] * 2, *[operations.GrowVolume(data, 2 << 30)] * 2)
    assert anyio.run(disk_size, disk) == 2 << 30
    do(home, *[operations.RecordVolume(data, "/f")] * 2)
    assert volume_source(home.layout, data) == "/f"
    do(home, *[operations.DeleteVolume(data)] * 2)
    assert not disk.exists()


def with_key(home, **fields):
    """The sandbox's policy has a credential that comes from the variable KEY."""
    credential = Credential("key", SecretSource("env", "KEY"), (Injection("api.example.com", name="X-Key"),), **fields)
    applied = record(home)
    policy = replace(NO_POLICY, credentials=(credential,))
    write_record(home.paths, replace(applied, spec=replace(applied.spec, policy=policy)))
    return policy


def test_values_from_the_environment_are_told_before_anything_boots_and_written_nowhere(home, monkeypatch):
    with_key(home)
    monkeypatch.setenv("KEY", "hunter2")
    do(home, operations.StartSandbox(WEB))
    assert home.asked() == ["Provide", "WaitReady"]
    for path in home.layout.state.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_values_come_after_the_policy_that_says_what_they_are_for(running, monkeypatch):
    policy = with_key(running)
    monkeypatch.setenv("KEY", "hunter2")
    do(running, operations.SetPolicy(WEB, policy), operations.ProvideSecrets(WEB, policy.credentials))
    assert running.asked()[1:] == ["SetPolicy", "Provide", "Provide"]


def test_what_the_environment_does_not_have_is_not_told(home, monkeypatch):
    with_key(home)
    monkeypatch.delenv("KEY", raising=False)
    do(home, operations.StartSandbox(WEB))
    assert home.asked() == ["WaitReady"]


@pytest.mark.parametrize(
    "operation",
    [
        operations.AttachWorkspace(WEB, Workspace("/a", "/a")),
        operations.RunSetup(WEB),
        operations.SetPolicy(WEB, NO_POLICY),
    ],
)
def test_asking_one_that_does_not_run_fails(home, operation):
    with pytest.raises(ControlError, match="no supervisor answers"):
        do(home, operation)


def test_a_policy_that_is_refused_is_an_error_of_its_step(running):
    running.behave("refuses")
    do(running, operations.StopSandbox(WEB), operations.StartSandbox(WEB))
    with pytest.raises(HostError, match="refuses the policy") as caught:
        do(running, operations.SetPolicy(WEB, NO_POLICY))
    assert caught.value.hint == "mend it"


def test_the_whole_policy_comes_over_the_wire(running):
    rule = Rule("*.example.com:443", methods=("GET",), paths=("/a/**",), reason="why", place="sandbox.yaml:1:2")
    policy = Policy(
        (Layer("file policy team", "allow", enforced=True), Layer("policy web", allow=(rule,))), (("A", "b"),)
    )
    do(running, operations.SetPolicy(WEB, policy))
    assert str(messages.SetPolicy(policy)) in (running.paths.root / "asked").read_text()


def test_setup_goes_on_where_it_was(running):
    write_record(running.paths, replace(record(running), setup_done=1))
    do(running, operations.RunSetup(WEB))
    assert record(running).setup_done == 3
    assert running.told == ["booting the guest", "line of 1", "line of 2"]
    do(running, operations.RunSetup(WEB))
    assert len(running.told) == 3


def test_the_record_of_a_stopped_sandbox_is_written(home):
    spec = replace(record(home).spec, env=(("A", "1"),))
    do(home, operations.UpdateRecord(spec, "/q/sandbox.yaml"))
    assert record(home).spec == spec
    assert record(home).source == "/q/sandbox.yaml"
    assert record(home).created_at == "2026-01-01T00:00:00+00:00"
    assert home.asked() == []


def test_a_running_supervisor_is_told_before_the_record_is_written(running, monkeypatch):
    """Interrupted in between, the record is the old one, and the next plan sees the difference."""
    before, spec = record(running), replace(record(running).spec, env=(("A", "1"),))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(drivers, "write_record", killed)
    with pytest.raises(KeyboardInterrupt):
        do(running, operations.UpdateRecord(spec, "/p/sandbox.yaml"))
    assert running.asked()[-1] == "Update"
    assert record(running) == before


def test_setup_that_has_finished_stays_finished_whatever_the_list_says_now(home):
    write_record(home.paths, replace(record(home), setup_done=3))
    more = replace(record(home).spec, setup=tuple(Command((word,)) for word in "abcde"))
    do(home, operations.UpdateRecord(more, "/p/sandbox.yaml"))
    assert record(home).setup_done == 5


def test_setup_that_has_not_finished_goes_on_at_the_first_new_command(home):
    write_record(home.paths, replace(record(home), setup_done=2))
    edited = replace(record(home).spec, setup=(Command(("one",)), Command(("TWO",)), Command(("three",))))
    do(home, operations.UpdateRecord(edited, "/p/sandbox.yaml"))
    assert record(home).setup_done == 1


def test_the_disk_of_a_stopped_sandbox_grows_and_never_shrinks(home):
    home.paths.base.write_bytes(b"x")
    anyio.run(create_overlay, home.paths.base, home.paths.disk, 1 << 20)
    for wanted, there in ((4 << 20, 4 << 20), (4 << 20, 4 << 20), (2 << 20, 4 << 20)):
        do(home, operations.GrowDisk(WEB, wanted))
        assert anyio.run(disk_size, home.paths.disk) == there


def test_start_stop_and_delete_end_where_they_began(home):
    do(home, operations.StartSandbox(WEB), operations.StopSandbox(WEB), operations.StopSandbox(WEB))
    assert not is_locked(home.paths.lock)
    home.paths.authority.write_text("a private key")
    do(home, operations.DeleteSandbox(WEB), operations.DeleteSandbox(WEB))
    assert not home.paths.root.exists()
    assert not list(home.layout.state.rglob("authority*"))


def test_a_checkpoint_is_made_of_a_stopped_one_here_and_of_a_running_one_by_its_supervisor(home):
    for file in (home.paths.disk, home.paths.base, home.paths.tree, home.paths.image):
        file.write_bytes(b"x")
    do(home, *[operations.CheckpointSandbox(WEB, "before-20261121-223405")] * 2)
    labels = sorted(each.label for each in list_checkpoints(home.paths))
    assert labels == ["before-20261121-223405", "before-20261121-223405-2"]
    do(home, operations.StartSandbox(WEB), operations.CheckpointSandbox(WEB, "good"), operations.StopSandbox(WEB))
    assert "CopyDisk" in home.asked()


def test_one_that_cannot_be_made_leaves_everything_else_undone(home, monkeypatch):
    def full(*given):
        raise HostError("cannot copy the disk: No space left on device", hint="is the disk full?")

    for file in (home.paths.disk, home.paths.base, home.paths.tree, home.paths.image):
        file.write_bytes(b"x")
    monkeypatch.setattr(checkpoints, "copy_file", full)
    found = anyio.run(observe, home.layout, "shop")
    options = PlanOptions(remove_orphans=True, checkpoint="before-20261121-223405")
    made = plan(DesiredState("shop", "/p/sandbox.yaml", ()), found, options)
    outcome = anyio.run(pipeline.apply_plan, made, home.layout, lambda event: None)
    assert [key for key, _ in outcome.failed] == ["checkpoint web"]
    assert outcome.skipped == ("delete web",)
    assert home.paths.disk.exists()
    assert list_checkpoints(home.paths) == []
    assert history.is_finished(home.layout, "shop")


def test_what_is_put_aside_comes_back_and_again_does_no_harm(home):
    before = record(home)
    history.begin(home.layout, "shop", datetime.now(UTC))
    do(home, *[operations.DeleteSandbox(WEB, keep=True)] * 2)
    assert not home.paths.root.exists()
    do(home, *[operations.BringBack(WEB)] * 2)
    assert record(home) == before


def test_a_supervisor_that_is_silent_is_not_waited_for_for_ever(running, monkeypatch):
    monkeypatch.setattr(machines, "_PATIENCE", 0.3)
    monkeypatch.setattr(drivers, "_ANSWER_TIMEOUT", 0.3)
    do(running, operations.StopSandbox(WEB))
    running.behave("silent")
    monkeypatch.setattr(machines, "_READY_TIMEOUT", 0.3)
    with pytest.raises(SandboxfileError):
        do(running, operations.StartSandbox(WEB))
    spec = record(running).spec
    with pytest.raises(ControlError, match="did not answer within"):
        do(running, operations.UpdateRecord(spec, "/p/sandbox.yaml"))
