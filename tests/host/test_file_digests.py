"""Digests of files, and what is remembered of them."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from sandboxfile.errors import HostError, NotFoundError
from sandboxfile.host import file_digests
from sandboxfile.host.file_digests import REMEMBERED_FROM, FileDigests

OLD = 1_600_000_000


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "memory.json"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is far ahead of what was just written: ctime cannot be set."""
    monkeypatch.setattr(file_digests.time, "time", lambda: 4_000_000_000.0)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def of(memory: Path, path: Path) -> str:
    with FileDigests(memory) as digests:
        return digests.of(str(path))


@pytest.mark.parametrize("data", [b"", b"small", b"x" * (3 * REMEMBERED_FROM + 1)])
def test_a_digest_is_that_of_the_content(tmp_path, memory, data):
    (tmp_path / "file").write_bytes(data)
    assert of(memory, tmp_path / "file") == digest(data)


def test_a_large_file_is_read_once(tmp_path, memory, settled, monkeypatch):
    large = tmp_path / "large"
    large.write_bytes(b"x" * REMEMBERED_FROM)
    first = of(memory, large)
    monkeypatch.setattr(file_digests, "_digest", lambda *_: pytest.fail("it is read again"))
    assert of(memory, large) == first


def test_a_changed_file_is_read_again(tmp_path, memory, settled):
    large = tmp_path / "large"
    large.write_bytes(b"x" * REMEMBERED_FROM)
    of(memory, large)
    large.write_bytes(b"y" * REMEMBERED_FROM)
    assert of(memory, large) == digest(b"y" * REMEMBERED_FROM)


def test_what_may_still_change_within_one_tick_of_the_clock_is_not_remembered(tmp_path, memory, monkeypatch):
    large = tmp_path / "large"
    large.write_bytes(b"x" * REMEMBERED_FROM)
    monkeypatch.setattr(file_digests.time, "time", lambda: large.stat().st_ctime + 1.0)
    of(memory, large)
    assert not memory.exists()


def test_small_files_are_not_remembered(tmp_path, memory, settled):
    (tmp_path / "small").write_bytes(b"x")
    of(memory, tmp_path / "small")
    assert not memory.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"version": 2, "files": {}}', b'{"version": 1, "files": []}', b"[" * 100_000],
)
def test_a_memory_that_cannot_be_read_is_made_anew(tmp_path, memory, settled, content):
    memory.write_bytes(content)
    large = tmp_path / "large"
    large.write_bytes(b"x" * REMEMBERED_FROM)
    assert of(memory, large) == digest(b"x" * REMEMBERED_FROM)
    assert len(json.loads(memory.read_bytes())["files"]) == 1


def test_no_directory_is_made_for_it(tmp_path, settled):
    large = tmp_path / "large"
    large.write_bytes(b"x" * REMEMBERED_FROM)
    of(tmp_path / "cache/memory.json", large)
    assert not (tmp_path / "cache").exists()


def test_only_regular_files_have_one(tmp_path, memory):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_bytes(b"12")
    with FileDigests(memory) as digests:
        with pytest.raises(HostError, match="not a regular file"):
            digests.of(str(tmp_path / "fifo"))
        with pytest.raises(HostError, match="it is a directory"):
            digests.of(str(tmp_path))
        with pytest.raises(HostError, match="cannot be read"):
            digests.of(str(tmp_path / "link"))
        with pytest.raises(NotFoundError):
            digests.of(str(tmp_path / "file/x"))
        with pytest.raises(HostError, match="larger than"):
            digests.of(str(tmp_path / "file"), limit=1)


def test_a_file_that_changes_while_it_is_read_has_none(tmp_path, memory, monkeypatch):
    large = tmp_path / "large"
    large.write_bytes(b"x" * REMEMBERED_FROM)

    def slow(handle: int, size: int) -> str:
        with large.open("ab") as file:
            file.write(b"more")
        return "sha256:whatever"

    monkeypatch.setattr(file_digests, "_digest", slow)
    with pytest.raises(HostError, match="changes while"):
        of(memory, large)
