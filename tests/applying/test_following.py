"""The records of what waits for a sandbox follow its name; a supervisor that cannot be told keeps its record."""

import os
from dataclasses import replace

import anyio
import pytest

from sandboxfile.applying import following
from sandboxfile.control.messages import Done, GetStatus, StatusReply, Update
from sandboxfile.errors import ControlError
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import read_record, try_lock, write_record
from sandboxfile.model.desired import Dependency, DesiredSandbox, Image
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess
from sandboxfile.names import SandboxId

WEB, QUEUE, DB, STORE = (SandboxId("shop", name) for name in ("web", "queue", "db", "store"))
SPEC = DesiredSandbox(WEB, "shell", Image("d"), depends_on=(Dependency("db", "healthy"), Dependency("queue")))
AFTER = replace(SPEC, depends_on=(Dependency("queue"), Dependency("store", "healthy")))
MACHINE = Machine(
    "running", 1, 1 << 30, 1 << 30, (), MainProcess(), "tcg", "b", "t", fingerprint(SPEC), fingerprint(SPEC.policy)
)


def made(layout, spec):
    paths = layout.sandbox(spec.id)
    paths.root.mkdir(parents=True)
    write_record(paths, Applied(spec, "/shop/sandbox.yaml", "2026-01-02T03:04:05+00:00", 2, "c"))
    return paths


@pytest.fixture
def layout(tmp_path):
    found = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    made(found, SPEC)
    return found


@pytest.fixture
def running(layout, monkeypatch):
    """Hold the lock of `web`, and answer as its supervisor: with a machine, or by raising."""
    handle, asked = try_lock(layout.sandbox(WEB).lock), []

    def answer(reply):
        async def request(control, message, *given, **named):
            assert control == layout.sandbox(WEB).control
            asked.append(message)
            if isinstance(reply, Exception):
                raise reply
            return StatusReply(reply) if isinstance(message, GetStatus) else Done()

        monkeypatch.setattr(following, "request", request)
        return asked

    yield answer
    os.close(handle)


def follow(layout):
    anyio.run(following.follow, layout, DB, STORE)
    return read_record(layout.sandbox(WEB))


def test_the_name_alone_changes_and_they_stay_sorted(layout):
    assert follow(layout) == Applied(AFTER, "/shop/sandbox.yaml", "2026-01-02T03:04:05+00:00", 2, "c")


def test_those_of_other_projects_and_those_that_wait_for_others_keep_their_bytes(layout):
    others = [made(layout, replace(SPEC, id=SandboxId("other", "web"))), made(layout, replace(SPEC, id=QUEUE))]
    write_record(others[1], replace(read_record(others[1]), spec=replace(SPEC, id=QUEUE, depends_on=())))
    before = [(each.record.read_bytes(), each.record.stat().st_mtime_ns) for each in others]
    follow(layout)
    assert [(each.record.read_bytes(), each.record.stat().st_mtime_ns) for each in others] == before


def test_one_that_cannot_be_read_hinders_no_other(layout):
    made(layout, replace(SPEC, id=QUEUE)).record.write_text("{")
    assert follow(layout).spec == AFTER


def test_a_supervisor_is_told_first(layout, running):
    asked = running(MACHINE)
    assert follow(layout).spec == AFTER
    assert asked == [GetStatus(), Update(AFTER)]


@pytest.mark.parametrize(
    "reply",
    [replace(MACHINE, spec="another"), replace(MACHINE, policy="another"), ControlError("gone")],
    ids=["it goes by other settings", "it is held to another policy", "it does not answer"],
)
def test_a_supervisor_that_is_not_as_its_record_says_is_told_nothing_and_keeps_it(layout, running, reply):
    asked = running(reply)
    assert follow(layout).spec == SPEC
    assert asked == [GetStatus()]
