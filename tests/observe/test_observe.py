"""What is there: told from directories, locks, records and supervisors, without changing any of them."""

import json
import os
import struct
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

import sandboxfile.observe as observing
from sandboxfile.control.messages import GetStatus, StatusReply
from sandboxfile.control.server import listen, serve
from sandboxfile.errors import MachineError
from sandboxfile.guest.config import PORTS
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import ensure_directories, read_record, try_lock, write_record
from sandboxfile.host.tasks import beside
from sandboxfile.host.volumes import hold_volume, record_source
from sandboxfile.model.credential import Credential, SecretSource
from sandboxfile.model.desired import DesiredSandbox, Image, Workspace
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedVolume
from sandboxfile.model.policy import NO_POLICY
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.observe import observe, observe_all, observe_one, observe_volumes, writable_now
from sandboxfile.secrets.tags import tag
from sandboxfile.vm.machine import MachineSpec, boot_fingerprint

BOOT = boot_fingerprint(MachineSpec(2, 1 << 30, "kvm", None, PORTS))
MACHINE = Machine("running", 2, 1 << 30, 1 << 32, (), MainProcess("running"), "tcg", BOOT, "2026-01-01T00:00:00Z")


@pytest.fixture
def layout():
    with tempfile.TemporaryDirectory(prefix="sbx-", dir="/tmp") as root:
        layout = Layout(Path(root, "state"), Path(root, "cache"), Path(root, "run"))
        ensure_directories(layout)
        yield layout


def make(layout, name="web", project="shop", source="/p/sandbox.yaml"):
    """A whole sandbox that does not run."""
    id = SandboxId(project, name)
    paths = layout.sandbox(id)
    paths.root.mkdir(parents=True)
    applied = Applied(DesiredSandbox(id, "shell", Image("d")), source, "2026-01-01T00:00:00+00:00", 0)
    write_record(paths, applied)
    paths.disk.touch()
    paths.base.touch()
    return id


@asynccontextmanager
async def running(layout, id, machine=MACHINE, delay=0.0):
    """Its supervisor holds the lock and answers with `machine`, an error, or (None) never."""

    async def answer(conversation):
        assert isinstance(conversation.request, GetStatus)
        await anyio.sleep(delay)
        if machine is None:
            await anyio.sleep_forever()
        if isinstance(machine, Exception):
            raise machine
        await conversation.send(StatusReply(machine))

    paths = layout.sandbox(id)
    lock = try_lock(paths.lock)
    try:
        with listen(paths.control) as listener:
            async with beside(partial(serve, listener, answer)):
                yield
    finally:
        os.close(lock)


def look(layout, *started, one=None, project="shop"):
    """Observe while these run: `(id, options of running)`."""

    async def main():
        async with AsyncExitStack() as stack:
            for id, options in started:
                await stack.enter_async_context(running(layout, id, **options))
            return await (observe_one(layout, one) if one else observe(layout, project))

    return anyio.run(main)


def snapshot(layout):
    roots = (layout.state, layout.cache, layout.runtime)
    return {path: path.lstat().st_mtime_ns for root in roots for path in (root, *root.rglob("*"))}


def test_an_empty_world_is_observed_and_not_even_its_directories_are_made(tmp_path):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    found = look(layout)
    assert (found.sandboxes, found.images, found.platform_ready) == ((), {}, False)
    assert list(tmp_path.iterdir()) == []


def test_looking_changes_nothing(layout):
    make(layout)
    before = snapshot(layout)
    look(layout)
    anyio.run(observe_all, layout)
    assert snapshot(layout) == before


def test_volumes_are_told_with_their_size_and_who_has_them(layout):
    for project, name, size in (("shop", "data", 5), ("shop", "torn", 0), ("other", "data", 7)):
        paths = layout.volume(VolumeId(project, name))
        paths.root.mkdir(parents=True)
        header = struct.pack(">4sI16xQ", b"QFI\xfb", 3, size)
        paths.disk.write_bytes(header if size else b"")
    record_source(layout.volume(VolumeId("shop", "data")), "/nowhere/sandbox.yaml")
    lock = anyio.run(hold_volume, layout, VolumeId("shop", "data"), SandboxId("shop", "web"))
    found = look(layout).volumes
    assert look(layout).missing_sources == {"/nowhere/sandbox.yaml"}
    os.close(lock)
    assert found == (
        ObservedVolume(VolumeId("shop", "data"), 5, SandboxId("shop", "web"), "/nowhere/sandbox.yaml"),
        ObservedVolume(VolumeId("shop", "torn"), 0),
    )
    assert [volume.holder for volume in look(layout).volumes] == [None, None]
    everywhere = anyio.run(observe_volumes, layout)
    assert [str(volume.id) for volume in everywhere] == ["other/data", "shop/data", "shop/torn"]


def test_a_stopped_sandbox_is_told_from_its_record(layout):
    id = make(layout)
    found = look(layout, one=id)
    assert (found.status, found.machine, found.disk_present, found.problem) == ("stopped", None, True, None)
    assert found.applied.spec.id == id


def test_checkpoints_are_counted_and_half_made_ones_are_none(layout):
    paths = layout.sandbox(make(layout))
    assert look(layout).sandboxes[0].checkpoints == 0
    for name in ("one", "two", ".new-three", ".fork"):
        (paths.checkpoints / name).mkdir(parents=True)
    assert look(layout).sandboxes[0].checkpoints == 2


def test_asleep_is_what_was_marked_so_and_is_stopped(layout):
    id = make(layout)
    assert not look(layout, one=id).asleep
    layout.sandbox(id).asleep.touch()
    found = look(layout, one=id)
    assert (found.status, found.asleep) == ("stopped", True)
    assert not look(layout, (id, {}), one=id).asleep
    assert not look(layout, (id, {"machine": MachineError("QEMU is silent")}), one=id).asleep


def test_a_value_that_a_machine_was_not_given_is_stale(layout, monkeypatch):
    id = make(layout)
    credentials = [Credential(name, SecretSource("env", name.upper())) for name in ("new", "other", "same", "unset")]
    applied = read_record(layout.sandbox(id))
    policy = replace(NO_POLICY, credentials=(*credentials, Credential("file", SecretSource("file", "/k"))))
    write_record(layout.sandbox(id), replace(applied, spec=replace(applied.spec, policy=policy)))
    for name in ("NEW", "OTHER", "SAME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("UNSET", raising=False)
    machine = replace(MACHINE, secrets=(("other", tag("2")), ("same", tag("1")), ("unset", tag("3"))))
    (found,) = look(layout, (id, {"machine": machine})).sandboxes
    assert found.stale_secrets == ("new", "other")


@pytest.mark.parametrize("health", ["running", "paused", "starting", "stopping"])
def test_a_running_one_is_told_by_its_supervisor(layout, health):
    id = make(layout)
    machine = replace(MACHINE, health=health)
    found = look(layout, (id, {"machine": machine}), one=id)
    assert (found.status, found.machine, found.outdated) == (health, machine, False)


def test_a_machine_that_would_be_started_otherwise_now_is_outdated(layout):
    id = make(layout)
    found = look(layout, (id, {"machine": replace(MACHINE, boot="other")}), one=id)
    assert found.outdated
    starting = replace(MACHINE, boot="", health="starting")
    assert not look(layout, (id, {"machine": starting}), one=id).outdated


def test_the_version_decides_and_not_the_accelerator(layout):
    id = make(layout)
    tcg = boot_fingerprint(MachineSpec(2, 1 << 30, "tcg", 2_500_000, PORTS))
    assert not look(layout, (id, {"machine": replace(MACHINE, boot=tcg)}), one=id).outdated


@pytest.mark.parametrize("answer", [None, MachineError("QEMU does not answer")])
def test_one_that_holds_the_lock_and_does_not_tell_is_unresponsive_soon(layout, monkeypatch, answer):
    monkeypatch.setattr(observing, "_PATIENCE", 0.2)
    id = make(layout)
    found = look(layout, (id, {"machine": answer}), one=id)
    assert (found.status, found.machine) == ("unresponsive", None)


def test_one_that_holds_the_lock_and_does_not_listen_yet_is_waited_for_a_moment(layout):
    id = make(layout)

    async def main():
        lock = try_lock(layout.sandbox(id).lock)
        found, looked = [], anyio.Event()

        async def look():
            found.append(await observe_one(layout, id))
            looked.set()

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            await anyio.sleep(0.15)
            os.close(lock)
            async with running(layout, id):
                await looked.wait()
        return found[0].status

    assert anyio.run(main) == "running"


@pytest.mark.parametrize("answer", [MACHINE, None])
def test_what_runs_can_write_to_what_its_record_or_its_machine_has_and_to_anything_when_it_does_not_tell(
    layout, monkeypatch, answer
):
    monkeypatch.setattr(observing, "_PATIENCE", 0.2)
    kept, attached = Workspace("/kept", "/kept", "rw"), Workspace("/attached", "/x", "rw")
    ids = [make(layout, name) for name in ("web", "off")]
    for id in ids:
        applied = read_record(layout.sandbox(id))
        own = kept if id.name == "web" else Workspace("/off", "/off", "rw")
        spec = replace(applied.spec, workspaces=(own, Workspace("/ro", "/ro", "ro")))
        write_record(layout.sandbox(id), replace(applied, spec=spec))

    async def main():
        machine = answer and replace(answer, workspaces=(attached,))
        async with running(layout, ids[0], machine=machine):
            return await writable_now(layout)

    assert anyio.run(main) == ({"/kept", "/attached"} if answer else {"/"})


def test_the_socket_of_a_supervisor_that_was_killed_is_no_sign_of_life(layout):
    id = make(layout)
    listen(layout.sandbox(id).control).close()
    assert look(layout, one=id).status == "stopped"


def test_all_are_asked_at_the_same_time(layout):
    ids = [make(layout, f"b{number}") for number in range(8)]

    async def main():
        async with AsyncExitStack() as stack:
            for id in ids:
                await stack.enter_async_context(running(layout, id, delay=0.3))
            began = anyio.current_time()
            found = await observe(layout, "shop")
            return found, anyio.current_time() - began

    found, seconds = anyio.run(main)
    assert [sandbox.id for sandbox in found.sandboxes] == ids
    assert seconds < 1.5


@pytest.mark.parametrize("name", ["disk", "base"])
def test_a_deleted_disk_is_missed(layout, name):
    id = make(layout)
    getattr(layout.sandbox(id), name).unlink()
    assert not look(layout, one=id).disk_present


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "is missing"),
        (b"", "cannot be read"),
        (b'{"version": 2, "sp', "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"version": 99}', "version 99"),
        (b'{"version": 3, "spec": {}}', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_record_that_cannot_be_used_is_a_problem_of_that_sandbox_alone(layout, content, problem):
    id, other = make(layout), make(layout, "whole")
    record = layout.sandbox(id).record
    record.unlink() if content is None else record.write_bytes(content)
    broken, whole = look(layout).sandboxes
    assert (broken.id, broken.applied) == (id, None)
    assert problem in broken.problem
    assert (whole.id, whole.problem) == (other, None)


def test_a_record_of_another_sandbox_is_not_believed(layout):
    id, other = make(layout), make(layout, "other")
    layout.sandbox(id).record.write_bytes(layout.sandbox(other).record.read_bytes())
    found = look(layout, one=id)
    assert found.applied is None
    assert "is that of shop/other" in found.problem


def test_one_that_is_deleted_while_we_look_is_not_there(layout, monkeypatch):
    id, other = make(layout), make(layout, "other")
    original = observing.is_locked

    def delete_and_look(path):
        paths = layout.sandbox(id)
        if paths.root.exists():
            paths.root.rename(layout.trash / "x")
        return original(path)

    monkeypatch.setattr(observing, "is_locked", delete_and_look)
    monkeypatch.setattr(observing, "read_record", lambda paths: (_ for _ in ()).throw(observing.StateError("missing")))
    assert [sandbox.id for sandbox in look(layout).sandboxes] == [other]


def test_what_is_no_sandbox_is_passed_over(layout):
    make(layout)
    for name in (".new-api", "lost+found", "UPPER"):
        (layout.sandboxes / "shop" / name).mkdir()
    (layout.sandboxes / "file").touch()
    (layout.sandboxes / "Not A Project").mkdir()
    assert [str(sandbox.id) for sandbox in anyio.run(observe_all, layout)] == ["shop/web"]


def test_a_project_is_seen_without_the_others(layout):
    for project in ("shop", "bank", "a"):
        make(layout, project=project)
    assert [str(sandbox.id) for sandbox in look(layout).sandboxes] == ["shop/web"]
    assert [str(sandbox.id) for sandbox in anyio.run(observe_all, layout)] == ["a/web", "bank/web", "shop/web"]


def test_files_that_are_gone_are_told(layout, tmp_path):
    there = tmp_path / "sandbox.yaml"
    there.touch()
    make(layout, "a", source=str(there))
    make(layout, "b", source="/gone/sandbox.yaml")
    assert look(layout).missing_sources == {"/gone/sandbox.yaml"}


def test_a_supervisor_that_ends_while_it_is_asked_is_stopped(layout):
    id = make(layout)

    async def main():
        found = []

        async def look():
            found.append(await observe_one(layout, id))

        async with anyio.create_task_group() as group, running(layout, id, machine=None):
            group.start_soon(look)
            await anyio.sleep(0.1)
        return found[0].status

    assert anyio.run(main) == "stopped"


def test_a_record_from_before_there_were_policies_allows_nothing(layout):
    id = make(layout)
    paths = layout.sandbox(id)
    fields = json.loads(paths.record.read_text())
    del fields["spec"]["policy"]
    paths.record.write_text(json.dumps(fields))
    found = anyio.run(observe_one, layout, id)
    assert found.problem is None
    assert found.applied.spec.policy == NO_POLICY


def test_what_the_gateway_has_confirmed_is_told(layout):
    async def main():
        async with running(layout, make(layout), replace(MACHINE, policy="f00")):
            return await observe_one(layout, SandboxId("shop", "web"))

    assert anyio.run(main).machine.policy == "f00"
