"""The way back: what was, what is and what was put aside in; a plan out, after which nothing is left to do.

`applied` makes a record; a sandbox's time of making tells it from a later one of its name.
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.desired import Command, Dependency, DesiredSandbox, Image, Port, Resources
from sandboxfile.model.fingerprint import fingerprint
from sandboxfile.model.history import Before, Was
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox, ObservedState
from sandboxfile.model.plan import BringBack, CreateSandbox, DeleteSandbox, StartSandbox, StopSandbox, UpdateRecord
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.names import SandboxId
from sandboxfile.planning.rollback import held_today, plan_rollback

SOURCE = "/p/sandbox.yaml"
EARLY, BEGUN, SINCE = (f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3))
GIB = 1 << 30


def spec(name, **fields):
    usual = {"image": Image("1" * 64), "resources": Resources(1, GIB, 4 * GIB)}
    return DesiredSandbox(SandboxId("shop", name), "shell", **(usual | fields))


def applied(name, made=EARLY, **fields):
    wanted = spec(name, **fields)
    return Applied(wanted, SOURCE, made, len(wanted.setup), "sha256:a")


def there(record, status="running"):
    wanted = record.spec
    if status == "stopped":
        return ObservedSandbox(wanted.id, status, record)
    main = MainProcess("running" if wanted.command else "none")
    sizes = wanted.resources
    machine = Machine(
        status, sizes.cpus, sizes.memory, sizes.disk, wanted.workspaces, main, "tcg", "b", "",
        policy=fingerprint(wanted.policy), ports=wanted.ports, agent_found=True,
    )  # fmt: skip
    return ObservedSandbox(wanted.id, status, record, machine)


def before(*records, stopped=()):
    return Before("shop", BEGUN, tuple(Was(each, each.spec.id.name not in stopped) for each in records))


def back(was, *found, kept=(), allow_destroy=False):
    observed = ObservedState("shop", tuple(found), {"1" * 64: "sha256:a"}, platform_ready=True)
    return plan_rollback(was, observed, {each.spec.id: each for each in kept}, allow_destroy)


def done(plan):
    return [step.key for step in plan.steps]


def told(plan):
    return [(change.subject, change.action, change.loses_disk) for change in plan.changes]


def test_as_it_was_needs_nothing():
    web, db = applied("web"), applied("db")
    plan = back(before(db, web, stopped=["db"]), there(web), there(db, "stopped"))
    assert (plan.steps, plan.changes, plan.history) == ((), (), "ends")


def test_settings_come_back_and_what_they_allow_is_told():
    old = applied("web", policy=Policy((Layer("policy web", allow=(Rule("api.example.com:443"),)),)))
    plan = back(before(old), there(replace(old, spec=spec("web"))))
    assert done(plan) == ["set policy web", "record web"]
    (change,) = plan.changes
    assert any("api.example.com" in shift.text for shift in change.shifts if shift.direction == "widens")


def test_one_that_was_replaced_comes_back_with_its_disk():
    old, new = applied("web", ports=(Port(8080, 80),), command=Command(("serve",))), applied("web", SINCE)
    plan = back(before(old), there(new), kept=[old])
    assert done(plan) == ["stop web", "delete web", "bring back web", "record web", "start web", "run web"]
    operations = [step.operation for step in plan.steps]
    assert operations[1:4] == [DeleteSandbox(new.spec.id), BringBack(new.spec.id), UpdateRecord(old.spec, SOURCE)]
    assert told(plan) == [("sandbox web", "replace", True)]
    assert any(shift.kind == "port" for shift in plan.changes[0].shifts)


def test_the_checkpoints_of_what_is_there_now_stay():
    old, new = applied("web"), applied("web", SINCE)
    for plan in (
        back(before(old), replace(there(new), checkpoints=3), kept=[old]),
        back(before(), replace(there(new), checkpoints=1)),
    ):
        assert plan.changes[0].checkpoints == 0
        assert [step.operation.checkpoints for step in plan.steps if step.key == "delete web"] == [False]


def test_one_that_was_deleted_comes_back_and_everything_it_may_do_is_told():
    old = applied("web", ports=(Port(8080, 80),))
    plan = back(before(old), kept=[old])
    assert done(plan) == ["bring back web", "record web", "start web"]
    assert told(plan) == [("sandbox web", "create", False)]
    assert any(shift.direction == "widens" for shift in plan.changes[0].shifts)


def test_one_that_was_stopped_is_stopped_again():
    old = applied("web")
    assert done(back(before(old, stopped=["web"]), there(old))) == ["stop web"]
    changed = replace(old, spec=spec("web", env=(("A", "1"),)))
    plan = back(before(old, stopped=["web"]), there(changed, "stopped"))
    assert done(plan) == ["record web"]
    assert told(plan) == [("sandbox web", "update", False)]
    assert done(back(before(old, stopped=["web"]), kept=[old])) == ["bring back web", "record web"]


def test_one_that_the_apply_made_is_deleted_and_one_that_was_unreadable_before_is_left_alone():
    made, unread = applied("new", SINCE), applied("unread")
    plan = back(replace(before(), unreadable=(unread.spec.id,)), there(made), there(unread))
    assert [type(step.operation) for step in plan.steps] == [StopSandbox, DeleteSandbox]
    assert not plan.steps[1].operation.keep
    assert told(plan) == [("sandbox new", "delete", True)]


def test_one_whose_disk_was_deleted_for_good_is_made_anew():
    old = applied("web")
    plan = back(before(old))
    assert [type(step.operation) for step in plan.steps] == [CreateSandbox, StartSandbox]
    another = replace(old, created_at="2025-01-01T00:00:00+00:00")
    assert done(back(before(old), kept=[another])) == done(plan), "what is put aside is of another story"


def test_a_disk_that_was_made_larger_stays_so():
    old = applied("web")
    larger = replace(old, spec=spec("web", resources=Resources(1, GIB, 8 * GIB), env=(("A", "1"),)))
    plan = back(before(old), there(larger))
    assert plan.diagnostics == ()
    (record,) = [step.operation for step in plan.steps]
    assert record.spec == replace(old.spec, resources=larger.spec.resources)


def test_one_that_the_apply_made_is_deleted_also_when_the_clock_was_set_back():
    assert done(back(before(), there(applied("new", EARLY)))) == ["stop new", "delete new"]


def test_a_protected_one_that_took_the_place_of_another_is_lost_only_when_that_is_allowed():
    old, now = applied("web"), applied("web", SINCE, protect=True)
    refused = back(before(old), there(now), kept=[old])
    assert refused.steps == ()
    assert refused.diagnostics[0].summary == "Protected sandbox"
    assert back(before(old), there(now), kept=[old], allow_destroy=True).steps


def test_a_protected_one_that_the_apply_made_stays_and_keeps_nothing_from_going_back():
    old, new = applied("web"), applied("new", SINCE, protect=True)
    changed = replace(old, spec=spec("web", env=(("A", "1"),)))
    plan = back(before(old), there(changed), there(new))
    assert done(plan) == ["record web"]
    (said,) = plan.diagnostics
    assert (said.severity.name, said.summary) == ("WARNING", "Protected sandbox")
    assert "shop/new" in said.detail
    assert done(back(before(old), there(changed), there(new), allow_destroy=True)) == [
        "stop new",
        "delete new",
        "record web",
    ]


def test_they_come_back_in_the_order_in_which_they_depend_on_each_other():
    db, web = applied("db"), applied("web", depends_on=(Dependency("db"),))
    keys = done(back(before(db, web), kept=[db, web]))
    assert keys.index("start db") < keys.index("start web")


# --- whatever has happened ---------------------------------------------------------------------------------------

settings = st.builds(
    lambda env, ports, disk: {"env": env, "ports": ports, "resources": Resources(1, GIB, disk * GIB)},
    st.sampled_from([(), (("A", "1"),)]),
    st.sampled_from([(), (Port(8080, 80),)]),
    st.sampled_from([4, 8]),
)
# What became of a sandbox since: changed, replaced, deleted and put aside, deleted for good, or never there before.
fates = st.sampled_from(["changed", "replaced", "put aside", "deleted", "new"])
histories = st.lists(
    st.tuples(fates, settings, settings, st.booleans(), st.booleans()), min_size=1, max_size=3
)  # fate, settings before and now, running before and now


@given(histories)
def test_whatever_has_happened_the_way_back_leads_there_and_ends(stories):
    was, found, kept = [], [], {}
    for number, (fate, old, new, ran, runs) in enumerate(stories):
        name = f"s{number}"
        new["resources"] = max(old["resources"], new["resources"], key=lambda sizes: sizes.disk)
        record = applied(name, **old)
        if fate != "new":
            was.append(Was(record, ran))
        if fate in ("replaced", "put aside"):
            kept[record.spec.id] = record
        if fate not in ("put aside", "deleted"):
            now = applied(name, EARLY if fate == "changed" else SINCE, **new)
            found.append(there(now, "running" if runs else "stopped"))
    story = Before("shop", BEGUN, tuple(was))
    state = {each.id: each for each in found}
    plan = back(story, *state.values(), kept=kept.values())
    assert plan.diagnostics == ()
    for step in plan.steps:
        carried_out(step.operation, state, kept)
    assert done(back(story, *state.values(), kept=kept.values())) == []
    assert state.keys() == {each.id for each in was}
    for each in was:
        now = state[each.id].applied
        disk = each.applied.spec.resources.disk
        assert now.spec.resources.disk >= disk
        assert replace(now.spec, resources=each.applied.spec.resources) == each.applied.spec
        fate = stories[int(each.id.name[1:])][0]
        assert (now.created_at == EARLY) == (fate != "deleted"), "with its own disk, where that is still there"
        assert (state[each.id].status == "running") == (each.running or fate == "deleted")


def carried_out(operation, state, kept):
    """What a step comes to in a world that is only data."""
    match operation:
        case DeleteSandbox(id):
            assert state.pop(id).status == "stopped"
        case BringBack(id):
            assert id not in state
            state[id] = there(kept.pop(id), "stopped")
        case CreateSandbox(wanted, source):
            state[wanted.id] = there(Applied(wanted, source, SINCE, 0, "sha256:a"), "stopped")
        case StopSandbox(id):
            state[id] = there(state[id].applied, "stopped")
        case StartSandbox(id):
            state[id] = there(state[id].applied)
        case UpdateRecord(wanted, source):
            old = state[wanted.id]
            state[wanted.id] = there(replace(old.applied, spec=wanted, source=source), old.status)


def layer(name, *allow, enforced=True):
    return Layer(name, allow=tuple(map(Rule, allow)), enforced=enforced)


def test_what_user_and_machine_enforce_today_holds_what_comes_back():
    own, team = layer("policy web", "api.example.com:443", enforced=False), layer("policy team", "*:443")
    user, machine = layer("user policy corp", "api.example.com:443"), layer("machine policy all", "*:443")
    old = layer("user policy corp", "evil.example.com:443")
    was = before(applied("web", policy=Policy((old, team, own))), applied("db", policy=Policy((own,))))
    for each, kept in zip(held_today(was, (machine, user)).sandboxes, ((team, own), (own,)), strict=True):
        assert each.applied.spec.policy.layers == (machine, user, *kept)
    assert held_today(was, ()).sandboxes[0].applied.spec.policy.layers == (team, own)


def test_a_policy_that_the_sandbox_chose_itself_is_its_own_whoever_wrote_it():
    was = before(applied("web", policy=Policy((layer("user policy corp", "*:443", enforced=False),))))
    assert held_today(was, ()) == was
