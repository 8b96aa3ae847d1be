"""From plan to outcome: when it asks, what it refuses, what it says, and which exit code it gives."""

import argparse
import io
import os
import signal
from dataclasses import replace

import anyio
import pytest

from sandboxfile import pipeline
from sandboxfile.cli import applying, exits
from sandboxfile.cli.views.console import Console
from sandboxfile.diagnostics import error
from sandboxfile.errors import MachineError, SandboxfileError, StaleError
from sandboxfile.model.events import Outcome, StepStarted
from sandboxfile.model.plan import Change, Plan, Step, StopSandbox
from sandboxfile.names import SandboxId

STOP = Step("stop web", StopSandbox(SandboxId("shop", "web")), "you asked for it")
PLAN = Plan("shop", "f", (Change("sandbox web", "stop", "you asked for it"),), (STOP,))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def console():
    return Console(io.StringIO(), io.StringIO(), io.StringIO())


@pytest.fixture
def applied(monkeypatch):
    """Outcomes to give, in order, for what would be applied; gives the plans that were."""
    plans, outcomes = [], []

    async def apply_plan(plan, layout, emit, **options):
        plans.append(plan)
        outcome = outcomes.pop(0) if outcomes else Outcome((STOP.key,), (), ())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    apply_plan.plans, apply_plan.outcomes = plans, outcomes
    return apply_plan


def go(console, *plans, yes=False, shows_plan=True):
    async def make_plans():
        return list(plans)

    args = argparse.Namespace(yes=yes, shows_plan=shows_plan, lock_timeout=0, parallel=1)
    return applying.plan_and_apply(make_plans, args, console)


def test_an_empty_plan_is_shown_and_nobody_is_asked(console, applied):
    assert go(console, Plan("shop", "f")) == exits.OK
    assert "No changes" in console.err.getvalue()
    assert applied.plans == []


def test_off_a_terminal_only_yes_applies(console, applied):
    with pytest.raises(SandboxfileError, match="no terminal to ask on"):
        go(console, PLAN)
    assert applied.plans == []
    assert go(console, PLAN, yes=True) == exits.OK
    assert applied.plans == [PLAN]


@pytest.mark.parametrize(("answer", "count"), [("y\n", 1), ("YES\n", 1), ("n\n", 0), ("\n", 0), ("", 0), ("yy\n", 0)])
def test_on_a_terminal_the_answer_decides(answer, count, applied, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    console = Console(io.StringIO(), Terminal(), Terminal(answer))
    if count:
        assert go(console, PLAN) == exits.OK
    else:
        with pytest.raises(SandboxfileError, match="nothing was changed"):
            go(console, PLAN)
    assert len(applied.plans) == count
    assert "stop (you asked for it)" in console.err.getvalue()


def test_a_refused_plan_applies_nothing_of_any_project(console, applied):
    refused = Plan("blog", "f", diagnostics=(error("Protected sandbox", "no", hint="--allow-destroy"),))
    assert go(console, PLAN, refused, yes=True) == exits.FAILED
    assert applied.plans == []
    assert "--allow-destroy" in console.err.getvalue()


def test_a_plan_overtaken_by_another_sbx_is_made_anew_when_nobody_has_to_see_it(console, applied):
    applied.outcomes.append(StaleError("moved"))
    assert go(console, PLAN, yes=True) == exits.OK
    assert applied.plans == [PLAN, PLAN]
    assert "planning again" in console.err.getvalue()
    applied.outcomes += [StaleError("moved")] * 9
    with pytest.raises(StaleError):
        go(console, PLAN, yes=True)


def test_a_person_must_see_the_plan_that_is_applied(applied, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    applied.outcomes.append(StaleError("moved"))
    with pytest.raises(StaleError):
        go(Console(io.StringIO(), Terminal(), Terminal("y\ny\n")), PLAN)
    assert len(applied.plans) == 1


def test_failed_steps_are_told_with_all_they_know(console, applied):
    failure = MachineError("QEMU died", hint="look", output="last words")
    applied.outcomes.append(Outcome((), (("start web", failure),), ("set up web",)))
    assert go(console, PLAN, yes=True) == exits.FAILED
    said = console.err.getvalue()
    assert "error: start web: QEMU died\nhint: look\n  last words\n" in said


@pytest.mark.parametrize(
    ("begun", "changed", "told"),
    [(True, True, "there; `sbx rollback` goes back\n"), (True, False, "goes on from there\n"), (False, False, "")],
)
def test_who_interrupts_what_has_begun_is_told_that_the_same_command_goes_on(
    begun, changed, told, console, monkeypatch
):
    monkeypatch.setattr(applying, "is_finished", lambda layout, project: not changed)

    async def apply_plan(plan, layout, emit, **options):
        if begun:
            emit(StepStarted(STOP.key, STOP.reason))
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    with pytest.raises(KeyboardInterrupt):
        go(console, replace(PLAN, history="begins"), yes=True)
    said = console.err.getvalue()
    assert told in said
    assert ("the same command goes on" in said) == begun
    assert ("sbx rollback" in said) == changed


def test_our_own_mistake_in_a_step_comes_out_as_it_is(console, applied):
    applied.outcomes.append(Outcome((), (("start web", ZeroDivisionError("oops")),), ()))
    with pytest.raises(ZeroDivisionError):
        go(console, PLAN, yes=True)


def test_verbs_that_do_not_ask_say_only_that_there_is_nothing_to_do(console, applied):
    go(console, Plan("shop", "f"), yes=True, shows_plan=False)
    assert console.err.getvalue() == "nothing to do\n"
    go(console, PLAN, yes=True, shows_plan=False)
    assert console.err.getvalue() == "nothing to do\n"
