"""Which sandboxes sleep on, and which are woken because others need them."""

from dataclasses import replace

import pytest

from sandboxfile.model.desired import Command, Dependency, DesiredSandbox, Image
from sandboxfile.model.observed import Applied, Machine, MainProcess, ObservedSandbox
from sandboxfile.names import SandboxId
from sandboxfile.planning.sleeping import needed, sleeps_on

SPEC = DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d" * 64), idle_stop=60.0)
ONCE = replace(SPEC, command=Command(("once",)))


def found(spec, **fields):
    applied = Applied(spec, "/p/f", "t", fields.pop("setup_done", len(spec.setup)))
    return ObservedSandbox(spec.id, "stopped", applied, **{"asleep": True, **fields})


@pytest.mark.parametrize(
    ("spec", "there", "expected"),
    [
        pytest.param(SPEC, found(SPEC), True, id="asleep"),
        pytest.param(SPEC, found(SPEC, asleep=False), False, id="stopped"),
        pytest.param(replace(SPEC, idle_stop=0.0), found(SPEC), False, id="it is not to sleep any more"),
        pytest.param(ONCE, found(ONCE), True, id="its main process had ended"),
        pytest.param(ONCE, found(SPEC), False, id="a main process is to run"),
        pytest.param(SPEC, found(ONCE), True, id="a main process is not to run any more"),
        pytest.param(replace(ONCE, restart="always"), found(ONCE), False, id="it is to run always"),
        pytest.param(
            SPEC, found(replace(SPEC, setup=(Command(("x",)),)), setup_done=0), False, id="its setup has not finished"
        ),
    ],
)
def test_one_that_is_asleep_sleeps_on_unless_something_is_to_be_done_in_it(spec, there, expected):
    assert sleeps_on(spec, there, there.applied) is expected


def test_those_are_woken_that_others_wait_for_and_what_they_wait_for():
    waits = {"app": ("db", "cache"), "db": ("disk",), "disk": ("db",), "cache": (), "other": ("lone",), "lone": ()}
    specs = [
        replace(SPEC, id=SandboxId("shop", name), depends_on=tuple(map(Dependency, names)))
        for name, names in waits.items()
    ]
    there = {spec.id: found(spec, asleep=spec.id.name != "cache") for spec in specs}
    assert needed(specs, ["app"], there) == ({"db", "disk"}, {})
    assert needed(specs, [], there) == (frozenset(), {})
    assert needed(specs[:1], ["app"], there) == (frozenset(), {})


@pytest.mark.parametrize(
    ("main", "condition", "expected"),
    [
        pytest.param(MainProcess("exited", 3), "completed", True, id="it failed"),
        pytest.param(MainProcess("exited", 0), "completed", False, id="it has completed"),
        pytest.param(MainProcess("running"), "completed", False, id="it runs"),
        pytest.param(MainProcess("waiting", 3), "completed", False, id="its supervisor starts it again"),
        pytest.param(MainProcess("exited", 3), "started", False, id="nobody waits for its end"),
    ],
)
def test_what_failed_is_run_again_for_who_waits_for_it_to_complete(main, condition, expected):
    app = replace(SPEC, id=SandboxId("shop", "app"), depends_on=(Dependency("web", condition),))
    machine = Machine("running", 1, 1, 1, (), main, "tcg", "b", "t")
    there = {SPEC.id: found(SPEC, asleep=False, machine=machine)}
    reason = "its main process exited with 3, and app waits for it to complete"
    assert needed([app, SPEC], ["app"], there) == (frozenset(), {"web": reason} if expected else {})
    assert needed([app, SPEC], [], there) == (frozenset(), {})
