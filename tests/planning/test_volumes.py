"""Volumes across sandboxes: whatever moves where, nobody takes what another still has. The cases have the words."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.model.desired import DesiredSandbox, DesiredState, Image, Mount, Volume
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState, ObservedVolume
from sandboxfile.model.plan import (
    AttachVolume,
    CreateVolume,
    DeleteVolume,
    DetachVolume,
    PlanOptions,
    StartSandbox,
    StopSandbox,
    UpdateRecord,
)
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning import plan
from sandboxfile.planning.verbs import plan_volume_deletion

NAMES, VOLUMES, SOURCE = ("alpha", "beta", "gamma"), ("one", "two", "three"), "/p/sandbox.yaml"
IMAGE = Image("d" * 64)
PLACES = st.fixed_dictionaries({name: st.sampled_from([None, *NAMES]) for name in VOLUMES})
STATUS = st.fixed_dictionaries({name: st.sampled_from(["running", "stopped", "paused", "absent"]) for name in NAMES})
CPUS = st.fixed_dictionaries({name: st.sampled_from([2, 3]) for name in NAMES})


def sandbox(name, places, cpus=2):
    mounts = tuple(sorted(Mount(f"/{volume}", volume) for volume, place in places.items() if place == name))
    spec = DesiredSandbox(SandboxId("shop", name), "shell", IMAGE, mounts=mounts)
    return replace(spec, resources=replace(spec.resources, cpus=cpus))


def found(spec, status):
    sizes = spec.resources
    machine = None
    if status != "stopped":
        machine = Machine(
            status, sizes.cpus, sizes.memory, sizes.disk, (), MainProcess(), "tcg", "b", "t",
            policy=fingerprint(spec.policy), mounts=spec.mounts,
        )  # fmt: skip
    return ObservedSandbox(spec.id, status, Applied(spec, SOURCE, "t", 0, "sha256:c"), machine)


def world(places, status):
    there = tuple(found(sandbox(name, places), status[name]) for name in NAMES if status[name] != "absent")
    running = {each.id.name for each in there if each.machine is not None}
    volumes = tuple(
        ObservedVolume(VolumeId("shop", name), 1 << 30, SandboxId("shop", place) if place in running else None)
        for name, place in places.items()
        if place is not None
    )
    return ObservedState("shop", there, {IMAGE.digest: "sha256:c"}, True, volumes=volumes)


def wanted(places, cpus):
    volumes = tuple(Volume(VolumeId("shop", name), 1 << 30) for name in sorted(VOLUMES))
    return DesiredState("shop", SOURCE, tuple(sandbox(name, places, cpus[name]) for name in NAMES), (), volumes)


@settings(max_examples=150, deadline=None)
@given(before=PLACES, after=PLACES, status=STATUS, cpus=CPUS)
def test_in_the_order_of_the_steps_a_volume_has_one_holder_and_ends_where_it_is_wanted(before, after, status, cpus):
    observed, desired = world(before, status), wanted(after, cpus)
    made = plan(desired, observed, PlanOptions())
    assert made.diagnostics == ()
    done: set[str] = set()
    holders = {volume.id.name: volume.holder.name for volume in observed.volumes if volume.holder}
    there = {volume.id.name for volume in observed.volumes}
    records = {each.id.name: each.applied.spec for each in observed.sandboxes if each.applied}
    for step in made.steps:
        assert set(step.needs) <= done, "a step stands before one that it needs"
        done.add(step.key)
        match step.operation:
            case CreateVolume(id):
                there.add(id.name)
            case UpdateRecord(spec):
                records[spec.id.name] = spec
            case DetachVolume(id, target):
                assert holders.pop(target.removeprefix("/")) == id.name
            case StopSandbox(id):
                holders = {volume: holder for volume, holder in holders.items() if holder != id.name}
            case AttachVolume(id, mount):
                assert mount.volume in there
                assert holders.setdefault(mount.volume, id.name) == id.name
            case StartSandbox(id):
                for mount in records.get(id.name, sandbox(id.name, after)).mounts:
                    assert mount.volume in there
                    assert holders.setdefault(mount.volume, id.name) == id.name
    assert holders == {volume: place for volume, place in after.items() if place is not None}


@settings(max_examples=100, deadline=None)
@given(before=PLACES, after=PLACES, status=STATUS, cpus=CPUS)
def test_who_takes_a_volume_waits_for_whoever_has_it_also_when_steps_go_side_by_side(before, after, status, cpus):
    observed = world(before, status)
    made = plan(wanted(after, cpus), observed, PlanOptions())
    needs = {step.key: set(step.needs) for step in made.steps}
    for step in made.steps:  # all that is needed, however far behind
        needs[step.key].update(*(needs[key] for key in step.needs))
    held = {volume.id.name: volume.holder.name for volume in observed.volumes if volume.holder}
    for step in made.steps:
        if isinstance(step.operation, AttachVolume):
            volume, taker = step.operation.mount.volume, step.operation.id.name
            if held.get(volume, taker) != taker:
                free = {f"stop {held[volume]}", f"detach volume {held[volume]} /{volume}"}
                assert free & needs[step.key]


def test_a_volume_of_a_machine_that_was_just_killed_is_waited_for_where_it_is_taken():
    running = dict.fromkeys(NAMES, "running")
    observed = world({"one": "beta"}, running | {"beta": "stopped"})
    held = replace(observed.volumes[0], holder=SandboxId("shop", "beta"))
    observed = replace(observed, volumes=(held,))
    made = plan(wanted({"one": "alpha"}, dict.fromkeys(NAMES, 2)), observed, PlanOptions(only=("alpha",)))
    assert made.diagnostics == ()
    assert [step.key for step in made.steps] == ["attach volume alpha /one", "record alpha"]


def test_a_volume_is_deleted_when_no_sandbox_has_it_or_would_have_it():
    observed = world({"one": "alpha", "two": "beta", "three": None}, dict.fromkeys(NAMES, "stopped"))
    observed = replace(observed, volumes=(*observed.volumes, ObservedVolume(VolumeId("shop", "three"), 1 << 30)))
    ids = [VolumeId("shop", name) for name in ("one", "three")]
    refused = plan_volume_deletion(observed, ids)
    assert [each.detail for each in refused.diagnostics] == ["the volume shop/one belongs to the sandbox alpha"]
    assert refused.steps == ()
    made = plan_volume_deletion(observed, [*ids[1:], VolumeId("other", "two")])
    assert [step.operation for step in made.steps] == [DeleteVolume(ids[1])]
    assert made.changes[0].loses_disk


def test_volumes_are_not_deleted_while_their_sandbox_is_protected():
    places = {"one": "alpha", "two": None, "three": None}
    observed = world(places, dict.fromkeys(NAMES, "running"))
    desired = wanted(places, dict.fromkeys(NAMES, 2))
    kept = tuple(replace(each, protect=each.id.name == "alpha") for each in desired.sandboxes)
    made = plan(replace(desired, sandboxes=kept), observed, PlanOptions(goal="down", volumes=True))
    assert [each.summary for each in made.diagnostics] == ["Protected sandbox"]
    assert made.steps == ()
