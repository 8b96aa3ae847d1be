"""What may wait for what. How each problem is shown is in the golden cases `depends_on_wrong` and `profiles_wrong`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.language.explain import _OWNERS
from sandboxfile.language.validate import load
from sandboxfile.model.strict import Strict, WholeFile


def said(sandboxes: str) -> list[str]:
    _, _, problems = load(f"sandboxes: {{{sandboxes}}}", "f")
    return [problem.detail for problem in problems]


@pytest.mark.parametrize(
    "sandboxes",
    [
        "a: {depends_on: [b, c]}, b: {depends_on: [c]}, c: {}",
        "a: {depends_on: {b: {}}}, b: {}",
        "a: {depends_on: {b: {condition: healthy}}}, b: {healthcheck: {command: x}}",
        "a: {depends_on: {b: {condition: completed}}}, b: {command: x, restart: on-failure}",
        "a: {depends_on: []}, b: {depends_on: {}}",
        "a: {scale: 2, depends_on: [b]}, b: {scale: 0}",
    ],
)
def test_what_can_come_true_is_right(sandboxes: str) -> None:
    assert said(sandboxes) == []


def test_what_the_defaults_give_counts() -> None:
    defaults = (
        "defaults: {command: x, restart: always, healthcheck: {command: x}, depends_on: {b: {condition: healthy}}}"
    )
    _, _, problems = load(f"{defaults}\nsandboxes: {{a: {{}}, b: {{}}}}", "f")
    assert problems == ()
    _, _, problems = load(
        f"{defaults}\nsandboxes: {{a: {{depends_on: {{c: {{condition: completed}}}}}}, b: , c: }}", "f"
    )
    assert [problem.summary for problem in problems if "restart" in problem.detail] == ["Condition cannot come true"]


def test_a_circle_through_the_defaults_is_one() -> None:
    _, _, problems = load("defaults: {depends_on: [b]}\nsandboxes: {a: {}, b: {depends_on: [a]}}", "f")
    assert [(problem.detail, str(problem.span)) for problem in problems] == [
        ("Sandboxes wait for each other: `a` -> `b` -> `a`.", "f:1:25")
    ]


def test_what_refers_to_something_that_is_wrong_itself_is_no_second_error() -> None:
    assert len(said("a: {depends_on: {b: {condition: healthy}}}, b: {healthcheck: {command: 5}}")) == 1
    assert len(said("a: {depends_on: [b]}, b: 5")) == 1
    assert len(said("a: {depends_on: {b: {condition: completed}}}, b: {command: 5}")) == 1


def test_long_chains_and_many_ways_come_to_an_end() -> None:
    chain = ", ".join(f"s{index}: {{depends_on: [s{index + 1}]}}" for index in range(1500))
    assert said(f"{chain}, s1500: {{}}") == []
    # As many ways as there are orders.
    ladder = ", ".join(f"s{i}: {{depends_on: [{', '.join(f's{j}' for j in range(i))}]}}" for i in range(40))
    assert said(ladder) == []


edges = st.dictionaries(st.sampled_from("abcde"), st.sets(st.sampled_from("abcde")), max_size=5)


@settings(deadline=None)
@given(edges)
def test_there_is_a_cycle_exactly_where_there_is_one(graph: dict[str, set[str]]) -> None:
    graph = {name: graph.get(name, set()) for name in "abcde"}
    text = ", ".join(f"{name}: {{depends_on: [{', '.join(sorted(others))}]}}" for name, others in graph.items())
    reached = {name: set(others) for name, others in graph.items()}
    for _ in graph:
        reached = {name: others.union(*(reached[other] for other in others)) for name, others in reached.items()}
    assert bool(said(text)) == any(name in others for name, others in reached.items())


def models(of: type[Strict]) -> set[type[Strict]]:
    return {of}.union(*map(models, of.__subclasses__()))


def test_every_part_of_a_file_has_a_name_for_people() -> None:
    assert {model.__name__ for model in models(Strict) - {Strict, WholeFile}} <= set(_OWNERS)


def test_a_healthcheck_that_is_taken_away_makes_nobody_healthy() -> None:
    text = "defaults: {healthcheck: {command: x}}\nsandboxes: {a: {depends_on: {b: {condition: healthy}}}, b: %s}"
    _, _, problems = load(text % "{healthcheck: null}", "f")
    assert [problem.summary for problem in problems] == ["Condition cannot come true"]
    _, _, problems = load(text % "{}", "f")
    assert problems == ()
