"""Whatever is wanted and whatever is there: a plan comes out, the same each time, and in order."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.model.desired import Command, DesiredSandbox, DesiredState, Image, Resources, Workspace
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState
from sandboxfile.model.plan import CreateSandbox, DeleteSandbox, PlanOptions, SetPolicy, StopSandbox, UpdateRecord
from sandboxfile.model.policy import NO_POLICY, Layer, Policy, Rule
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId
from sandboxfile.planning import observation_fingerprint, plan, plan_policy, plan_verb
from sandboxfile.planning.drift import find_drift
from sandboxfile.planning.drift import render as render_drift
from sandboxfile.planning.render import render, to_json
from sandboxfile.planning.snapshot import moved, snapshot

NAMES = ("a", "b", "c")
GIB = 1 << 30
POLICIES = (
    NO_POLICY,
    Policy(
        (
            Layer(
                "policy web", allow=(Rule("api.example.com:443"), Rule("*.example.org")), block=(Rule("x.example.org"),)
            ),
        )
    ),
    Policy((Layer("file policy team", "allow", enforced=True), Layer("policy web", "allow")), (("A", "b"),)),
)
DIGESTS = ("1" * 64, "2" * 64)
few = st.sampled_from
contents = few(["", "sha256:a", "sha256:b"])
workspaces = st.lists(
    st.builds(Workspace, few(["/x", "/y"]), few(["/x", "/y", "/z"]), few(["ro", "rw"])),
    unique_by=lambda item: item.target,
    max_size=3,
).map(tuple)
commands = st.builds(Command, few([("run",), ("serve", "-v")]))
resources = st.builds(Resources, few([1, 2]), few([GIB, 2 * GIB]), few([4 * GIB, 8 * GIB]))
mains = st.builds(MainProcess, few(["none", "running", "waiting", "exited"]), few([None, 0, 1]))


def specs(name):
    return st.builds(
        DesiredSandbox,
        st.just(SandboxId("shop", name)),
        few(["shell", "dev"]),
        few([Image(digest) for digest in DIGESTS]),
        few(["agent", "root"]),
        workspaces,
        few(POLICIES),
        few([(), (("A", "1"),)]),
        resources,
        st.lists(commands, max_size=2).map(tuple),
        st.none() | commands,
        few(["no", "on-failure", "always"]),
        st.booleans(),
        st.booleans(),
    )


def machines(status):
    return st.builds(
        Machine,
        st.just(status),
        few([1, 2]),
        few([GIB, 2 * GIB]),
        few([4 * GIB, 8 * GIB]),
        workspaces,
        mains,
        few(["tcg", "kvm"]),
        st.just("b"),
        st.text("0123456789", max_size=3),
        st.just(""),
        few(["", "another", *map(fingerprint, POLICIES)]),
    )


@st.composite
def found(draw, name):
    applied = draw(
        st.none() | st.builds(Applied, specs(name), few(["/p/f", "/q/f"]), st.just("t"), st.integers(0, 2), contents)
    )
    status = draw(few(["starting", "running", "paused", "stopping", "stopped", "unresponsive"]))
    machine = None if status in ("stopped", "unresponsive") else draw(machines(status))
    problem = None if applied else "torn"
    present, outdated = draw(st.booleans()), draw(st.booleans())
    return ObservedSandbox(SandboxId("shop", name), status, applied, machine, present, problem, outdated)


def some(make):
    """For each name, perhaps one."""
    return st.tuples(*(st.none() | make(name) for name in NAMES)).map(lambda all: tuple(one for one in all if one))


worlds = st.builds(
    ObservedState,
    st.just("shop"),
    some(found),
    st.dictionaries(few(DIGESTS), contents),
    st.booleans(),
    few([frozenset(), frozenset(["/q/f"])]),
)
templates = st.lists(
    st.builds(
        DesiredTemplate,
        few(["shell", "dev"]),
        st.builds(Recipe, few([Origin("debian"), Origin("saved", "x")]), digest=few(DIGESTS)),
        few(POLICIES),
        content=contents,
    ),
    max_size=3,
).map(tuple)
files = st.builds(DesiredState, st.just("shop"), st.just("/p/f"), some(specs), templates)
options = st.builds(
    PlanOptions,
    few(["up", "down"]),
    few([(), (), ("a",), ("b", "z")]),
    st.booleans(),
    st.booleans(),
    few([(), (), ("a",), ("a", "b")]),
)
verbs = st.tuples(few(["start", "stop", "restart", "remove"]), st.sets(few(NAMES)), st.booleans())


def subject(step):
    """The sandbox that a step is about."""
    operation = step.operation
    return operation.spec.id if isinstance(operation, CreateSandbox | UpdateRecord) else getattr(operation, "id", None)


def check(made, observed):
    """What is so of every plan."""
    keys = [step.key for step in made.steps]
    assert len(set(keys)) == len(keys)
    for index, step in enumerate(made.steps):
        assert step.reason
        assert set(step.needs) <= set(keys[:index])
    assert not (made.diagnostics and made.steps)
    if made.steps:
        assert made.changes
    assert {change.subject for change in made.changes if change.action not in ("build", "create")} <= {
        f"sandbox {sandbox.id.name}" for sandbox in observed.sandboxes
    }
    lost = {change.subject for change in made.changes if change.loses_disk}
    for step in made.steps:
        if isinstance(step.operation, DeleteSandbox):
            assert f"sandbox {step.operation.id.name}" in lost
    for step in made.steps:
        if isinstance(step.operation, SetPolicy):
            assert any(s.id == step.operation.id and s.machine is not None for s in observed.sandboxes)
    for name in NAMES:  # one after the other within a sandbox
        for before, after in pairwise(step for step in made.steps if subject(step) == SandboxId("shop", name)):
            assert before.key in after.needs
    assert render(made).endswith((".", "lost."))
    assert to_json(made)["version"] == 1


@settings(max_examples=150, deadline=None)
@given(files, worlds, options)
def test_every_file_in_every_world_has_a_plan(desired, observed, chosen):
    made = plan(desired, observed, chosen)
    check(made, observed)
    assert plan(desired, observed, chosen) == made
    assert made.observation == observation_fingerprint(observed, made.steps)
    allowed = {sandbox.id for sandbox in observed.sandboxes if not (sandbox.applied and sandbox.applied.spec.protect)}
    for step in made.steps:
        if isinstance(step.operation, SetPolicy):
            assert step.operation.policy in [spec.policy for spec in desired.sandboxes if spec.id == step.operation.id]
        if isinstance(step.operation, DeleteSandbox):
            assert chosen.allow_destroy or step.operation.id in allowed
        if isinstance(step.operation, CreateSandbox | UpdateRecord):
            assert step.operation.spec in desired.sandboxes


@settings(max_examples=150, deadline=None)
@given(files, worlds, worlds, options)
def test_what_makes_a_plan_stale_is_always_told(desired, observed, later, chosen):
    steps = plan(desired, observed, chosen).steps
    for now in (later, replace(later, sandboxes=observed.sandboxes)):
        same = observation_fingerprint(now, steps) == observation_fingerprint(observed, steps)
        assert same == (not moved(snapshot(observed, steps), snapshot(now, steps)))


@settings(max_examples=100, deadline=None)
@given(worlds)
def test_there_is_drift_only_where_the_planner_would_do_something(observed):
    drifts, problems = find_drift(observed.sandboxes)
    assert len(problems) == sum(found.applied is None for found in observed.sandboxes)
    for drift in drifts:
        found = next(found for found in observed.sandboxes if found.id == drift.id)
        wanted = DesiredState("shop", found.applied.source, (found.applied.spec,), ())
        made = plan(wanted, replace(observed, sandboxes=(found,)), PlanOptions())
        assert made.changes or made.diagnostics
        assert drift.moved
        assert drift.mending
    assert render_drift(drifts)


def shuffled(draw, items):
    return tuple(draw(st.permutations(items)))


@settings(max_examples=80, deadline=None)
@given(files, worlds, options, verbs, st.data())
def test_the_order_in_which_things_are_told_does_not_matter(desired, observed, chosen, asked, data):
    def mixed(found):
        machine = found.machine and replace(found.machine, workspaces=shuffled(data.draw, found.machine.workspaces))
        return replace(found, machine=machine)

    other_file = replace(desired, sandboxes=shuffled(data.draw, desired.sandboxes))
    other_world = replace(observed, sandboxes=shuffled(data.draw, [mixed(found) for found in observed.sandboxes]))
    assert plan(other_file, other_world, chosen) == plan(desired, observed, chosen)
    verb, names, allow_destroy = asked
    ids = [SandboxId("shop", name) for name in names]
    assert plan_verb(verb, other_world, ids[::-1], allow_destroy) == plan_verb(verb, observed, ids, allow_destroy)


@settings(max_examples=80, deadline=None)
@given(worlds, verbs)
def test_every_verb_in_every_world_has_a_plan(observed, asked):
    verb, names, allow_destroy = asked
    ids = {SandboxId("shop", name) for name in names}
    made = plan_verb(verb, observed, ids, allow_destroy)
    check(made, observed)
    assert plan_verb(verb, observed, sorted(ids), allow_destroy) == made
    touched = {getattr(step.operation, "id", None) for step in made.steps} - {None}
    assert touched <= ids
    if verb == "stop":
        assert all(isinstance(step.operation, StopSandbox) for step in made.steps)


@settings(max_examples=80, deadline=None)
@given(worlds, few(NAMES), few(POLICIES))
def test_another_policy_in_every_world_has_a_plan(observed, name, policy):
    id = SandboxId("shop", name)
    if all(sandbox.id != id for sandbox in observed.sandboxes):
        return
    made = plan_policy(observed, id, policy)
    check(made, observed)
    assert {type(step.operation) for step in made.steps} <= {SetPolicy, UpdateRecord}
    for step in made.steps:
        if isinstance(step.operation, UpdateRecord):
            assert step.operation.spec.policy == policy
