"""Compose's env_file syntax."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.resolve.env_file import parse_env_file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A=", ""),
        ("A= b ", "b"),
        ("export A=b", "b"),
        ("  A = b", "b"),
        ("A: b", "b"),
        ("A=b # c", "b"),
        ("A=b#c", "b#c"),
        ("A=#c", ""),
        ("A=a=b", "a=b"),
        ("A='b # c' # d", "b # c"),
        ('A="b\\nc"', "b\nc"),
        ("A='b\\nc'", "b\\nc"),
        ('A="say \\"hi\\""', 'say "hi"'),
        ("A='x\ny'", "x\ny"),
        ('A="$X"', "$X"),
        ("A=$X", "$X"),
        ('A="\\${X}"', "${X}"),
        ("A='${X}'", "${X}"),
        ("A=a\\b", "a\\b"),
        ("A", None),
        ("A=1\nA=2", "2"),
        ("A=b\r\n", "b"),
        ("\ufeffA=b", "b"),
        ("A=it's", "it's"),
    ],
)
def test_a_line_sets_a_variable(line: str, value: str | None) -> None:
    assert parse_env_file(line, "f") == ({"A": value}, ())


def test_comments_and_blank_lines_set_nothing() -> None:
    assert parse_env_file("# a=b\n\n   \n\t# c\n", "f") == ({}, ())


def test_every_wrong_line_is_reported_and_the_others_count() -> None:
    variables, problems = parse_env_file("=x\nA=1\n1B=2\nC D\nE='open\nF=${G}\nH=2", "f")
    assert variables == {"A": "1", "H": "2"}
    assert [str(problem.span) for problem in problems] == ["f:1:1", "f:3:1", "f:4:3", "f:5:3", "f:6:3"]


@settings(deadline=None)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("A=:'\"\\\n #$\0{")), max_size=60))
def test_no_text_makes_it_crash(text: str) -> None:
    parse_env_file(text, "f")


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="'\0\r", exclude_categories=["Cs"])))
def test_single_quotes_keep_everything(value: str) -> None:
    assert parse_env_file(f"A='{value}'", "f") == ({"A": value}, ())
