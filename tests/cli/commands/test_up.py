"""`up --wait`: what counts as running."""

from dataclasses import replace

import pytest

from sandboxfile.cli.commands.up import describe, settled
from sandboxfile.errors import SandboxfileError
from sandboxfile.model.observed import Machine, MainProcess, ObservedSandbox
from sandboxfile.names import SandboxId

ID = SandboxId("shop", "web")


def sandbox(status="running", main=None):
    machine = Machine(status, 1, 1, 1, (), main or MainProcess(), "kvm", "b", "2026-01-02T11:59:30Z")
    return ObservedSandbox(ID, status, None, machine)


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        (MainProcess(), True),
        (MainProcess("running"), True),
        (MainProcess("exited", 0), True),
        (MainProcess("waiting", 1, 3), False),
    ],
)
def test_a_main_process_must_run_or_have_ended_well(main, expected):
    assert settled(sandbox(main=main)) is expected


def test_a_main_process_that_failed_for_good_is_not_waited_for():
    with pytest.raises(SandboxfileError, match="exited with 3") as caught:
        settled(sandbox(main=MainProcess("exited", 3)))
    assert "sbx logs shop/web" in caught.value.hint


def test_a_machine_that_does_not_run_is_not_settled():
    assert not settled(sandbox("starting"))
    assert not settled(ObservedSandbox(ID, "stopped", None))
    assert describe(ObservedSandbox(ID, "stopped", None)) == "shop/web is stopped"


@pytest.mark.parametrize(("check", "expected"), [("none", True), ("healthy", True), ("starting", False)])
def test_what_has_a_healthcheck_must_be_healthy(check, expected):
    there = sandbox()
    there = replace(there, machine=replace(there.machine, check=check))
    assert settled(there) is expected
    if not expected:
        assert describe(there) == "shop/web is not healthy yet"


def test_what_is_unhealthy_is_not_waited_for():
    there = sandbox()
    there = replace(there, machine=replace(there.machine, check="unhealthy", check_output="it exited with 1\nrefused"))
    with pytest.raises(SandboxfileError, match="shop/web is unhealthy") as caught:
        settled(there)
    assert caught.value.details() == ["hint: sbx status shop/web", "  it exited with 1", "  refused"]


def test_what_is_asleep_is_as_it_should_be():
    assert settled(ObservedSandbox(ID, "stopped", None, asleep=True))
