"""Which differences make a plan stale, and which happen all the time."""

from dataclasses import replace

import pytest

from sandboxfile.model.desired import DesiredSandbox, Image, Workspace
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState
from sandboxfile.names import SandboxId
from sandboxfile.planning import observation_fingerprint

ID = SandboxId("shop", "web")
SPEC = DesiredSandbox(ID, "shell", Image("d" * 64))
MACHINE = Machine("running", 2, 1 << 30, 1 << 32, (), MainProcess("running"), "tcg", "b", "2026-01-01T00:00:00Z")
SANDBOX = ObservedSandbox(ID, "running", Applied(SPEC, "/p/f", "t", 0), MACHINE)
STATE = ObservedState("shop", (SANDBOX,))


def machine(**fields):
    return replace(STATE, sandboxes=(replace(SANDBOX, machine=replace(MACHINE, **fields)),))


@pytest.mark.parametrize(
    "later",
    [
        machine(started_at="2026-01-02T00:00:00Z"),
        machine(accelerator="kvm"),
        machine(main=MainProcess("waiting", 1, 3)),
        machine(main=MainProcess("exited", 0)),
        replace(STATE, images={"x": "sha256:y"}),
        replace(STATE, platform_ready=True),
    ],
)
def test_what_moves_by_itself_makes_no_plan_stale(later):
    assert observation_fingerprint(later) == observation_fingerprint(STATE)


@pytest.mark.parametrize(
    "later",
    [
        replace(STATE, sandboxes=()),
        replace(STATE, sandboxes=(SANDBOX, replace(SANDBOX, id=SandboxId("shop", "x")))),
        replace(STATE, sandboxes=(replace(SANDBOX, status="stopped", machine=None),)),
        replace(STATE, sandboxes=(replace(SANDBOX, disk_present=False),)),
        replace(STATE, sandboxes=(replace(SANDBOX, applied=None, problem="torn"),)),
        replace(STATE, sandboxes=(replace(SANDBOX, applied=replace(SANDBOX.applied, setup_done=1)),)),
        replace(STATE, sandboxes=(replace(SANDBOX, applied=replace(SANDBOX.applied, created_at="u")),)),
        machine(health="paused"),
        machine(workspaces=(Workspace("/a", "/a"),)),
        machine(memory=1),
        machine(disk=1),
        machine(main=MainProcess("none")),
        machine(policy="another"),
    ],
)
def test_what_a_plan_rests_on_makes_it_stale(later):
    assert observation_fingerprint(later) != observation_fingerprint(STATE)
