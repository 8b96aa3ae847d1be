"""Saved plans on the disk: never over anything else, and the key in a place of its own."""

import os
import stat
from pathlib import Path

import pytest

from sandboxfile.errors import HostError, NotFoundError, StateError
from sandboxfile.host import plan_files
from sandboxfile.host.layout import Layout
from sandboxfile.host.plan_files import find_plan_key, plan_key, read_plan, write_plan
from sandboxfile.model.plan import Plan
from sandboxfile.planning.saved import SavedPlan, encode
from sandboxfile.planning.snapshot import Snapshot

TEXT = encode(SavedPlan(Plan("shop", "f"), Snapshot()), b"k" * 32, "1.0")


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "state", tmp_path / "cache", tmp_path / "run")


def test_a_plan_is_readable_for_its_owner_alone_and_replaces_an_older_one(tmp_path):
    path = tmp_path / "change.plan"
    write_plan(path, TEXT)
    assert read_plan(path) == TEXT.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    write_plan(path, TEXT.replace("shop", "blog"))
    assert b"blog" in read_plan(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("make", [lambda path: path.write_text("sandboxes: {}\n"), Path.mkdir, os.mkfifo])
def test_what_is_no_plan_is_never_overwritten(tmp_path, make):
    path = tmp_path / "sandbox.yaml"
    make(path)
    before = path.lstat()
    with pytest.raises(HostError, match="no saved plan"):
        write_plan(path, TEXT)
    assert path.lstat().st_ino == before.st_ino


def test_a_symlink_leads_nowhere(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "change.plan"
    victim.write_text(TEXT)
    path.symlink_to(victim)
    with pytest.raises(HostError):
        write_plan(path, TEXT.replace("shop", "blog"))
    assert victim.read_text() == TEXT


def test_a_directory_that_is_not_there_is_told(tmp_path):
    with pytest.raises(HostError, match="No such file"):
        write_plan(tmp_path / "nowhere" / "change.plan", TEXT)


def test_what_cannot_be_a_plan_is_not_read(tmp_path, monkeypatch):
    with pytest.raises(NotFoundError):
        read_plan(tmp_path / "nothing")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(HostError, match="not a regular file"):
            read_plan(path)
    monkeypatch.setattr(plan_files, "LIMIT", 8)
    (tmp_path / "long").write_bytes(b"x" * 9)
    with pytest.raises(StateError, match="longer than"):
        read_plan(tmp_path / "long")


def test_the_key_is_made_once_and_is_the_user_s_own(layout, tmp_path):
    assert find_plan_key(layout) is None
    assert not layout.state.exists()
    key = plan_key(layout)
    assert len(key) == 32
    assert plan_key(layout) == find_plan_key(layout) == key
    assert stat.S_IMODE(layout.plan_key.stat().st_mode) == 0o600
    other = Layout(tmp_path / "other", tmp_path / "cache", tmp_path / "run")
    assert plan_key(other) != key


def test_a_damaged_key_or_one_that_others_may_write_is_not_used(layout):
    plan_key(layout)
    layout.plan_key.chmod(0o622)
    with pytest.raises(StateError, match="others may write"):
        find_plan_key(layout)
    layout.plan_key.chmod(0o600)
    layout.plan_key.write_bytes(b"short")
    for read in (find_plan_key, plan_key):
        with pytest.raises(StateError, match="damaged"):
            read(layout)
