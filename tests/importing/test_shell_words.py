"""Words as a shell cuts them, without a shell."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.importing.shell_words import commands


def texts(text: str) -> list[list[str]]:
    found, problems = commands(text, "f")
    assert not problems
    return [[word.text for word in words] for words in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", [["a", "b", "c"]]),
        ("a 'b c' \"d e\"f", [["a", "b c", "d ef"]]),
        ("a \\\n  b # c\nd", [["a", "b"], ["d"]]),
        ("a\\ b 'it'\\''s'", [["a b", "it's"]]),
        ('"a\\"b\\$c\\d"', [['a"b$c\\d']]),
        ("a;b&&c|d\n\ne", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("a#b ''", [["a#b", ""]]),
        ("x $(pwd)/y z", [["x", "$(pwd)/y", "z"]]),
    ],
)
def test_words_are_cut_as_a_shell_cuts_them(text: str, expected: list[list[str]]) -> None:
    assert texts(text) == expected


@pytest.mark.parametrize(
    ("text", "live"),
    [("$A", True), ("'$A'", False), ('"$A"', True), ("\\$A", False), ('"\\$A"', False), ("*.x", True), ('"*.x"', False),
     ("`a`", True)],
)  # fmt: skip
def test_what_a_shell_would_replace_is_marked(text: str, live: bool) -> None:
    found, _ = commands(text, "f")
    assert found[0][0].live == live


def test_every_word_has_its_place() -> None:
    found, _ = commands("a b\n  cd \\\n e", "f")
    assert [str(word.span) for words in found for word in words] == ["f:1:1", "f:1:3", "f:2:3", "f:3:2"]


@pytest.mark.parametrize("text", ["a 'b", 'a "b', "a $(b"])
def test_an_unclosed_quote_is_an_error_where_its_word_begins(text: str) -> None:
    _, problems = commands(text, "f")
    assert [str(problem.span) for problem in problems] == ["f:1:3"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_quoted_words_come_back_as_they_were_and_nothing_in_them_is_live(words: list[str]) -> None:
    found, problems = commands(shlex.join(words), "f")
    assert not problems
    assert [[word.text for word in command] for command in found] == [words]
    assert not any(word.live for command in found for word in command)
