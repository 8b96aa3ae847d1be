"""Which differences make a plan stale, which happen all the time, and what is said of them."""

from dataclasses import replace

import pytest

from sandboxfile.model.desired import DesiredSandbox, Image, Mount, Workspace
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState, ObservedVolume
from sandboxfile.model.plan import (
    AttachVolume,
    BuildImage,
    CreateSandbox,
    DeleteSandbox,
    DetachVolume,
    GrowVolume,
    PreparePlatform,
    StartMain,
    StartSandbox,
    Step,
    StopSandbox,
)
from sandboxfile.model.policy import Layer, Policy
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning import observation_fingerprint
from sandboxfile.planning.snapshot import Snapshot, moved, snapshot

ID, NEW = SandboxId("shop", "web"), SandboxId("shop", "new")
SPEC = DesiredSandbox(ID, "shell", Image("d" * 64), env=(("TOKEN", "hunter2"),))
MACHINE = Machine("running", 2, 1 << 30, 1 << 32, (), MainProcess("running"), "tcg", "b", "2026-01-01T00:00:00Z")
APPLIED = Applied(SPEC, "/p/f", "t", 0)
SANDBOX = ObservedSandbox(ID, "running", APPLIED, MACHINE)
OTHER = replace(SANDBOX, id=SandboxId("shop", "other"))
STATE = ObservedState("shop", (SANDBOX, OTHER))
STOP = (Step("stop web", StopSandbox(ID), "because"),)
CREATE = (
    Step("create new", CreateSandbox(replace(SPEC, id=NEW), "/p/f"), "because"),
    Step("start new", StartSandbox(NEW), "because"),
)
SHELL = DesiredTemplate("shell", Recipe(Origin("debian"), digest="d" * 64))
BUILD = (Step("build", BuildImage(SHELL), "because"), Step("prepare", PreparePlatform(), "because"))


def web(**fields):
    return replace(STATE, sandboxes=(replace(SANDBOX, **fields), OTHER))


def machine(**fields):
    return web(machine=replace(MACHINE, **fields))


def record(**fields):
    return web(applied=replace(APPLIED, **fields))


def spec(**fields):
    return record(spec=replace(SPEC, **fields))


@pytest.mark.parametrize(
    "later",
    [
        machine(started_at="2026-01-02T00:00:00Z"),
        machine(accelerator="kvm"),
        machine(main=MainProcess("waiting", 1, 3)),
        machine(main=MainProcess("exited", 0)),
        machine(session="attached"),
        web(checkpoints=1),
        machine(check="unhealthy", check_output="it exited with 1"),
        replace(STATE, images={"x": "sha256:y"}),
        replace(STATE, platform_ready=True),
        replace(STATE, sandboxes=(SANDBOX,)),
        replace(STATE, sandboxes=(OTHER, SANDBOX)),
        replace(STATE, sandboxes=(SANDBOX, replace(OTHER, status="stopped", machine=None))),
        replace(STATE, sandboxes=(SANDBOX, OTHER, replace(OTHER, id=NEW))),
    ],
)
def test_what_moves_by_itself_and_what_no_step_concerns_make_no_plan_stale(later):
    assert observation_fingerprint(later, STOP) == observation_fingerprint(STATE, STOP)
    assert moved(snapshot(STATE, STOP), snapshot(later, STOP)) == ()


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (replace(STATE, sandboxes=(OTHER,)), "it no longer exists"),
        (web(status="stopped", machine=None), "it was running, and is stopped"),
        (web(status="paused", machine=replace(MACHINE, health="paused")), "it was running, and is paused"),
        (web(status="stopped", machine=None, asleep=True), "it went to sleep"),
        (web(disk_present=False), "its disk has been deleted"),
        (web(applied=None, problem="torn"), "its record cannot be used"),
        (web(outdated=True), "another version of sbx started its machine"),
        (web(stale_secrets=("a",)), "the environment has other values of its secrets"),
        (record(setup_done=1), "its setup has gone on"),
        (record(created_at="u"), "it was deleted and made anew"),
        (record(source="/q/f"), "another file was applied to it"),
        (record(content="sha256:c"), "its disk is made from another content"),
        (spec(policy=Policy((Layer("open", "allow"),))), "`policy` of what was applied has changed"),
        (spec(env=(("TOKEN", "hunter3"),)), "`env` of what was applied has changed"),
        (machine(workspaces=(Workspace("/a", "/a"),)), "`workspaces` of its machine has changed"),
        (machine(spec="another"), "its supervisor goes by other settings"),
        (machine(boot="another"), "its machine was started with other settings"),
        (machine(memory=1), "`memory` of its machine has changed"),
        (machine(disk=1), "`disk` of its machine has changed"),
        (machine(main=MainProcess("none")), "`main` of its machine has changed"),
        (machine(policy="another"), "`policy` of its machine has changed"),
    ],
)
def test_what_a_step_rests_on_makes_it_stale_and_is_named(later, told):
    assert observation_fingerprint(later, STOP) != observation_fingerprint(STATE, STOP)
    assert moved(snapshot(STATE, STOP), snapshot(later, STOP)) == (f"sandbox web: {told}",)


def test_what_is_run_again_for_its_failure_has_not_run_meanwhile():
    failed, run = machine(main=MainProcess("exited", 3)), (Step("run web", StartMain(ID), "because"),)
    for main in (MainProcess("running"), MainProcess("exited", 0)):
        later = machine(main=main)
        assert observation_fingerprint(later, run) != observation_fingerprint(failed, run)
        assert moved(snapshot(failed, run), snapshot(later, run)) == ("sandbox web: `main` of its machine has changed",)
    started = (Step("start web", StartSandbox(ID), "because"), *run)
    assert observation_fingerprint(machine(), started) == observation_fingerprint(failed, started)


def test_a_difference_without_words_of_its_own_is_told_all_the_same():
    torn, worse = (web(applied=None, problem=problem) for problem in ("torn", "newer"))
    assert moved(snapshot(torn, STOP), snapshot(worse, STOP)) == ("sandbox web: it is not as it was",)


def test_no_value_is_told():
    assert "hunter" not in "".join(moved(snapshot(STATE, STOP), snapshot(spec(env=(("TOKEN", "hunter3"),)), STOP)))


def test_a_sandbox_to_be_created_must_not_be_there():
    later = replace(STATE, sandboxes=(SANDBOX, OTHER, replace(SANDBOX, id=NEW)))
    assert moved(snapshot(STATE, CREATE), snapshot(later, CREATE)) == (
        "sandbox new: it did not exist, and is there now",
    )


def test_images_and_platform_that_a_plan_takes_from_the_cache_must_still_be_there():
    there = replace(STATE, images={"d" * 64: "sha256:a"}, platform_ready=True)
    assert moved(snapshot(there, CREATE), snapshot(STATE, CREATE)) == (
        "image dddddddddddd: it is no longer in the cache",
        "platform: the kernel and the guest tools are no longer in the cache",
    )
    other = replace(there, images={"d" * 64: "sha256:b", "e" * 64: "sha256:c"})
    assert moved(snapshot(there, CREATE), snapshot(other, CREATE)) == ("image dddddddddddd: it has another content",)


def test_what_a_plan_builds_itself_may_be_built_by_somebody_else_meanwhile():
    built = replace(STATE, images={"d" * 64: "sha256:a"}, platform_ready=True)
    steps = (*BUILD, *CREATE)
    assert observation_fingerprint(built, steps) == observation_fingerprint(STATE, steps)


def test_volumes_that_steps_are_about_must_be_as_they_were():
    data, cache = VolumeId("shop", "data"), VolumeId("shop", "cache")
    before = replace(STATE, volumes=(ObservedVolume(data, 1 << 30, ID),))
    steps = (
        Step("detach", DetachVolume(ID, "/data"), "because"),
        Step("grow", GrowVolume(data, 1 << 31), "because"),
        Step("attach", AttachVolume(NEW, Mount("/cache", "cache")), "because"),
    )

    def told(*volumes):
        later = replace(STATE, volumes=volumes)
        same = observation_fingerprint(later, steps) == observation_fingerprint(before, steps)
        assert same == (volumes == before.volumes)
        return moved(snapshot(before, steps), snapshot(later, steps))

    assert told(ObservedVolume(data, 1 << 30, ID)) == ()
    assert told() == ("volume data: it no longer exists",)
    assert told(ObservedVolume(data, 1 << 31, ID)) == ("volume data: it has another size",)
    assert told(ObservedVolume(data, 1 << 30, NEW)) == ("volume data: another sandbox has it, or none",)
    assert told(ObservedVolume(data, 1 << 30, ID, "/f")) == ("volume data: it is of another file",)
    there = told(ObservedVolume(data, 1 << 30, ID), ObservedVolume(cache, 1))
    assert there == ("volume cache: it did not exist, and is there now",)


def test_no_steps_rest_on_nothing():
    assert snapshot(STATE, ()) == Snapshot()


def test_checkpoints_that_go_with_a_sandbox_are_those_that_the_plan_said():
    steps = (Step("delete web", DeleteSandbox(ID, checkpoints=True), "because"),)
    before, now = snapshot(web(checkpoints=2), steps), snapshot(web(checkpoints=3), steps)
    assert moved(before, now) == ("sandbox web: it had 2 checkpoints, and has 3",)
