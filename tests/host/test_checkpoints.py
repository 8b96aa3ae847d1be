"""Copies of a disk beside it: whole or not there, and back in its place at one moment, whenever that is interrupted."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandboxfile.errors import BusyError, HostError, NotFoundError
from sandboxfile.host import checkpoints, statedir
from sandboxfile.host.checkpoints import (
    PASSING,
    coming_disk,
    default_label,
    find_checkpoint,
    list_checkpoints,
    make_checkpoint,
    put_in_place,
    remove_checkpoint,
)
from sandboxfile.host.layout import Layout
from sandboxfile.host.statedir import read_record, write_record
from sandboxfile.model.desired import Command, DesiredSandbox, Image
from sandboxfile.model.observed import Applied
from sandboxfile.names import SandboxId

ID = SandboxId("shop", "web")
SPEC = DesiredSandbox(ID, "shell", Image("d"), setup=(Command(("one",)), Command(("two",))))
APPLIED = Applied(SPEC, "/f", "2026-01-02T03:04:05+00:00", 1, "c")


class Killed(BaseException):
    pass


def mortal(survived, *functions):
    """The functions, of which so many calls in all come to their end."""
    count = 0

    def wrap(function):
        def call(*given, **named):
            nonlocal count
            count += 1
            if count > survived:
                raise Killed
            return function(*given, **named)

        return call

    return [wrap(function) for function in functions]


@pytest.fixture
def paths(tmp_path):
    found = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run").sandbox(ID)
    found.root.mkdir(parents=True)
    write_record(found, APPLIED)
    found.disk.write_text("old")
    return found


def test_a_checkpoint_has_the_disk_and_the_record_of_its_time(paths):
    make_checkpoint(paths, "good")
    paths.disk.write_text("new")
    write_record(paths, replace(APPLIED, setup_done=2))
    found = find_checkpoint(paths, "good")
    assert found.paths.disk.read_text() == "old"
    assert found.applied == APPLIED
    assert found.size > 0
    assert found.made_at.tzinfo is UTC
    assert list_checkpoints(paths) == [found]


def test_they_are_listed_by_age_and_what_is_no_checkpoint_is_not(paths):
    assert list_checkpoints(paths) == []
    for age, label in enumerate(("b", "a", "c")):
        make_checkpoint(paths, label)
        os.utime(find_checkpoint(paths, label).paths.record, (1000 - age, 1000 - age))
    make_checkpoint(paths, PASSING)
    make_checkpoint(paths, "torn")
    (paths.checkpoints / "torn/record.json").write_text("{")
    assert [each.label for each in list_checkpoints(paths)] == ["c", "a", "b"]


def test_a_label_that_is_taken_or_no_name_is_refused(paths):
    make_checkpoint(paths, "good")
    with pytest.raises(BusyError, match="good already"):
        make_checkpoint(paths, "good")
    for label in ("../web", "Good", "", ".", "a/b"):
        with pytest.raises(NotFoundError, match="no label"):
            make_checkpoint(paths, label)
        with pytest.raises(NotFoundError):
            find_checkpoint(paths, label)


def test_one_that_was_removed_is_gone(paths):
    make_checkpoint(paths, "good")
    remove_checkpoint(paths, "good")
    assert list(paths.checkpoints.iterdir()) == []
    with pytest.raises(NotFoundError):
        remove_checkpoint(paths, "good")
    with pytest.raises(NotFoundError, match="no checkpoint good"):
        find_checkpoint(paths, "good")


def test_a_disk_that_did_not_stand_still_makes_none(paths):
    with pytest.raises(HostError, match="went on"):
        make_checkpoint(paths, "good", lambda: False)
    assert list(paths.checkpoints.iterdir()) == []


def test_a_disk_that_cannot_be_copied_makes_none(paths):
    paths.disk.unlink()
    with pytest.raises(HostError):
        make_checkpoint(paths, "good")
    assert list(paths.checkpoints.iterdir()) == []


def test_what_a_killed_one_left_is_swept_by_the_next(paths):
    (paths.checkpoints / ".new-other").mkdir(parents=True)
    make_checkpoint(paths, "good")
    assert [path.name for path in paths.checkpoints.iterdir()] == ["good"]


def test_the_default_label_is_the_time(paths):
    assert default_label(datetime(2026, 11, 21, 22, 34, 5, tzinfo=UTC)) == "20261121-223405"


@pytest.mark.parametrize("survived", range(6))
def test_whatever_the_making_is_killed_at_it_is_whole_or_not_there(paths, survived, monkeypatch):
    with monkeypatch.context() as patch:
        functions = mortal(
            survived, checkpoints.copy_file, checkpoints.write_atomic, Path.rename, checkpoints.sync_directory
        )
        for place, name, function in zip(
            (checkpoints, checkpoints, Path, checkpoints),
            ("copy_file", "write_atomic", "rename", "sync_directory"),
            functions,
            strict=True,
        ):
            patch.setattr(place, name, function)
        patch.setattr(checkpoints.shutil, "rmtree", lambda *given, **named: None)  # the dead clean nothing up
        try:
            make_checkpoint(paths, "good")
            finished = True
        except Killed:
            finished = False
    found = list_checkpoints(paths)
    assert [each.paths.disk.read_text() for each in found] in ([], ["old"])
    assert not finished or found
    if not found:
        make_checkpoint(paths, "good")
    assert [path.name for path in paths.checkpoints.iterdir()] == ["good"]


@pytest.mark.parametrize(("then", "now"), [(0, 2), (2, 0), (1, 1)])
@pytest.mark.parametrize("survived", range(8))
def test_whatever_going_back_is_killed_at_it_is_one_disk_or_the_other_and_no_setup_is_missing(
    paths, then, now, survived, monkeypatch
):
    write_record(paths, replace(APPLIED, setup_done=then))
    make_checkpoint(paths, "good")
    paths.disk.write_text("new")
    write_record(paths, replace(APPLIED, setup_done=now))
    with monkeypatch.context() as patch:
        copy, write, rename, sync = mortal(
            survived, checkpoints.copy_file, statedir.write_atomic, Path.rename, checkpoints.sync_directory
        )
        patch.setattr(checkpoints, "copy_file", copy)
        patch.setattr(statedir, "write_atomic", write)
        patch.setattr(Path, "rename", rename)
        patch.setattr(checkpoints, "sync_directory", sync)
        try:
            found = find_checkpoint(paths, "good")
            put_in_place(paths, coming_disk(paths, found), then)
            finished = True
        except Killed:
            finished = False
    disk = paths.disk.read_text()
    assert disk in ("old", "new")
    assert read_record(paths).setup_done <= (then if disk == "old" else now)
    assert not finished or (disk, read_record(paths).setup_done) == ("old", then)
    put_in_place(paths, coming_disk(paths, find_checkpoint(paths, "good")), then)
    assert (paths.disk.read_text(), read_record(paths).setup_done) == ("old", then)
    assert find_checkpoint(paths, "good").paths.disk.read_text() == "old"
    assert sorted(path.name for path in paths.root.iterdir()) == ["checkpoints", "disk.qcow2", "record.json"]
