"""The journal: what an apply that was killed leaves, and what one that ended does not."""

import errno
import os
from contextlib import suppress

import pytest

from sandboxfile.applying.journal import Journal, interrupted_steps
from sandboxfile.errors import HostError, MachineError
from sandboxfile.model.events import StepFailed, StepFinished, StepProgress, StepStarted
from sandboxfile.model.plan import Plan, Step, StopSandbox
from sandboxfile.names import SandboxId

PLAN = Plan("shop", "f" * 64, steps=tuple(Step(key, StopSandbox(SandboxId("shop", key)), "r") for key in "abc"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.journal"


def killed(path, *events):
    """What is on the disk when the process ends after these events."""
    journal = Journal(path, PLAN)
    for event in events:
        journal.note(event)
    os.close(journal._handle)


def test_none_is_left_by_an_apply_that_ended(path):
    with Journal(path, PLAN) as journal:
        journal.note(StepStarted("a", "r"))
        assert interrupted_steps(path) == ("a",)
        journal.note(StepFailed("a", MachineError("x")))
    assert not path.exists()
    assert interrupted_steps(path) is None


def test_begun_and_not_ended_steps_are_told_in_order(path):
    killed(
        path,
        StepStarted("b", "r"),
        StepStarted("a", "r"),
        StepProgress("a", "half"),
        StepStarted("c", "r"),
        StepFinished("a", 1),
    )
    assert interrupted_steps(path) == ("b", "c")


def test_killed_between_two_steps_is_interrupted_too(path):
    killed(path, StepStarted("a", "r"), StepFinished("a", 1))
    assert interrupted_steps(path) == ()


def test_killed_after_the_last_step_is_not(path):
    killed(path, *(event for key in "abc" for event in (StepStarted(key, "r"), StepFinished(key, 1))))
    assert interrupted_steps(path) is None


def test_a_cancelled_apply_leaves_what_it_was_at(path):
    with suppress(KeyboardInterrupt), Journal(path, PLAN) as journal:
        journal.note(StepStarted("a", "r"))
        raise KeyboardInterrupt
    assert interrupted_steps(path) == ("a",)


def test_one_that_was_refused_before_its_first_step_leaves_none(path):
    with suppress(MachineError), Journal(path, PLAN):
        raise MachineError("stale")
    assert not path.exists()


def test_every_torn_end_is_read(path):
    killed(path, StepStarted("a", "r"), StepStarted("b", "r"))
    whole = path.read_bytes()
    seen = set()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        seen.add(interrupted_steps(path))
    assert seen == {(), ("a",), ("a", "b")}


@pytest.mark.parametrize(
    "junk", [b"\xff\xfe\n", b"[]\n", b"[" * 100_000 + b"\n", b'{"v": 9, "begin": "z"}\n', b"null\n"]
)
def test_lines_that_are_not_ours_are_passed_over(path, junk):
    killed(path, StepStarted("a", "r"))
    path.write_bytes(junk + path.read_bytes() + junk)
    assert interrupted_steps(path) == ("a",)


def test_a_new_journal_replaces_an_old_one(path):
    killed(path, StepStarted("a", "r"))
    killed(path, StepStarted("c", "r"))
    assert interrupted_steps(path) == ("c",)


def test_only_we_can_read_it(path):
    killed(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_an_error_of_the_host(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(path, PLAN) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(HostError, match="No space left"):
            journal.note(StepStarted("a", "r"))
        monkeypatch.undo()
    with pytest.raises(HostError, match="cannot write the journal"):
        Journal(path / "below-a-file", PLAN)
