"""Files of this host as a layer, and steps in words."""

import hashlib
import os
import tarfile

import pytest

from sandboxfile.applying.steps import pack_files, title_of
from sandboxfile.errors import BuildError
from sandboxfile.model.template import BuildStep, PlacedFile

EPOCH = 1_700_000_000


def placed(path, target="/etc/motd", mode=0o640):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return PlacedFile(target, mode, f"sha256:{digest}", str(path))


@pytest.fixture
def motd(tmp_path):
    path = tmp_path / "motd"
    path.write_text("welcome\n")
    return path


def test_files_belong_to_root_and_have_the_epochs_time(tmp_path, motd):
    pack_files([placed(motd)], tmp_path / "tar", EPOCH)
    with tarfile.open(tmp_path / "tar") as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.mode, member.uid, member.gid, member.mtime) == ("etc/motd", 0o640, 0, 0, EPOCH)
        assert tar.extractfile(member).read() == b"welcome\n"


def test_the_same_files_give_the_same_bytes(tmp_path, motd):
    other = tmp_path / "other"
    other.write_text("x")
    files = [placed(motd), placed(other, "/etc/a")]
    pack_files(files, tmp_path / "one", EPOCH)
    os.utime(motd, (5, 5))
    pack_files(files[::-1], tmp_path / "two", EPOCH)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("now", ["welcomE\n", "longer than it was\n", ""])
def test_a_file_that_has_changed_since_it_was_read_is_refused(tmp_path, motd, now):
    file = placed(motd)
    motd.write_text(now)
    with pytest.raises(BuildError, match="has changed while"):
        pack_files([file], tmp_path / "tar", EPOCH)


def test_what_is_no_file_any_more_is_refused_and_waited_for_by_nobody(tmp_path, motd):
    file = placed(motd)
    motd.unlink()
    with pytest.raises(BuildError, match="No such file"):
        pack_files([file], tmp_path / "one", EPOCH)
    os.mkfifo(motd)
    with pytest.raises(BuildError, match="not a regular file"):
        pack_files([file], tmp_path / "two", EPOCH)


@pytest.mark.parametrize(
    ("step", "title"),
    [
        (BuildStep("run", command=("/bin/sh", "-c", "make\nall")), "run: make all"),
        (BuildStep("run", command=("make", "a b")), "run: make 'a b'"),
        (BuildStep("npm", ("typescript", "left")), "npm: typescript left"),
        (BuildStep("files", files=(PlacedFile("/etc/a", 0, ""), PlacedFile("/b", 0, ""))), "files: /etc/a /b"),
        (BuildStep("run", command=("x" * 200,)), f"run: {'x' * 99}…"),
    ],
)
def test_a_step_in_words(step, title):
    assert title_of(step) == title
