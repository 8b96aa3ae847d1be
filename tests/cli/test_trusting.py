"""Who has to look at files before they are applied, what they are told, and what nobody can answer for them."""

import argparse
import io

import pytest

from sandboxfile import pipeline
from sandboxfile.cli import applying, exits, project, trusting
from sandboxfile.cli.trusting import FilesNotTrusted, settle_trust, trust
from sandboxfile.cli.views.console import Console
from sandboxfile.errors import SandboxfileError, StateError
from sandboxfile.host.trust import expose, find_doubts, read_trust
from sandboxfile.model.desired import DesiredSandbox, FileContent, Image
from sandboxfile.model.events import Outcome
from sandboxfile.model.plan import Change, FieldChange, Plan, Shift, StartSandbox, Step, StopSandbox, UpdateRecord
from sandboxfile.names import SandboxId
from sandboxfile.planning.trusting import digest_of

WORKSPACE = "/home/me/shop"
FILE = FileContent(f"{WORKSPACE}/sandbox.yaml", digest_of("new"))
OUTSIDE = FileContent("/home/me/policy.yaml", digest_of("new"))
WIDER = Shift("widens", "reach", "web can now reach evil.example.com:443")
TIGHTER = Shift("tightens", "reach", "web can no longer reach api.example.com:443")
STEP = Step("stop web", StopSandbox(SandboxId("shop", "web")), "you asked for it")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def here(monkeypatch, layout):
    for module in (trusting, applying, project):
        monkeypatch.setattr(module, "this_layout", lambda: layout)
    monkeypatch.setenv("TERM", "dumb")
    expose(layout, dict.fromkeys([WORKSPACE], frozenset()))


RECORD = Step("record web", UpdateRecord(DesiredSandbox(SandboxId("shop", "web"), "shell", Image("d")), "/f"), "x")
COMMAND = FieldChange("command", "deploy", "curl evil", "restart", "the main process is another one")


def made(*shifts, files=(FILE, OUTSIDE), whole=True, steps=(STEP,), fields=()):
    change = Change("sandbox web", "update", "it is stopped", fields, shifts=shifts)
    return Plan("shop", "f", (change,), steps, files=files, whole=whole)


def ask(plan, answer=None, yes=False, shows_plan=True):
    """Settle one plan; without an answer there is no terminal. Gives what going on approves, and what was said."""
    kind = io.StringIO if answer is None else Terminal
    console = Console(io.StringIO(), kind(), kind(answer or ""))
    approved = settle_trust([plan], argparse.Namespace(yes=yes, shows_plan=shows_plan), console)
    return approved, console.err.getvalue()


# --- nobody is asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, "y\n"])
def test_with_yes_a_file_in_doubt_changes_nothing_and_is_named(layout, answer):
    with pytest.raises(FilesNotTrusted) as refused:
        ask(made(TIGHTER, WIDER, fields=(COMMAND,)), answer, yes=True)
    assert "sandbox web: update (command)" in refused.value.message
    assert "nothing was changed" in refused.value.message
    assert f"{FILE.path}: new, in the workspace {WORKSPACE}" in refused.value.message
    assert OUTSIDE.path not in refused.value.message
    assert WIDER.text in refused.value.message
    assert TIGHTER.text not in refused.value.message
    assert "sbx trust" in refused.value.hint
    assert [doubt.file for doubt in refused.value.doubts] == [FILE]
    assert read_trust(layout).approved == {}


def test_a_file_that_was_in_no_doubt_when_a_saved_plan_read_it_is_not_asked_about():
    silent = Console(io.StringIO(), io.StringIO(), io.StringIO())
    arguments = argparse.Namespace(yes=True, shows_plan=True)
    assert settle_trust([made(WIDER)], arguments, silent, (FILE.path,)) == (FILE, OUTSIDE)
    with pytest.raises(FilesNotTrusted):
        settle_trust([made(WIDER)], arguments, silent, (OUTSIDE.path,))


@pytest.mark.parametrize("plan", [made(fields=(COMMAND,)), made(TIGHTER, steps=(RECORD,)), made(steps=(RECORD,))])
def test_what_widens_nothing_is_refused_too(plan):
    """The command of a sandbox is neutral by itself, and does all that this sandbox may."""
    with pytest.raises(FilesNotTrusted):
        ask(plan, yes=True)
    with pytest.raises(FilesNotTrusted):
        ask(plan, "n\n", yes=True, shows_plan=False)
    trust([FILE])
    assert ask(plan, yes=True) == ((FILE, OUTSIDE), "")


def test_with_yes_what_was_applied_starts_and_its_file_stays_in_doubt():
    """What the file says beyond that nobody has seen."""
    start = Step("start web", StartSandbox(SandboxId("shop", "web")), "it is stopped")
    assert ask(made(steps=(STEP, start)), yes=True) == ((), "")
    assert ask(made(), yes=True) == ((), "")
    assert ask(made(), "", yes=True, shows_plan=False) == ((), "")


def test_with_yes_what_no_sandbox_could_write_goes_on_and_is_approved():
    assert ask(made(WIDER, files=(OUTSIDE,)), yes=True) == ((OUTSIDE,), "")


def test_with_yes_approved_files_may_widen(layout):
    trust([FILE])
    assert ask(made(WIDER), yes=True) == ((FILE, OUTSIDE), "")


def test_what_is_made_from_no_file_is_nobody_elses_to_approve(layout):
    layout.trust.write_text("{")
    assert ask(made(WIDER, files=()), yes=True) == ((), "")
    assert ask(made(WIDER, files=()), "y\n") == ((), "")


def test_without_a_record_that_can_be_read_nothing_is_trusted(layout):
    layout.trust.write_text("{")
    with pytest.raises(StateError, match="cannot be read"):
        ask(made(WIDER), yes=True)
    with pytest.raises(StateError, match="cannot be read"):
        ask(made(), "y\n")
    assert ask(made(), yes=True) == ((), "")


def test_a_plan_that_does_much_says_how_much_more():
    shifts = [Shift("widens", "reach", f"web can now reach {number}.example.com") for number in range(23)]
    with pytest.raises(FilesNotTrusted, match="and 4 more"):
        ask(made(*shifts), yes=True)


def test_names_of_files_do_no_harm_to_a_terminal():
    evil = FileContent(f"{WORKSPACE}/\x1b[2Kapproved", digest_of("new"))
    assert "\x1b" not in ask(made(WIDER, files=(evil,)), "y\n")[1]


# --- somebody is asked -------------------------------------------------------------------------------------------


def test_at_a_terminal_the_files_in_doubt_are_named_before_the_question():
    approved, said = ask(made(WIDER), "")
    assert approved == (FILE, OUTSIDE)
    assert f"{FILE.path}: new, in the workspace {WORKSPACE}" in said
    assert OUTSIDE.path not in said


def test_only_what_has_changed_is_named_again(layout):
    other = FileContent(f"{WORKSPACE}/.env", digest_of("x"))
    trust([FILE, other])
    expose(layout, {WORKSPACE: frozenset()})
    approved, said = ask(made(WIDER, files=(FILE, FileContent(other.path, digest_of("y")))), "")
    assert f"{other.path}: changed" in said
    assert FILE.path not in said
    assert ask(made(WIDER, files=(FILE, other)), "")[1] == ""
    assert len(approved) == 2


def test_who_sees_a_part_of_what_the_files_ask_for_does_not_approve_them():
    approved, said = ask(made(WIDER, whole=False), "")
    assert approved == (OUTSIDE,)
    assert "sbx trust" in said


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("n\n", False), ("", False)])
def test_a_command_that_asks_nothing_itself_asks_about_files_in_doubt(answer, goes_on):
    if goes_on:
        assert ask(made(WIDER), answer, yes=True, shows_plan=False)[0] == (FILE, OUTSIDE)
        return
    with pytest.raises(FilesNotTrusted):
        ask(made(WIDER), answer, yes=True, shows_plan=False)


# --- with the plan -----------------------------------------------------------------------------------------------


@pytest.fixture
def applied(monkeypatch, layout):
    """The plans that were applied, and what was in doubt of their files at that time."""
    found = []

    async def apply_plan(plan, *_, **__):
        found.append(find_doubts(layout, plan.files))
        return Outcome((STEP.key,), (), ())

    monkeypatch.setattr(pipeline, "apply_plan", apply_plan)
    return found


def go(answer, *, yes=False):
    async def make_plans():
        return [made(WIDER)]

    kind = io.StringIO if answer is None else Terminal
    args = argparse.Namespace(yes=yes, shows_plan=True, lock_timeout=0, parallel=1, deny_widening=False)
    return applying.plan_and_apply(make_plans, args, Console(io.StringIO(), kind(), kind(answer or "")))


def test_yes_to_the_plan_approves_its_files_before_anything_is_done(applied, layout):
    """So that whoever is killed in the middle only runs the same command again."""
    assert go("y\n") == exits.OK
    assert applied == [()]
    assert set(read_trust(layout).approved) == {FILE.path, OUTSIDE.path}


@pytest.mark.parametrize("answer", ["n\n", "", None])
def test_anything_but_yes_approves_nothing(applied, layout, answer):
    with pytest.raises(SandboxfileError, match="nothing was changed"):
        go(answer)
    assert applied == []
    assert read_trust(layout).approved == {}


def test_a_refused_plan_is_shown_and_not_applied(applied, layout):
    with pytest.raises(FilesNotTrusted):
        go(None, yes=True)
    assert applied == []
