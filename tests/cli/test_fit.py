"""What this host lacks for a plan, as the commands tell it: before anything is asked, built or started."""

import io
from dataclasses import replace

import pytest

from sandboxfile import pipeline
from sandboxfile.cli.main import run
from sandboxfile.cli.views.console import Console
from sandboxfile.host import capacity
from sandboxfile.model.desired import Resources
from sandboxfile.model.events import Outcome
from sandboxfile.planning.tools import QEMU, TOOLS

GIB = 1 << 30
FILE = "name: shop\nsandboxes:\n  web: {resources: {memory: 3GiB}}\n  db: {resources: {memory: 3GiB}}\n"


@pytest.fixture
def host(monkeypatch):
    """This host but for what a test says; large enough unless it does."""
    changes = {"memory": 64 * GIB, "available": 64 * GIB, "tools": frozenset(TOOLS)}

    measure = capacity.measure

    def changed(layout, environ, copied=()):
        return replace(measure(layout, environ), **changes)

    monkeypatch.setattr(capacity, "measure", changed)
    return changes


@pytest.fixture
def applied(monkeypatch):
    plans = []

    async def apply_plan(plan, *arguments, **options):
        plans.append(plan)
        return Outcome((), (), ())

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    return plans


@pytest.fixture
def sbx(project, environment, monkeypatch):
    (project / "sandbox.yaml").write_text(FILE)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)

    def call(*words, code=0):
        console = Console(io.StringIO(), io.StringIO(), io.StringIO())
        found = run(words, console)
        assert found == code, console.err.getvalue()
        return console.err.getvalue()

    return call


def test_up_refuses_what_the_host_cannot_hold_and_says_how_to_go_on(sbx, host, applied):
    host["memory"] = 4 * GIB
    said = sbx("up", "--yes", code=1)
    assert "error: Not enough memory" in said
    assert "2 sandboxes to start can take up to 6.4 GiB" in said
    assert "sandbox web: create" in said
    assert applied == []
    said = sbx("up", "--yes", "--overcommit")
    assert "warning: Not enough memory" in said
    assert [plan.project for plan in applied] == ["shop"]
    sbx("up", "--yes", "web")
    assert len(applied) == 2


def test_a_missing_program_is_never_gone_over(sbx, host, applied):
    host["tools"] = frozenset(TOOLS) - {QEMU}
    said = sbx("up", "--yes", "--overcommit", code=1)
    assert "apt install qemu-system-x86" in said
    assert applied == []


def test_plan_only_warns(sbx, host):
    host["memory"], host["tools"] = GIB, frozenset()
    said = sbx("plan", "--detailed-exitcode", code=2)
    assert "warning: Not enough memory" in said
    assert "warning: Missing programs" in said
    assert "error" not in said


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_starting_is_held_to_it_as_well(verb, sbx, host, applied, stopped):
    stopped("web", resources=Resources(memory=3 * GIB))
    host["memory"] = 2 * GIB
    assert "error: Not enough memory" in sbx(verb, "web", code=1)
    assert applied == []
    assert "warning: Not enough memory" in sbx(verb, "web", "--overcommit")
    assert [step.key for step in applied[0].steps if step.key != "prepare platform"] == ["start web"]


@pytest.mark.parametrize("words", [("stop", "web"), ("rm", "-y", "web"), ("down", "-y")])
def test_what_starts_nothing_needs_nothing(words, sbx, host, applied, stopped):
    stopped("web")
    host.update(memory=0, available=0, tools=frozenset())
    assert "memory" not in sbx(*words)
