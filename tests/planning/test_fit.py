"""What a host lacks for a plan: all of it at once, and nothing of what it has."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.diagnostics import Severity, as_warnings, has_errors
from sandboxfile.model.desired import DesiredSandbox, DesiredState, Image, Mount, Resources, Volume, Workspace
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState, ObservedVolume
from sandboxfile.model.plan import AttachWorkspace, Plan, PlanOptions, Step
from sandboxfile.model.template import BuildStep, DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId, VolumeId
from sandboxfile.planning import plan, plan_verb
from sandboxfile.planning.fit import OVERHEAD, Capacity, Room, check_builds, check_fit
from sandboxfile.planning.tools import (
    BOOTSTRAP,
    BUILDER,
    ENGINE,
    EROFS,
    EXT4,
    FILE_SERVER,
    ID_MAPPER,
    QEMU,
    REGISTRY,
    TOOLS,
    ZSTD,
)

GIB = 1 << 30
LARGE = Capacity(
    cpus=8,
    memory=64 * GIB,
    available=60 * GIB,
    cache=Room("/cache", 1, 500 * GIB),
    state=Room("/state", 1, 500 * GIB),
    scratch=Room("/tmp", 2, 500 * GIB),
    tools=frozenset(TOOLS),
    running={},
)
SHELL = DesiredTemplate("shell", Recipe(Origin("debian", "trixie", packages=("git", "curl")), digest="d"))
SHARED = (Workspace("/src", "/src"),)


def sandbox(name="web", **fields):
    resources = Resources(fields.pop("cpus", 2), fields.pop("memory", 2 * GIB), fields.pop("disk", 20 * GIB))
    image = Image(fields.pop("image", "d"))
    return DesiredSandbox(SandboxId("shop", name), "shell", image, resources=resources, **fields)


def there(spec, status="stopped"):
    return ObservedSandbox(spec.id, status, Applied(spec, "/f", "2026-01-02T03:04:05+00:00", 0, "c"))


def up(*specs, templates=(SHELL,), found=(), images=(), ready=False):
    """What brings these up, and what it was planned from."""
    observed = ObservedState("shop", tuple(found), dict.fromkeys(images, "c"), ready)
    return plan(DesiredState("shop", "/f", specs, templates), observed, PlanOptions()), observed


def said(*planned, overcommit=False, **capacity):
    found = check_fit(planned, replace(LARGE, **capacity), overcommit=overcommit)
    return [(item.severity.value, item.summary) for item in found]


def test_a_large_host_fits_everything():
    assert said(up(sandbox(), sandbox("db", workspaces=SHARED))) == []


def test_nothing_to_do_needs_nothing():
    nothing = Capacity(1, 0, 0, Room("c", 1, 0), Room("s", 1, 0), Room("t", 1, 0), frozenset(), {})
    assert check_fit([(Plan("shop", "f"), ObservedState("shop"))], nothing) == ()
    stopping = plan_verb("stop", ObservedState("shop", (there(sandbox(), "running"),)), [SandboxId("shop", "web")])
    assert check_fit([(stopping, ObservedState("shop"))], nothing) == ()


# --- memory ------------------------------------------------------------------------------------------------------


def test_one_sandbox_larger_than_the_host_is_refused_by_name():
    (problem,) = check_fit([up(sandbox(memory=64 * GIB))], LARGE)
    assert (problem.severity, problem.summary) == (Severity.ERROR, "Not enough memory")
    assert "shop/web asks for 64.0 GiB" in problem.detail
    assert "--overcommit" in problem.hint


def test_many_at_once_that_fit_only_one_by_one_are_refused_together():
    specs = [sandbox(f"web-{number}", memory=20 * GIB) for number in range(3)]
    assert said(up(*specs), available=62 * GIB) == []
    (problem,) = check_fit([up(*specs)], replace(LARGE, memory=60 * GIB))
    assert "3 sandboxes to start can take up to 60.6 GiB" in problem.detail


def test_what_runs_counts_whatever_its_project():
    running = {SandboxId("blog", "big"): 62 * GIB}
    (problem,) = check_fit([up(sandbox())], replace(LARGE, running=running))
    assert problem.severity is Severity.ERROR
    assert "besides 1 that run" in problem.detail
    assert said(up(sandbox()), running={SandboxId("blog", "big"): 60 * GIB}) == []


def test_plans_of_several_projects_count_together():
    one = up(sandbox(memory=40 * GIB))
    other = replace(sandbox("db", memory=40 * GIB), id=SandboxId("blog", "db"))
    observed = ObservedState("blog")
    two = plan(DesiredState("blog", "/g", (other,), (SHELL,)), observed, PlanOptions()), observed
    assert said(one) == said(two) == []
    assert said(one, two) == [("error", "Not enough memory")]


def test_a_restart_takes_no_more_than_it_gives():
    spec = sandbox(memory=3 * GIB)
    observed = ObservedState("shop", (there(spec, "running"),), {"d": "c"}, True)
    restart = plan_verb("restart", observed, [spec.id]), observed
    assert said(restart, memory=4 * GIB, available=0, running={spec.id: 3 * GIB, SandboxId("a", "b"): 3 * GIB}) == []


def test_started_sandboxes_have_the_memory_of_their_record_or_of_the_file_that_replaces_it():
    old = sandbox(memory=GIB)
    observed = ObservedState("shop", (there(old),), {"d": "c"}, True)
    start = plan_verb("start", observed, [old.id]), observed
    assert said(start, memory=2 * GIB) == []
    larger = plan(DesiredState("shop", "/f", (sandbox(memory=3 * GIB),), (SHELL,)), observed, PlanOptions()), observed
    assert said(larger, memory=2 * GIB) == [("error", "Not enough memory")]


def test_memory_that_others_use_now_is_a_warning():
    assert said(up(sandbox()), available=GIB) == [("warning", "Little memory")]
    assert said(up(sandbox()), available=2 * GIB + OVERHEAD) == []


def test_more_processors_than_there_are_is_a_warning_and_the_default_is_not():
    assert said(up(sandbox(cpus=9))) == [("warning", "Few processors")]
    assert said(up(sandbox(cpus=2)), cpus=1) == []


# --- room --------------------------------------------------------------------------------------------------------


def test_a_build_that_cannot_fit_the_cache_is_refused():
    (problem,) = check_fit([up(sandbox())], replace(LARGE, cache=Room("/cache", 3, GIB // 2)))
    assert problem.summary == "Not enough room"
    assert "building shell takes about" in problem.detail
    assert "/cache" in problem.detail


def test_temporary_files_of_a_build_need_room_as_well_and_one_file_system_has_it_once():
    small = Room("/tmp", 9, 100 << 20)
    assert said(up(sandbox()), scratch=small) == [("error", "Not enough room")]
    half = 800 << 20
    apart = {"cache": Room("/cache", 3, half), "scratch": Room("/tmp", 4, half)}
    assert said(up(sandbox(), ready=True), **apart) == []
    assert said(up(sandbox(), ready=True), **(apart | {"scratch": Room("/tmp", 3, half)})) == [
        ("error", "Not enough room")
    ]


def test_what_is_built_already_needs_no_room():
    small = Room("/cache", 3, 1)
    assert said(up(sandbox(), images=["d"], ready=True), cache=small, scratch=small) == []


def test_room_grows_with_what_is_to_be_installed():
    def need(recipe):
        low, high = 0, 1 << 50
        while high - low > 1 << 20:
            middle = (low + high) // 2
            room = Room("/cache", 3, middle)
            found = check_builds(
                [replace(SHELL, recipe=recipe)], replace(LARGE, cache=room, scratch=Room("/tmp", 4, 1 << 60))
            )
            low, high = (middle, high) if has_errors(found) else (low, middle)
        return high

    few, many = (Origin("debian", "trixie", packages=tuple(map(str, range(count)))) for count in (2, 50))
    assert need(Recipe(Origin("oci", "a:1"))) < need(Recipe(few)) < need(Recipe(many))
    assert need(Recipe(few)) < need(Recipe(few, (BuildStep("npm", ("typescript",)),)))
    listed = replace(few, versions=tuple((str(number), "1") for number in range(900)))
    assert need(Recipe(few)) < need(Recipe(listed))


def test_disks_that_may_outgrow_the_host_are_a_warning_for_they_are_sparse():
    small = Room("/state", 1, 30 * GIB)
    assert said(up(sandbox(), sandbox("db")), state=small) == [("warning", "Little room")]
    assert said(up(sandbox()), state=small) == []


def test_checkpoints_are_counted_and_what_may_not_fit_is_a_warning_for_blocks_may_be_shared():
    web = sandbox(image="old")
    observed = ObservedState("shop", (there(web),), {"d": "another"})
    made = plan(DesiredState("shop", "/f", (sandbox(),)), observed, PlanOptions(checkpoint="before-20261121-223405"))
    small, disks = Room("/state", 1, 30 * GIB), {web.id: 11 * GIB}
    assert said((made, observed), state=small) == []
    assert said((made, observed), state=small, disks=disks) == [("warning", "Little room")]
    assert said((made, observed), state=small, disks={web.id: 31 * GIB}) == [("warning", "Little room")]
    (problem,) = check_fit([(made, observed)], replace(LARGE, state=small, disks={web.id: 31 * GIB}))
    assert "the checkpoints of shop/web take up to 31.0 GiB in /state, where 30.0 GiB are free" in problem.detail


def test_volumes_count_as_disks_do_and_those_that_grow_by_how_much():
    small, data = Room("/state", 1, 30 * GIB), VolumeId("shop", "data")
    held = sandbox(mounts=(Mount("/data", "data"),))

    def told(*specs, size, found=()):
        observed = ObservedState("shop", tuple(map(there, specs)) if found else (), volumes=found)
        desired = DesiredState("shop", "/f", specs, (SHELL,), (Volume(data, size * GIB),))
        planned = (plan(desired, observed, PlanOptions()), observed)
        return [item.detail for item in check_fit([planned], replace(LARGE, state=small))]

    assert told(held, size=10) == []
    [detail] = told(held, size=15)
    assert "the disks of shop/web and the volumes shop/data can grow by 35.0 GiB" in detail
    assert told(held, size=45, found=(ObservedVolume(data, 20 * GIB),)) == []
    [detail] = told(held, size=55, found=(ObservedVolume(data, 20 * GIB),))
    assert detail.startswith("the volumes shop/data can grow by 35.0 GiB")


def test_making_a_volume_takes_what_makes_its_file_system():
    held = sandbox(mounts=(Mount("/data", "data"),))
    observed = ObservedState("shop", (there(sandbox()),), {"d": "c"}, True)
    desired = DesiredState("shop", "/f", (held,), (SHELL,), (Volume(VolumeId("shop", "data"), GIB),))
    planned = (plan(desired, observed, PlanOptions()), observed)
    [problem] = check_fit([planned], replace(LARGE, **without(EXT4)))
    assert problem.summary == "Missing programs"


# --- programs ----------------------------------------------------------------------------------------------------


def without(*tools):
    return {"tools": frozenset(TOOLS) - set(tools)}


@pytest.mark.parametrize(
    ("kind", "steps", "needs"),
    [
        ("debian", (), {BOOTSTRAP}),
        ("ubuntu", (), {BOOTSTRAP}),
        ("oci", (), {REGISTRY}),
        ("local", (), {ENGINE}),
        ("dockerfile", (), {BUILDER}),
        ("tar", (), set()),
        ("saved", (), set()),
        ("tar", (BuildStep("run", command=("true",)),), {QEMU, ID_MAPPER}),
    ],
)
def test_a_build_needs_the_programs_of_its_origin_and_of_its_steps(kind, steps, needs):
    template = DesiredTemplate("dev", Recipe(Origin(kind), steps))
    for tool in (BOOTSTRAP, REGISTRY, ENGINE, BUILDER, QEMU, ID_MAPPER, EROFS):
        found = check_builds([template], replace(LARGE, **without(tool)))
        assert bool(found) == (tool in needs), tool
    assert check_builds([template], replace(LARGE, **without(ZSTD)))


def test_all_that_is_missing_is_said_at_once_with_one_command_that_installs_it():
    templates = (SHELL, DesiredTemplate("dev", Recipe(Origin("oci", "a:1"), digest="e")))
    planned = up(sandbox(workspaces=SHARED), sandbox("db", image="e"), templates=templates)
    (problem,) = check_fit([planned], replace(LARGE, tools=frozenset()))
    assert problem.severity is Severity.ERROR
    for package in ("qemu-system-x86", "bubblewrap", "skopeo", "mmdebstrap", "zstd", "virtiofsd", "erofs-utils"):
        assert package in problem.hint.split()
    assert problem.hint.count("zstd") == 1


def test_a_file_server_is_needed_only_for_workspaces():
    assert said(up(sandbox()), **without(FILE_SERVER)) == []
    assert said(up(sandbox(workspaces=SHARED)), **without(FILE_SERVER)) == [("error", "Missing programs")]
    attach = Plan("shop", "f", steps=(Step("a", AttachWorkspace(SandboxId("shop", "web"), SHARED[0]), "r"),))
    assert said((attach, ObservedState("shop")), **without(FILE_SERVER)) == [("error", "Missing programs")]


def test_root_maps_user_ids_without_help():
    assert said(up(sandbox()), **without(ID_MAPPER)) == [("error", "Missing programs")]
    assert said(up(sandbox()), **without(ID_MAPPER), root=True) == []


def test_overcommitting_leaves_only_missing_programs_as_errors():
    small = {"memory": GIB, "available": 0, "cache": Room("/cache", 3, 1), **without(QEMU)}
    plain, over = said(up(sandbox()), **small), said(up(sandbox()), overcommit=True, **small)
    assert [severity for severity, _ in plain] == ["error"] * 3
    assert sorted(over) == [
        ("error", "Missing programs"),
        ("warning", "Not enough memory"),
        ("warning", "Not enough room"),
    ]
    assert not has_errors(as_warnings(check_fit([up(sandbox())], replace(LARGE, **small))))


# --- properties --------------------------------------------------------------------------------------------------

rooms = st.builds(Room, st.just("/x"), st.integers(1, 2), st.integers(0, 1 << 40))
capacities = st.builds(
    Capacity,
    cpus=st.integers(1, 8),
    memory=st.integers(0, 1 << 38),
    available=st.integers(0, 1 << 38),
    cache=rooms,
    state=rooms,
    scratch=rooms,
    tools=st.frozensets(st.sampled_from(TOOLS)),
    running=st.dictionaries(
        st.builds(SandboxId, st.sampled_from(["shop", "blog"]), st.sampled_from(["web", "db"])), st.integers(0, 1 << 37)
    ),
)
specs = st.lists(
    st.builds(sandbox, st.sampled_from(["web", "db", "api"]), memory=st.integers(1, 1 << 37), cpus=st.integers(1, 9)),
    unique_by=lambda spec: spec.id,
)


@given(specs, capacities)
def test_more_of_everything_never_lacks_more(wanted, capacity):
    planned = up(*wanted)
    before = {(item.severity, item.summary) for item in check_fit([planned], capacity)}
    more = replace(
        capacity,
        cpus=capacity.cpus * 2,
        memory=capacity.memory + (1 << 40),
        available=capacity.available + (1 << 40),
        cache=replace(capacity.cache, free=1 << 50),
        state=replace(capacity.state, free=1 << 50),
        scratch=replace(capacity.scratch, free=1 << 50),
        tools=frozenset(TOOLS),
    )
    after = {(item.severity, item.summary) for item in check_fit([planned], more)}
    assert after <= before
    assert not has_errors(check_fit([planned], more))
