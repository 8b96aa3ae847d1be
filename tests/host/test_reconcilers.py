"""What reconcilers leave on disk: a status that is whole or not there, and whose sandbox is whose."""

import json
import os
import stat
from dataclasses import replace

import pytest

from sandboxfile.errors import StateError
from sandboxfile.host.layout import Layout
from sandboxfile.host.reconcilers import (
    is_suspended,
    kept_by,
    names,
    prepare,
    read_status,
    suspend,
    to_json,
    write_status,
)
from sandboxfile.host.statedir import try_lock
from sandboxfile.model.reconciliation import Counts, Status

STATUS = Status("shop", "/shop.git", "main", "sandbox.yaml", "failed", reason="file", counts=Counts(3, 2, 1))


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state/sandboxfile", tmp_path / "cache", tmp_path / "run")


@pytest.fixture
def paths(layout):
    return prepare(layout.reconciler("shop"))


def test_a_status_comes_back_as_it_was_written(paths):
    assert read_status(paths) is None
    write_status(paths, STATUS)
    assert read_status(paths) == STATUS
    assert json.loads(paths.status.read_bytes())["version"] == 1


@pytest.mark.parametrize("content", ["", "[]", "{", '{"version": 2}', '{"version": 1}', '{"version": 1, "name": 5}'])
def test_a_status_that_cannot_be_read_is_an_error_that_says_what_to_do(paths, content):
    paths.status.write_text(content)
    with pytest.raises(StateError) as caught:
        read_status(paths)
    assert "rm " in caught.value.hint


def test_its_directories_are_ours_alone_and_outside_of_what_no_workspace_may_be_in(paths, layout):
    for directory in (paths.root, paths.source, paths.tree):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for directory in (paths.source, paths.tree):
        assert not directory.is_relative_to(layout.state)
        assert not layout.state.is_relative_to(directory)
        assert directory.name == "shop"
    assert names(layout) == ["shop"]


def test_suspended_stays_until_the_contrary_is_said_and_is_told(paths):
    write_status(paths, STATUS)
    suspend(paths, True)
    suspend(paths, True)
    assert is_suspended(paths)
    assert json.loads(paths.status.read_bytes())["suspended"] is True
    suspend(paths, False)
    assert not is_suspended(paths)
    assert json.loads(paths.status.read_bytes())["suspended"] is False


def test_the_status_of_one_at_work_is_its_own_to_write(paths):
    due = replace(STATUS, next_attempt="2027-01-01T00:01:00.000+00:00")
    write_status(paths, STATUS)
    handle = try_lock(paths.lock)
    try:
        before = paths.status.stat().st_ino
        assert to_json(paths, due)["next_attempt"] == due.next_attempt
        suspend(paths, True)
        assert paths.status.stat().st_ino == before
        assert to_json(paths, due)["running"]
        assert to_json(paths, due)["next_attempt"] == "", "while it is suspended"
        suspend(paths, False)
    finally:
        os.close(handle)
    assert not to_json(paths, due)["running"]
    assert to_json(paths, due)["next_attempt"] == "", "when it has ended"


def test_a_sandbox_is_kept_by_the_one_whose_commit_it_is_of(paths, layout, tmp_path):
    source = str(paths.source / "team" / "sandbox.yaml")
    assert kept_by(layout, source) is None, "it has not run yet"
    write_status(paths, STATUS)
    assert kept_by(layout, source)["name"] == "shop"
    assert kept_by(layout, "") is None
    assert kept_by(layout, str(tmp_path / "sandbox.yaml")) is None
    assert kept_by(layout, str(paths.tree / "sandbox.yaml")) is None
    paths.status.write_text("{")
    assert kept_by(layout, source) is None
