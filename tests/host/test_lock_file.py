"""sandbox.lock on the disk: read whatever stands there, replaced whole or not at all."""

import os
import stat

import pytest

from sandboxfile.errors import HostError, StaleError, StateError
from sandboxfile.host import lock_file
from sandboxfile.host.lock_file import lock_path, read_lock, write_lock
from sandboxfile.model.lock import LOCK_LIMIT, Lock, LockedTemplate
from sandboxfile.model.template import Origin, Recipe

CONTENT = "sha256:" + "c" * 64
LOCK = Lock({"dev": LockedTemplate(Recipe(Origin("debian", "trixie", versions=(("curl", "8"),)), (), 7), CONTENT, 2)})


@pytest.fixture
def path(tmp_path):
    return lock_path(tmp_path / "sandbox.yaml")


def test_it_stands_beside_the_sandbox_file(tmp_path):
    assert lock_path(tmp_path / "a" / "other.yaml") == tmp_path / "a" / "sandbox.lock"


def test_what_is_written_is_read(path):
    assert read_lock(path).lock is None
    assert read_lock(path).problems == ()
    assert write_lock(path, LOCK)
    assert read_lock(path).lock == LOCK
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_equal_content_is_not_written_again_and_a_mode_is_kept(path):
    write_lock(path, LOCK)
    path.chmod(0o664)
    before = path.stat()
    assert not write_lock(path, LOCK)
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino
    assert write_lock(path, Lock())
    assert stat.S_IMODE(path.stat().st_mode) == 0o664


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (b'{"version": 1,\n "templates": oops}', "2:15", "no JSON"),
        (b'{"version": 7, "templates": {}}', "1:13", "a newer one wrote it"),
        (
            b'{"version": 1,\n "templates": {\n  "dev": {\n   "base": {"kind": "debian"},\n   "epoch": -1,\n'
            b'   "format": 2,\n   "content": "%s"}}}' % CONTENT.encode(),
            "5:13",
            "templates.dev.epoch",
        ),
        (b'{"version": 1,\n "version": 1,\n "templates": {}}', "2:2", "comes twice"),
        (b"\xff\xfe", "1:1", "not UTF-8"),
        (b"", "1:1", "no JSON"),
        (b"[" * 5000, "1:65", "This is no"),
        (b" " * (LOCK_LIMIT + 1), "1:1", "longer than 1024 KiB"),
    ],
)
def test_what_is_wrong_is_an_error_with_its_place(path, text, place, words):
    path.write_bytes(text)
    found = read_lock(path)
    assert found.lock is None
    assert any(words in item.detail for item in found.problems)
    assert str(found.problems[0].span) == f"{path}:{place}"


def test_everything_that_is_wrong_is_told_at_once(path):
    path.write_text('{"version": 1, "templates": {"dev": {"base": {}, "epoch": "x"}}}')
    details = [item.detail for item in read_lock(path).problems]
    assert [detail.partition(":")[0] for detail in details] == [
        "templates.dev.base.kind",
        "templates.dev.epoch",
        "templates.dev.content",
        "templates.dev.format",
    ]


def test_only_a_regular_file_is_read(path, tmp_path):
    os.mkfifo(path)
    assert "not a regular file" in read_lock(path).problems[0].detail
    path.unlink()
    path.mkdir()
    assert read_lock(path).problems
    path.rmdir()
    path.symlink_to(tmp_path / "nowhere")
    assert "symlink" in read_lock(path).problems[0].detail


def test_a_symlink_is_not_written_through(path, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("keep")
    path.symlink_to(victim)
    with pytest.raises(HostError, match="symlink"):
        write_lock(path, LOCK)
    assert victim.read_text() == "keep"


def test_what_no_lock_may_hold_is_refused_and_the_old_one_stays(path):
    write_lock(path, LOCK)
    before = path.read_bytes()
    bad = Lock({"dev": LockedTemplate(Recipe(Origin("debian", "x", versions=(("a", "-o x"),)), (), 7), CONTENT, 2)})
    with pytest.raises(StateError, match="cannot be written"):
        write_lock(path, bad)
    huge = {f"t{number}": LOCK.templates["dev"] for number in range(20_000)}
    with pytest.raises(StateError, match="longer"):
        write_lock(path, Lock(huge))
    assert path.read_bytes() == before


@pytest.mark.parametrize("at", ["fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch, at):
    write_lock(path, LOCK)
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock_file.os, at, fail)
    with pytest.raises(HostError, match="No space left"):
        write_lock(path, Lock())
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("at", ["fsync", "rename", "fchmod", "samestat"])
def test_killed_at_any_moment_there_is_the_old_file_or_the_new_one(path, at):
    write_lock(path, LOCK)
    before = path.read_bytes()
    child = os.fork()
    if child == 0:
        place = os.path if at == "samestat" else os  # the last of them: it comes after the rename
        setattr(place, at, lambda *arguments, **options: os._exit(9))
        try:
            write_lock(path, Lock())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    now = read_lock(path).lock
    assert now == Lock() if at == "samestat" else path.read_bytes() == before
    assert write_lock(path, Lock()) or at == "samestat"


def test_somebody_who_swaps_the_file_while_it_is_written_is_noticed(path, monkeypatch):
    rename = os.rename

    def swap(source, target, **directories):
        rename(source, target, **directories)
        path.unlink()
        path.write_text("{}")

    monkeypatch.setattr(lock_file.os, "rename", swap)
    with pytest.raises(StaleError, match="was changed while it was written"):
        write_lock(path, LOCK)


def test_a_directory_that_cannot_be_written_is_an_error_of_the_world(tmp_path):
    with pytest.raises(HostError, match="cannot write"):
        write_lock(tmp_path / "nowhere" / "sandbox.lock", LOCK)
