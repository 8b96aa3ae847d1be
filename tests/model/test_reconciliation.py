"""The state machine of `sbx reconcile`: what is tried when, and what of a failure stays until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sandboxfile.model.reconciliation import (
    LONGEST_PAUSE,
    Status,
    applied,
    begun,
    due,
    entered,
    failed,
    fetched,
    pause,
    resumed,
    targets,
)

NOW = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
NEW = Status("shop", "/shop.git", "main", "sandbox.yaml")


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def at(commit):
    """One that has applied a commit."""
    return applied(begun(fetched(NEW, commit, NOW), commit, NOW), commit, 3, NOW)


def test_a_commit_goes_from_fetched_to_applied():
    status = fetched(NEW, "a", NOW)
    assert (status.state, status.commit, targets(status, NOW)) == ("fetched", "a", ("a",))
    status = begun(entered(status, "checked", NOW), "a", NOW)
    assert (status.state, status.begun, status.applied) == ("planned", "a", "")
    status = applied(status, "a", 3, later(9))
    assert (status.state, status.applied, status.applied_at) == ("applied", "a", "2027-01-02T03:04:14.000+00:00")
    assert (status.counts.commits, status.counts.applies, status.counts.drifts) == (1, 1, 0)


def test_what_is_applied_is_looked_after_and_steps_then_are_drift():
    status = at("a")
    assert targets(status, NOW) == ("a",)
    assert applied(status, "a", 0, later(1)) == status
    mended = applied(status, "a", 2, later(1))
    assert (mended.counts.applies, mended.counts.drifts, mended.applied_at) == (2, 1, status.applied_at)


def test_a_refused_commit_leaves_what_was_there_before_to_be_looked_after_and_the_failure_to_be_seen():
    status = failed(fetched(at("a"), "b", NOW), "file", "x.yaml:1:1: no", "b", 10, NOW)
    assert targets(status, NOW) == ("a",)
    status = applied(status, "a", 1, later(1))
    assert (status.state, status.reason, status.message, status.culprit) == ("failed", "file", "x.yaml:1:1: no", "b")
    assert (status.applied, status.begun, status.counts.drifts) == ("a", "a", 1)


def test_a_refused_commit_is_tried_again_after_a_pause_and_another_one_at_once():
    status = failed(fetched(at("a"), "b", NOW), "file", "no", "b", 10, NOW)
    assert targets(fetched(status, "b", later(9)), later(9)) == ("a",)
    assert targets(fetched(status, "b", later(10)), later(10)) == ("b", "a")
    other = fetched(status, "c", later(1))
    assert (other.state, other.reason, targets(other, later(1))) == ("fetched", "", ("c", "a"))


def test_a_commit_that_is_taken_back_is_forgotten():
    status = fetched(failed(fetched(at("a"), "b", NOW), "file", "no", "b", 10, NOW), "a", later(1))
    assert targets(status, later(1)) == ("a",)
    assert applied(status, "a", 0, later(1)).state == "applied"


def test_there_is_no_way_back_from_what_was_begun():
    status = failed(begun(fetched(at("a"), "b", NOW), "b", NOW), "apply", "a step failed", "b", 10, NOW)
    assert targets(status, later(1)) == ()
    assert targets(status, later(10)) == ("b",)
    assert targets(fetched(status, "c", later(1)), later(1)) == ("c", "b")


def test_while_the_repository_does_not_answer_what_was_begun_is_looked_after():
    status = failed(at("a"), "fetch", "no answer", "", 10, NOW)
    assert targets(status, NOW) == ("a",)
    assert applied(status, "a", 1, NOW).reason == "fetch"
    answered = fetched(status, "a", later(10))
    assert (answered.state, answered.reason, answered.failures) == ("fetched", "", 0)
    first = fetched(failed(NEW, "fetch", "no answer", "", 10, NOW), "a", later(10))
    assert (first.state, first.message, targets(first, later(10))) == ("fetched", "", ("a",))


def test_a_killed_apply_is_what_is_tried_first():
    status = begun(fetched(at("a"), "b", NOW), "b", NOW)
    assert targets(status, NOW) == ("b",)


def test_pauses_double_up_to_a_quarter_of_an_hour_or_the_interval():
    assert [pause(count, 60) for count in (1, 2, 3, 4, 5, 6, 999)] == [60, 120, 240, 480, 900, 900, 900]
    assert pause(9, 3600) == 3600
    assert LONGEST_PAUSE == 900


def test_the_same_failure_in_a_row_is_counted_and_another_one_begins_anew():
    status = fetched(at("a"), "b", NOW)
    for count in (1, 2, 3):
        status = failed(status, "file", "no", "b", 10, NOW)
        assert status.failures == count
    assert not due(status, later(39))
    assert due(status, later(40))
    assert failed(status, "widening", "no", "b", 10, NOW).failures == 1
    assert status.counts.failures == 3


@pytest.mark.parametrize("state", ["applied", "failed"])
def test_since_is_when_a_state_began(state):
    status = entered(at("a"), state, later(5))
    assert status.since == ("2027-01-02T03:04:05.000+00:00" if state == "applied" else "2027-01-02T03:04:10.000+00:00")


GUARDED = replace(at("a"), deny_widening=True, profiles=("ci",))
SAME = {"ref": "main", "path": "sandbox.yaml", "profiles": ("ci",), "deny_widening": True}


@pytest.mark.parametrize("other", [{"ref": "next"}, {"path": "x.yaml"}, {"profiles": ("ci", "gpu")}, {"profiles": ()}])
def test_asked_for_something_else_nothing_is_let_through_yet(other):
    status = resumed(GUARDED, **{**SAME, **other})
    assert (status.begun, status.applied, targets(status, NOW)) == ("", "a", ("a",))
    assert resumed(status, **{**SAME, **other}).begun == ""
    assert resumed(begun(status, "a", NOW), **{**SAME, **other}).begun == "a"


def test_what_was_let_through_without_a_guard_is_not_let_through_with_it_and_the_other_way_round_it_is():
    assert resumed(GUARDED, **SAME) == GUARDED
    free = resumed(GUARDED, **{**SAME, "deny_widening": False})
    assert free.begun == "a"
    assert resumed(free, **SAME).begun == ""
