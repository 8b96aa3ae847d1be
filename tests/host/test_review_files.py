"""Where names lead without touching anything else, and what is read."""

import os

import pytest

from sandboxfile.host import review_files as module
from sandboxfile.host.review_files import DIRECTORY, FILE, Reader, inside


@pytest.fixture
def root(tmp_path):
    (tmp_path / "real/a/b").mkdir(parents=True)
    (tmp_path / "ws").symlink_to("real")
    return tmp_path / "real"


@pytest.mark.parametrize(
    ("name", "leads"),
    [
        ("ws/a/b/x", "a/b/x"),
        ("real/a//./b", "a/b"),
        ("ws", ""),
        ("ws/../elsewhere", None),
        ("ws/../ws/a", "a"),
        ("else/../real/a", "a"),
        ("realer/a", None),
        ("ws/to-b/x", "a/b/x"),
        ("ws/to-b/../x", "a/x"),
        ("ws/absolute/x", "a/x"),
        ("ws/away/x", None),
        ("ws/loop/x", None),
        ("ws/absent", None),
    ],
)
def test_names_lead_where_the_kernel_takes_them(root, name, leads):
    for file in ("x", "a/x", "a/b/x"):
        (root / file).touch()
    (root / "to-b").symlink_to("a/b")
    (root / "absolute").symlink_to(root.parent / "ws/a")
    (root / "away").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    assert inside((str(root.parent / "ws"), str(root)), f"{root.parent}/{name}") == leads


def read(path, reader=None):
    file = os.open(path, FILE)
    try:
        return (reader or Reader()).read(file)
    finally:
        os.close(file)


def sum_up(path):
    handle = os.open(path, DIRECTORY)
    try:
        return Reader().sum_up(handle)
    finally:
        os.close(handle)


def test_long_files_are_read_to_the_end_and_take_nothing_from_short_ones(root, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 10)
    monkeypatch.setattr(module, "LARGE_BYTES", 150)
    (root / "large").write_bytes(b"x" * 100)
    (root / "small").write_bytes(b"y")
    reader = Reader()
    first = read(root / "large", reader)
    assert (first.content, first.complete) == (None, True)
    assert not read(root / "large", reader).complete
    assert read(root / "small", reader).content == b"y"
    (root / "large").write_bytes(b"x" * 99 + b"z")
    assert read(root / "large").mark != first.mark


def test_a_sum_tells_apart_whatever_was_done_with_a_file_in_it(root):
    file = root / "a/b/index.js"
    file.write_text("one")
    times = file.stat()
    before = sum_up(root)
    assert sum_up(root) == before
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sum_up(root).mark != before.mark


def test_a_sum_that_is_not_of_everything_says_so(root, monkeypatch):
    assert sum_up(root).complete
    monkeypatch.setattr(module, "SUMMED", 1)
    assert not sum_up(root).complete
    monkeypatch.setattr(module, "SUMMED", 100)
    monkeypatch.setattr(module, "SUM_DEPTH", 1)
    assert not sum_up(root).complete
