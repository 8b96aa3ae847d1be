"""Following a log across rotation and truncation."""

from contextlib import closing

import pytest

from sandboxfile.cli.tail import Tail, last_lines


@pytest.fixture
def log(tmp_path):
    return tmp_path / "main.log"


@pytest.fixture
def tail(log):
    with closing(Tail(log)) as opened:
        yield opened


def test_lines_come_once_and_only_whole(log, tail):
    assert tail.read(whole=True) == []
    log.write_bytes(b"one\r\ntw")
    assert tail.read() == ["one"]
    with log.open("ab") as file:
        file.write(b"o\nthree\xff\n")
    assert tail.read() == ["two", "three\N{REPLACEMENT CHARACTER}"]
    assert tail.read() == []


def test_nothing_is_lost_or_repeated_when_the_log_is_rotated(log, tail, tmp_path):
    log.write_text("a\n")
    assert tail.read() == ["a"]
    with log.open("a") as file:
        file.write("b\nhal")
    assert tail.read() == ["b"]
    with log.open("a") as file:
        file.write("f\nc\n")
    log.rename(tmp_path / "main.log.1")
    log.write_text("d\n")
    assert tail.read() == ["half", "c", "d"]


def test_the_rotated_part_and_an_unfinished_line_belong_to_the_whole(log, tail, tmp_path):
    (tmp_path / "main.log.1").write_text("old\n")
    log.write_text("new\nlogin: ")
    assert tail.read(whole=True) == ["old", "new", "login: "]
    with log.open("a") as file:
        file.write("x\n")
    assert tail.read() == ["x"]


def test_a_truncated_log_is_read_from_its_beginning(log, tail):
    log.write_text("a long first line\n")
    tail.read()
    log.write_text("new\n")
    assert tail.read() == ["new"]


def test_the_last_lines_are_as_many_as_there_are():
    assert last_lines(["a", "b", "c"], None) == ["a", "b", "c"]
    assert last_lines(["a", "b", "c"], 2) == ["b", "c"]
    assert last_lines(["a", "b", "c"], 0) == []
    assert last_lines(["a"], 5) == ["a"]
