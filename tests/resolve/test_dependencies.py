"""What a sandbox waits for when the defaults, and what is scaled, are counted in."""

import pytest

from sandboxfile.model.desired import Dependency, DesiredSandbox, DesiredState

REST = "db: {healthcheck: {command: x}}, job: {command: x}"


def one(state: DesiredState, name: str) -> DesiredSandbox:
    return next(spec for spec in state.sandboxes if spec.id.name == name)


@pytest.mark.parametrize(
    ("defaults", "own", "meant"),
    [
        ("[]", "[job, db]", [("db", "started"), ("job", "started")]),
        ("[]", "{db: {condition: healthy}}", [("db", "healthy")]),
        ("[db]", "[job]", [("db", "started"), ("job", "started")]),
        ("{db: {condition: healthy}}", "{}", [("db", "healthy")]),
        ("{db: {condition: healthy}}", "{db: {}}", [("db", "healthy")]),
        ("{db: {condition: healthy}}", "[db]", [("db", "started")]),
        ("[db]", "{db: {condition: healthy}}", [("db", "healthy")]),
    ],
)
def test_the_defaults_lie_beneath(defaults, own, meant, host):
    state = host.state(f"defaults: {{depends_on: {defaults}}}\nsandboxes: {{web: {{depends_on: {own}}}, {REST}}}")
    assert one(state, "web").depends_on == tuple(Dependency(name, condition) for name, condition in meant)


def test_what_the_defaults_name_does_not_wait_for_itself(host):
    state = host.state("defaults: {depends_on: [db]}\nsandboxes: {a: {}, b: {}, db: {scale: 2}}")
    assert one(state, "a").depends_on == (Dependency("db-1"), Dependency("db-2"))
    assert one(state, "db-1").depends_on == ()


def test_nobody_waits_for_what_is_scaled_to_none(host):
    state = host.state("sandboxes: {web: {depends_on: [db, log]}, db: {scale: 0}, log: {}}")
    assert one(state, "web").depends_on == (Dependency("log"),)


def test_profiles_of_the_defaults_are_everybodys(host):
    state = host.state("defaults: {profiles: [all]}\nsandboxes: {a: {profiles: [b, all, c]}, b: {}}")
    assert (one(state, "a").profiles, one(state, "b").profiles) == (("all", "b", "c"), ("all",))
