"""Where the variables of a sandbox file come from, and which of two counts."""

import pytest

from sandboxfile.errors import NotFoundError
from sandboxfile.host.variables import read_variables
from sandboxfile.language.document import FILE_LIMIT


def test_the_environment_counts_over_dot_env_over_env_files_and_later_ones_over_earlier(tmp_path):
    (tmp_path / ".env").write_text("A=dot\nB=dot\n")
    (tmp_path / "one").write_text("A=one\nB=one\nC=one\nD=one\n")
    (tmp_path / "two").write_text("C=two\nE\n")
    found = read_variables(tmp_path, [tmp_path / "one", tmp_path / "two"], {"A": "environment", "F": ""})
    assert found.values == {"A": "environment", "B": "dot", "C": "two", "D": "one", "F": ""}
    assert found.problems == ()
    assert found.files == (tmp_path / "one", tmp_path / "two", tmp_path / ".env")


def test_dot_env_need_not_be_there_and_is_named_all_the_same(tmp_path):
    found = read_variables(tmp_path, (), {})
    assert (found.values, found.problems, found.files) == ({}, (), (tmp_path / ".env",))


def test_an_env_file_that_was_asked_for_must_be_there(tmp_path):
    with pytest.raises(NotFoundError):
        read_variables(tmp_path, [tmp_path / "none"], {})


@pytest.mark.parametrize(
    ("content", "summary"),
    [(b"A=\xff", "Not UTF-8"), (b"no value", "Malformed env_file"), (b"#" * (FILE_LIMIT + 1), "File too long")],
)
def test_a_wrong_dot_env_is_told_and_gives_nothing(tmp_path, content, summary):
    (tmp_path / ".env").write_bytes(content)
    found = read_variables(tmp_path, (), {})
    assert [problem.summary for problem in found.problems] == [summary]
    assert found.values == {}


def test_what_is_no_file_is_told(tmp_path):
    (tmp_path / ".env").mkdir()
    assert [problem.summary for problem in read_variables(tmp_path, (), {}).problems] == ["env_file not readable"]
