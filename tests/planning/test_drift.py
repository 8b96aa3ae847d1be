"""What counts as moved away from what was applied, what is said of it, and what never counts."""

from dataclasses import replace

import pytest

from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.desired import Command, DesiredSandbox, DesiredState, Image, Port, Resources, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState
from sandboxfile.model.plan import PlanOptions
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.names import UNMANAGED, SandboxId
from sandboxfile.planning import plan
from sandboxfile.planning.drift import Moved, find_drift, render, to_json
from sandboxfile.policy.command import PolicyEdit, edited

ID = SandboxId("shop", "web")
POLICY = Policy(
    (Layer("policy web", allow=(Rule("a.example"),)),),
    credentials=(Credential("x", SecretSource("env", "X"), (Injection("a.example"),)),),
)
SPEC = DesiredSandbox(
    ID,
    "shell",
    Image("d" * 64),
    workspaces=(Workspace("/a", "/a"), Workspace("/b", "/b", "ro")),
    policy=POLICY,
    env=(("TOKEN", "hunter2"),),
    resources=Resources(2, 1 << 30, 1 << 32),
    setup=(Command(("npm", "ci")),),
    command=Command(("serve",)),
    restart="always",
    agent="claude",
    ports=(Port(8080, 80),),
)
APPLIED = Applied(SPEC, "/p/f", "t", 1, "sha256:c")
MACHINE = Machine(
    "running",
    2,
    1 << 30,
    1 << 32,
    SPEC.workspaces,
    MainProcess("running"),
    "tcg",
    "b",
    "t",
    fingerprint(SPEC),
    fingerprint(POLICY),
    SPEC.ports,
    agent_found=True,
)
WEB = ObservedSandbox(ID, "running", APPLIED, MACHINE)
EDITED = replace(SPEC, policy=edited(POLICY, PolicyEdit(allow=("b.example",), block=("c.example",))))


def web(**fields):
    return replace(WEB, **fields)


def machine(**fields):
    return web(machine=replace(MACHINE, **fields), status=fields.get("health", "running"))


def found(sandbox):
    """The only drift there is: what moved by path, and the rest."""
    [drift], problems = find_drift([sandbox])
    assert problems == ()
    return {moved.path: (moved.applied, moved.found) for moved in drift.moved}, drift


@pytest.mark.parametrize(
    ("there", "moved", "mending"),
    [
        (machine(health="paused"), {"status": ("running", "paused")}, "`sbx up` resumes it"),
        (web(status="stopped", machine=None), {"status": ("running", "stopped")}, "`sbx up` starts it"),
        (web(status="unresponsive", machine=None), {"status": ("running", "unresponsive")}, "`sbx up` restarts it"),
        (
            web(outdated=True),
            {"machine": ("as this sbx starts machines", "as another version of sbx started it")},
            "`sbx up` restarts it",
        ),
        (machine(memory=1 << 29), {"resources.memory": ("1GiB", "512MiB")}, "`sbx up` restarts it"),
        (
            machine(workspaces=SPEC.workspaces[:1]),
            {"workspaces./b": ("ro", "(none)")},
            "`sbx up` brings it back while it runs",
        ),
        (
            machine(workspaces=(SPEC.workspaces[0], Workspace("/b", "/b", "rw"))),
            {"workspaces./b": ("ro", "rw")},
            "`sbx up` brings it back while it runs",
        ),
        (machine(ports=()), {"ports.127.0.0.1:8080": ("80", "(none)")}, "`sbx up` brings it back while it runs"),
        (
            machine(policy=""),
            {"policy": (None, "none in force: nothing gets out")},
            "`sbx up` brings it back while it runs",
        ),
        (machine(policy="f" * 64), {"policy": (None, "another one (ffffffffffff)")}, "`sbx up` brings it back"),
        (machine(main=MainProcess("none")), {"command": ("running", "not started")}, "`sbx up` brings it back"),
        (machine(main=MainProcess("exited", 3)), {"command": ("running", "exited with 3")}, "`sbx up` brings it back"),
        (
            machine(spec="f" * 64),
            {"supervisor": ("goes by the record", "goes by something else")},
            "`sbx up` brings it back",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_moved_is_named_with_both_sides_and_with_what_mends_it(there, moved, mending):
    told, drift = found(there)
    assert told.keys() == moved.keys()
    for path, (applied, other) in moved.items():
        assert told[path][1] == other
        assert applied in (None, told[path][0])
    assert drift.mending.startswith(mending)
    assert not drift.loses_disk


def test_several_things_are_all_told():
    there = replace(machine(health="paused", ports=(), policy=""), outdated=True)
    assert list(found(there)[0]) == ["status", "machine", "policy", "ports.127.0.0.1:8080"]


def test_a_deleted_disk_is_told_loudly_and_a_protected_sandbox_is_not_replaced():
    told, drift = found(web(disk_present=False))
    assert told == {"disk": ("present", "deleted")}
    assert (drift.mending, drift.loses_disk) == ("`sbx up` replaces it", True)
    assert "!! THE DISK IS LOST" in render([drift])
    _, drift = found(web(disk_present=False, applied=replace(APPLIED, spec=replace(SPEC, protect=True))))
    assert drift.mending.startswith("`sbx up` refuses to mend it: replacing the sandbox shop/web loses its disk")
    assert "--allow-destroy" in drift.mending


def test_what_network_proxy_changed_is_drift_although_the_record_says_it_too():
    running = machine(policy=fingerprint(EDITED.policy), spec=fingerprint(EDITED))
    there = replace(running, applied=replace(APPLIED, spec=EDITED))
    told, drift = found(there)
    assert list(told) == ["policy"]
    assert "changed by `sbx network proxy`" in told["policy"][1]
    assert told["policy"][1].endswith(": allow b.example; block c.example")
    assert drift.mending == "`sbx up` brings it back while it runs"


def test_that_is_told_of_a_stopped_one_too():
    stopped = web(status="stopped", machine=None, applied=replace(APPLIED, spec=EDITED))
    assert list(found(stopped)[0]) == ["status", "policy"]


@pytest.mark.parametrize(
    "there",
    [
        WEB,
        machine(health="starting", workspaces=(), ports=(), policy="", main=MainProcess(), agent_found=False),
        machine(main=MainProcess("waiting", 1, 3)),
        machine(agent_found=False),
        web(stale_secrets=("x",)),
        web(applied=replace(APPLIED, setup_done=0)),
        machine(disk=1 << 33),
        web(
            applied=replace(APPLIED, spec=replace(SPEC, restart="no")),
            machine=replace(MACHINE, spec="", main=MainProcess("exited", 1)),
        ),
    ],
)
def test_what_is_on_its_way_or_was_never_done_is_no_drift(there):
    assert find_drift([there]) == ((), ())
    assert render(()) == "No drift: everything is as it was applied."


def test_a_record_that_cannot_be_used_is_an_error_and_the_others_are_compared_all_the_same():
    torn = ObservedSandbox(SandboxId("shop", "torn"), "running", None, MACHINE, problem="it is torn")
    drifts, problems = find_drift([torn, machine(health="paused")])
    assert [drift.id for drift in drifts] == [ID]
    assert [problem.detail for problem in problems] == [
        "the sandbox shop/torn exists, and its record cannot be used: it is torn"
    ]


@pytest.mark.parametrize(
    ("fields", "mending"),
    [
        ({"status": "stopped", "machine": None}, "`sbx start box` brings it back"),
        ({"status": "unresponsive", "machine": None}, "`sbx restart box` brings it back"),
        ({"disk_present": False}, "`sbx rm box` deletes what is left of it"),
    ],
)
def test_one_that_a_command_made_is_mended_by_commands(fields, mending):
    id = SandboxId(UNMANAGED, "box")
    spec = replace(SPEC, id=id)
    there = replace(WEB, id=id, applied=replace(APPLIED, spec=spec), machine=replace(MACHINE, spec=""))
    assert found(replace(there, **fields))[1].mending == mending


def test_no_value_of_the_environment_is_told():
    drifts, _ = find_drift([replace(machine(health="paused", ports=(), policy="", memory=1), outdated=True)])
    assert "hunter" not in render(drifts) + str(to_json(drifts))


def test_json_has_everything_and_a_version():
    drifts, _ = find_drift([machine(health="paused")])
    assert to_json(drifts) == {
        "version": 1,
        "sandboxes": [
            {
                "id": "shop/web",
                "status": "paused",
                "moved": [{"path": "status", "applied": "running", "found": "paused"}],
                "mending": "`sbx up` resumes it",
                "loses_disk": False,
            }
        ],
    }
    assert drifts[0].moved == (Moved("status", "running", "paused"),)


def test_the_planner_mends_what_is_found():
    for there in (machine(health="paused"), machine(ports=()), web(outdated=True), machine(spec="f" * 64)):
        assert find_drift([there])[0]
        made = plan(DesiredState("shop", "/p/f", (SPEC,)), ObservedState("shop", (there,)), PlanOptions())
        assert made.steps


ASLEEP = replace(
    WEB,
    status="stopped",
    machine=None,
    asleep=True,
    applied=replace(APPLIED, spec=replace(SPEC, idle_stop=1800.0, command=None)),
)


def test_one_that_is_asleep_has_not_moved():
    assert find_drift([ASLEEP]) == ((), ())


def test_one_that_is_not_to_sleep_or_whose_disk_is_gone_has():
    awake = replace(ASLEEP, applied=replace(ASLEEP.applied, spec=replace(SPEC, command=None)))
    assert found(awake)[0] == {"status": ("running", "stopped")}
    assert found(replace(ASLEEP, disk_present=False))[0] == {"disk": ("present", "deleted")}


def test_health_is_no_configuration_and_has_not_moved():
    assert find_drift([machine(check="unhealthy", check_output="it exited with 1")]) == ((), ())
