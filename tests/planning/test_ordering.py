"""Steps of several sandboxes in one order: whatever waits for whatever, nothing waits for ever."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.model.desired import Dependency, DesiredSandbox, Image
from sandboxfile.model.observed import Machine, MainProcess
from sandboxfile.model.plan import (
    CreateSandbox,
    DeleteSandbox,
    Operation,
    StartMain,
    StartSandbox,
    Step,
    StopSandbox,
    UpdateRecord,
    WaitFor,
)
from sandboxfile.names import SandboxId
from sandboxfile.planning.ordering import Chain, ordered

NAMES = "abcde"


def id(name: str) -> SandboxId:
    return SandboxId("shop", name)


def spec(name: str) -> DesiredSandbox:
    return DesiredSandbox(id(name), "shell", Image("d"))


def steps(name: str, *kinds: str) -> tuple[Step, ...]:
    """`stop delete create record start run`: those that are asked for, each after the one before."""
    made: dict[str, Operation] = {
        "stop": StopSandbox(id(name)),
        "delete": DeleteSandbox(id(name)),
        "create": CreateSandbox(spec(name), "f"),
        "record": UpdateRecord(spec(name), "f"),
        "start": StartSandbox(id(name)),
        "run": StartMain(id(name)),
    }
    keys = [kind for kind in made if kind in kinds]
    return tuple(
        Step(f"{kind} {name}", made[kind], "because", (f"{keys[index - 1]} {name}",) if index else ())
        for index, kind in enumerate(keys)
    )


def waits(*names: str, condition: str = "started") -> tuple[Dependency, ...]:
    return tuple(Dependency(name, condition) for name in names)  # type: ignore[arg-type]


def machine(**fields: object) -> Machine:
    given = {"main": MainProcess("running"), **fields}
    return Machine("running", 1, 1, 1, (), accelerator="tcg", boot="b", started_at="t", **given)  # type: ignore[arg-type]


def keys(*chains: Chain) -> list[str]:
    return [step.key for step in ordered(chains)]


def needs(key: str, *chains: Chain) -> tuple[str, ...]:
    return next(step.needs for step in ordered(chains) if step.key == key)


def test_a_start_waits_for_the_last_step_of_what_it_depends_on():
    web, db = Chain(id("a"), steps("a", "create", "start"), waits("b")), Chain(id("b"), steps("b", "start", "run"))
    assert keys(web, db) == ["create a", "start b", "run b", "start a"]
    assert needs("start a", web, db) == ("create a", "run b")
    assert needs("start b", web, db) == ()


def test_without_dependencies_everything_stays_as_it_is():
    chains = [Chain(id(name), steps(name, "stop", "delete", "create", "start", "run")) for name in "cab"]
    assert ordered(chains) == [step for chain in chains for step in chain.steps]


def test_what_is_no_part_of_the_plan_is_not_waited_for():
    assert needs("start a", Chain(id("a"), steps("a", "start"), waits("b", condition="healthy"))) == ()


def test_a_main_process_alone_waits_as_a_start_does():
    assert needs("run a", Chain(id("a"), steps("a", "run"), waits("b")), Chain(id("b"), steps("b", "start"))) == (
        "start b",
    )


def test_a_record_waits_for_nobody():
    assert (
        needs("record a", Chain(id("a"), steps("a", "record"), waits("b")), Chain(id("b"), steps("b", "start"))) == ()
    )


def test_a_condition_that_holds_is_waited_for_only_when_it_may_change():
    healthy, ended = machine(check="healthy"), machine(main=MainProcess("exited", 0))
    for condition, found in (("healthy", healthy), ("completed", ended)):
        a = Chain(id("a"), steps("a", "start"), waits("b", condition=condition))
        assert len(ordered([a, Chain(id("b"), (), machine=found)])) == 1
        assert len(ordered([a, Chain(id("b"), steps("b", "record"), machine=found)])) == 2
        again = ordered([a, Chain(id("b"), steps("b", "stop", "start"), machine=found)])
        assert [type(step.operation) for step in again] == [StopSandbox, StartSandbox, WaitFor, StartSandbox]
        assert len(ordered([a, Chain(id("b"), (), machine=machine())])) == 2
    failed = machine(main=MainProcess("exited", 1))
    assert len(ordered([Chain(id("a"), steps("a", "start"), waits("b", condition="completed")),
                        Chain(id("b"), (), machine=failed)])) == 2  # fmt: skip


def test_who_is_stopped_waited_when_it_was_started():
    """What the file says now does not count for what runs by an older one."""
    a = Chain(id("a"), steps("a", "stop", "delete"), was_waiting=waits("b"))
    b = Chain(id("b"), steps("b", "stop", "delete"))
    assert keys(b, a) == ["stop a", "delete a", "stop b", "delete b"]
    turned = Chain(id("b"), steps("b", "stop", "start"), waits("a"))
    both = keys(Chain(id("a"), steps("a", "stop", "start"), (), waits("b")), turned)
    assert both.index("stop a") < both.index("stop b") < both.index("start b")
    assert both.index("start a") < both.index("start b")


def test_a_dependency_gives_way_to_what_cannot_be_otherwise():
    """It is starting, and lets go of a volume that what it depends on is going to have."""
    a = Chain(id("a"), steps("a", "start", "run"), waits("b"))
    (record,) = steps("b", "record")
    b = Chain(id("b"), (replace(record, needs=("run a",)),))
    assert keys(a, b) == ["start a", "run a", "record b"]


@st.composite
def chains(draw: st.DrawFn) -> list[Chain]:
    def some() -> tuple[Dependency, ...]:
        conditions = st.sampled_from(["started", "healthy", "completed"])
        found = draw(st.dictionaries(st.sampled_from(NAMES + "z"), conditions, max_size=3))
        return tuple(Dependency(name, condition) for name, condition in found.items())  # type: ignore[arg-type]

    kinds = st.sets(st.sampled_from(["stop", "delete", "create", "record", "start", "run"]))
    made: list[Chain] = []
    for name in draw(st.permutations(NAMES)):
        own = steps(name, *draw(kinds))
        earlier = [step.key for chain in made for step in chain.steps]
        if own and earlier and draw(st.booleans()):  # who takes over a volume waits for who has it
            index, other = draw(st.integers(0, len(own) - 1)), draw(st.sampled_from(earlier))
            own = tuple(replace(s, needs=(*s.needs, other)) if n == index else s for n, s in enumerate(own))
        made.append(Chain(id(name), own, some(), some()))
    return made


@settings(deadline=None)
@given(chains())
def test_whatever_waits_for_whatever_all_steps_are_there_each_after_those_that_it_needs(given: list[Chain]):
    found = ordered(given)
    places = {step.key: index for index, step in enumerate(found)}
    assert len(places) == len(found)
    assert {step.key for chain in given for step in chain.steps} <= set(places)
    for step in found:
        assert all(places[need] < places[step.key] for need in step.needs)
    for chain in given:
        for step in chain.steps:
            assert set(step.needs) <= set(next(other for other in found if other.key == step.key).needs)


def test_a_thousand_in_a_row_are_no_problem():
    row = [Chain(id(f"s{n}"), steps(f"s{n}", "create", "start"), waits(f"s{n + 1}")) for n in range(2000)]
    assert next(key for key in keys(*row) if key.startswith("start")) == "start s1999"
