"""Waking what sleeps, because somebody uses it: when, how, and what is said."""

import argparse
import io

import pytest

from sandboxfile import pipeline
from sandboxfile.cli.views.console import Console
from sandboxfile.cli.waking import wake
from sandboxfile.diagnostics import error
from sandboxfile.errors import MachineError, SandboxfileError, StaleError
from sandboxfile.host.sleep_mark import mark_asleep
from sandboxfile.model.events import Outcome
from sandboxfile.model.plan import Plan, StartSandbox, Step
from sandboxfile.names import SandboxId

ID = SandboxId("shop", "web")
START = Step("start web", StartSandbox(ID), "you asked for it")
PLAN = Plan("shop", "f", (), (START,))


class World:
    """What is asked of the pipeline, and what it gives, in order."""

    def __init__(self):
        self.plans, self.outcomes, self.asked = [], [], []

    async def make_verb_plans(self, verb, ids, layout, **options):
        self.asked.append((verb, list(ids)))
        return [self.plans.pop(0) if self.plans else PLAN]

    async def apply_plan(self, plan, layout, emit, **options):
        self.asked.append(plan)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome((START.key,), (), ())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture
def world(monkeypatch, clean_home, stopped):
    stopped()
    made = World()
    monkeypatch.setenv("SBX_HOME", str(clean_home / "sbx"))
    monkeypatch.setattr(pipeline, "make_verb_plans", made.make_verb_plans)
    monkeypatch.setattr(pipeline, "apply_plan", made.apply_plan)
    return made


@pytest.fixture
def woken(world, layout):
    """Wake the sandbox, which is asleep; gives what is said."""
    mark_asleep(layout.sandbox(ID))

    def call():
        console = Console(io.StringIO(), io.StringIO(), io.StringIO())
        try:
            assert wake(ID, argparse.Namespace(), console)
        finally:
            call.said = console.err.getvalue()
            assert console.out.getvalue() == ""
        return call.said

    return call


def test_one_that_is_not_asleep_is_left_alone_and_nothing_is_said(world):
    assert wake(ID, argparse.Namespace(), None) is False
    assert world.asked == []


def test_one_that_is_asleep_is_started_by_the_plan_of_start_and_told_in_a_line(world, woken):
    assert woken() == "shop/web is asleep: starting it\n"
    assert world.asked == [("start", [ID]), PLAN]


def test_that_somebody_else_was_faster_is_no_trouble(world, woken):
    world.outcomes = [StaleError("something changed")]
    world.plans = [PLAN, Plan("shop", "g")]
    assert woken() == "shop/web is asleep: starting it\n"
    assert world.asked == [("start", [ID]), PLAN, ("start", [ID])]


def test_a_plan_that_is_overtaken_again_and_again_is_given_up(world, woken):
    world.outcomes = [StaleError("something changed")] * 9
    with pytest.raises(StaleError):
        woken()
    assert len(world.outcomes) == 4


def test_a_refusal_is_shown_and_nothing_is_started(world, woken):
    world.plans = [Plan("shop", "f", diagnostics=(error("Not enough memory", "this host has too little"),))]
    with pytest.raises(SandboxfileError, match="asleep, and was not started"):
        woken()
    assert "this host has too little" in woken.said
    assert PLAN not in world.asked


def test_what_a_step_failed_with_is_raised(world, woken):
    world.outcomes = [Outcome((), ((START.key, MachineError("the guest did not boot")),), ())]
    with pytest.raises(MachineError, match="did not boot"):
        woken()


@pytest.mark.parametrize("words", [("exec", "web", "true"), ("forward", "web", "8080")])
def test_commands_wake_what_they_need(cli, stopped, words):
    """As far as it goes here: its disk is gone."""
    paths, code = stopped(), 125 if words[0] == "exec" else 1
    paths.disk.unlink()
    assert "is not running" in cli(*words, code=code).stderr
    mark_asleep(paths)
    said = cli(*words, code=code).stderr
    assert said.startswith("shop/web is asleep: starting it\n")
    assert "shop/web is asleep, and was not started" in said
