"""Large files in a second place."""

import errno
import os

import pytest

from sandboxfile.errors import HostError
from sandboxfile.host import copying


def test_across_file_systems_the_image_is_copied_with_its_holes(tmp_path, monkeypatch):
    def elsewhere(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    def no_sharing(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", elsewhere)
    monkeypatch.setattr(copying.fcntl, "ioctl", no_sharing)
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(10 << 20)
        file.write(b"middle")
    copying.link_or_copy(source, target)
    with target.open("rb") as file:
        assert os.fstat(file.fileno()).st_size == 64 << 20
        file.seek(10 << 20)
        assert file.read(8) == b"middle\0\0"
    assert target.stat().st_blocks <= source.stat().st_blocks + 16
    assert not target.samefile(source)


def test_a_copy_that_fails_leaves_no_file_and_says_why(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "source").write_bytes(b"x")
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "x")))
    monkeypatch.setattr(copying, "_copy_data", full)
    monkeypatch.setattr(copying.fcntl, "ioctl", full)
    with pytest.raises(HostError, match="No space left"):
        copying.link_or_copy(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EACCES, "Permission denied")))
    with pytest.raises(HostError, match="cannot link"):
        copying.link_or_copy(tmp_path / "source", tmp_path / "target")


def test_a_copy_is_a_file_of_its_own(tmp_path):
    (tmp_path / "source").write_bytes(b"x" * 10_000)
    copying.copy_file(tmp_path / "source", tmp_path / "target")
    (tmp_path / "target").write_bytes(b"y")
    assert (tmp_path / "source").read_bytes() == b"x" * 10_000
