"""What applies leave for `sbx rollback`."""

import pytest

from sandboxfile.applying.remembering import Remembering
from sandboxfile.errors import HostError
from sandboxfile.host import history
from sandboxfile.model.events import Outcome, StepStarted
from sandboxfile.model.plan import CheckpointSandbox, DeleteSandbox, Plan, PreparePlatform, Step, StopSandbox

from .conftest import WEB

STOP, DELETE = Step("stop web", StopSandbox(WEB.id), ""), Step("delete web", DeleteSandbox(WEB.id), "")
DONE = Outcome(("stop web", "delete web"), (), ())
FAILED = Outcome((), (("stop web", HostError("no")),), ("delete web",))


def carried_out(home, kind, outcome, steps=(STOP, DELETE)):
    remembering = Remembering(home.layout, Plan("shop", "", steps=steps, history=kind))
    for step in steps:
        remembering.note(StepStarted(step.key, step.reason))
    remembering.ended(outcome)


def state(home):
    before = history.read_before(home.layout, "shop")
    return None if before is None else before.complete


@pytest.mark.parametrize(("outcome", "complete"), [(DONE, True), (FAILED, False)])
def test_an_apply_of_a_file_is_remembered_and_how_it_ended(home, outcome, complete):
    carried_out(home, "begins", outcome)
    assert state(home) is complete
    assert history.read_before(home.layout, "shop").sandboxes[0].applied.spec == WEB


def test_one_that_never_began_leaves_nothing(home):
    carried_out(home, "begins", DONE, steps=())
    assert state(home) is None


def test_what_fails_before_any_sandbox_is_changed_leaves_what_was_remembered_and_put_aside(home):
    carried_out(home, "begins", DONE)
    before = history.read_before(home.layout, "shop")
    home.layout.kept(WEB.id).mkdir(parents=True)
    first = (
        Step("prepare platform", PreparePlatform(), ""),
        Step("checkpoint web", CheckpointSandbox(WEB.id, "good"), ""),
    )
    failed = Outcome(("prepare platform",), (("checkpoint web", HostError("no")),), ("stop web",))
    carried_out(home, "begins", failed, steps=first)
    assert history.read_before(home.layout, "shop") == before
    assert home.layout.kept(WEB.id).is_dir()
    carried_out(home, "begins", FAILED, steps=(*first, STOP, DELETE))
    assert state(home) is False
    assert not home.layout.kept(WEB.id).exists()


def test_other_commands_leave_what_is_remembered_alone(home):
    carried_out(home, "begins", FAILED)
    carried_out(home, "leaves", DONE, steps=(STOP,))
    assert state(home) is False


def test_going_back_well_ends_the_story(home):
    carried_out(home, "begins", FAILED)
    carried_out(home, "ends", FAILED)
    assert state(home) is False
    carried_out(home, "ends", DONE)
    assert state(home) is True


def test_what_was_deleted_on_purpose_is_not_kept_and_with_the_last_one_all_is_forgotten(home):
    carried_out(home, "begins", DONE)
    home.layout.kept(WEB.id).mkdir(parents=True)
    carried_out(home, "leaves", FAILED)
    assert home.layout.kept(WEB.id).is_dir()
    carried_out(home, "leaves", DONE)
    assert not home.layout.kept(WEB.id).exists()
    assert state(home) is True, "the sandbox is still there"
    home.paths.record.unlink()
    home.paths.root.rmdir()
    carried_out(home, "leaves", DONE)
    assert state(home) is None
    assert list(home.layout.trash.iterdir()) == []
