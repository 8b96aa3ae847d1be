"""Copies of a disk beside it: whole or not there, and back in its place at one moment, whenever that is interrupted."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sandboxfile.errors import BusyError, HostError, NotFoundError
from sandboxfile.host import checkpoints, statedir
from sandboxfile.host.checkpoints import (
    PASSING,
    before_label,
    coming_disk,
    default_label,
    find_checkpoint,
    free_label,
    is_before,
    list_checkpoints,
    make_checkpoint,
    put_in_place,
    remove_checkpoint,
)
from sandboxfile.host.directories import checkpoint_owners, sandbox_directories
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
    for beneath in (found.base, found.tree, found.image):
        beneath.write_text(beneath.name)
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


def test_it_stands_for_itself_whatever_becomes_of_the_sandbox(paths):
    make_checkpoint(paths, "good")
    found = find_checkpoint(paths, "good")
    assert found.paths.base.samefile(paths.base), "another name, no room taken"
    shutil.rmtree(paths.root)
    assert list_checkpoints(paths) == [found]
    assert [each.read_text() for each in (found.paths.disk, found.paths.base, found.paths.tree, found.paths.image)] == [
        "old", "base.ext4", "tree.gz", "image.json",
    ]  # fmt: skip


def test_those_whose_sandbox_is_gone_are_known(paths, tmp_path):
    layout = Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")
    assert checkpoint_owners(layout) == []
    make_checkpoint(paths, "good")
    shutil.rmtree(paths.root)
    assert checkpoint_owners(layout) == [("shop", "web")]
    assert sandbox_directories(layout) == []
    remove_checkpoint(paths, "good")
    assert checkpoint_owners(layout) == []


def test_the_label_of_one_that_a_plan_makes_is_its_own_and_free(paths):
    label = before_label(datetime(2026, 11, 21, 22, 34, 5, tzinfo=UTC))
    assert label == "before-20261121-223405"
    assert free_label(paths, label) == label
    make_checkpoint(paths, label)
    assert free_label(paths, label) == f"{label}-2"
    make_checkpoint(paths, f"{label}-2")
    assert free_label(paths, label) == f"{label}-3"
    assert is_before(label)
    assert is_before(f"{label}-2")
    assert not any(is_before(other) for other in ("before-upgrade", "20261121-223405", f"{label}-x", f"x-{label}"))


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
    assert not paths.checkpoints.exists()
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
    assert sorted(path.name for path in paths.root.iterdir()) == [
        "base.ext4", "disk.qcow2", "image.json", "record.json", "tree.gz",
    ]  # fmt: skip
