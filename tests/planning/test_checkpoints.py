"""Checkpoints before a plan's first step: what they change of it, and what not. Which disks are at risk, cases have."""

from dataclasses import replace

import pytest

from sandboxfile.model.desired import Command, DesiredSandbox, DesiredState, Image
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState
from sandboxfile.model.plan import CheckpointSandbox, PlanOptions
from sandboxfile.names import SandboxId
from sandboxfile.planning import observation_fingerprint, plan
from sandboxfile.planning.checkpoints import with_checkpoints

LABEL = "before-20261121-223405"


def sandbox(name, image="d"):
    return DesiredSandbox(SandboxId("shop", name), "shell", Image(image), setup=(Command(("make",)),))


def there(spec, **facts):
    applied = Applied(spec, "/f", "2026-01-02T03:04:05+00:00", 1, "c")
    return ObservedSandbox(spec.id, "stopped", applied, **facts)


FOUND = ObservedState("shop", (there(sandbox("db")), there(sandbox("web"))), {"e": "other"}, True)
WANTED = DesiredState("shop", "/f", (sandbox("db", "e"), sandbox("new", "e"), sandbox("web", "e")))
PLAN = plan(WANTED, FOUND, PlanOptions())


def test_every_other_step_waits_for_all_of_them_directly_or_not():
    made = with_checkpoints(PLAN, FOUND, LABEL)
    copies = {step.key: step.needs for step in made.steps if isinstance(step.operation, CheckpointSandbox)}
    assert copies == {"checkpoint db": (), "checkpoint web": ("checkpoint db",)}
    behind = set()
    for step in made.steps:  # none stands before one that it needs
        if "checkpoint web" in step.needs or behind & set(step.needs):
            behind.add(step.key)
    assert behind == {step.key for step in PLAN.steps}
    assert [step.key for step in made.steps if step.key in behind] == [step.key for step in PLAN.steps]


def test_the_plan_rests_on_what_it_rested_on():
    made = with_checkpoints(PLAN, FOUND, LABEL)
    assert made.observation == PLAN.observation == observation_fingerprint(FOUND, made.steps)


def test_it_is_done_once_and_only_when_asked_for():
    made = with_checkpoints(PLAN, FOUND, LABEL)
    assert made == plan(WANTED, FOUND, PlanOptions(checkpoint=LABEL))
    assert with_checkpoints(made, FOUND, "before-20261121-223406") == made
    assert with_checkpoints(PLAN, FOUND, "") == PLAN
    nothing = replace(PLAN, steps=())
    assert with_checkpoints(nothing, FOUND, LABEL) == nothing


@pytest.mark.parametrize(
    ("facts", "word"),
    [({"status": "unresponsive"}, "does not answer"), ({"applied": None, "problem": "torn"}, "torn")],
)
def test_one_that_cannot_be_made_refuses_all_of_it(facts, word):
    found = replace(FOUND, sandboxes=(FOUND.sandboxes[0], replace(FOUND.sandboxes[1], **facts)))
    made = with_checkpoints(PLAN, found, LABEL)
    assert made.steps == ()
    (refusal,) = made.diagnostics
    assert refusal.summary == "No checkpoint"
    assert word in refusal.detail
