"""What can be used as a value: text of one line. What is refused is not shown."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.secrets.values import LIMIT, SecretError, usable


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_newline_at_the_end_does_not_count(end):
    assert usable(f"key {end}", "it") == "key "
    assert usable(f"schlüssel{end}".encode(), "it") == "schlüssel"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("key\n\n", "has more than one line"),
        ("key\r\nX-Other: 1", "has more than one line"),
        ("key\rmore", "has control characters"),
        ("key\0more", "has control characters"),
        ("key\tmore", "has control characters"),
        ("key\x7f", "has control characters"),
        ("key\x85", "has control characters"),
        (b"key\xff", "is not text"),
        ("key\udcff", "is not text"),
        ("k" * (LIMIT + 1), "is longer than 64 KiB"),
        ("ü" * (LIMIT // 2 + 1), "is longer than 64 KiB"),
    ],
)
def test_what_could_end_a_line_or_is_too_much_is_refused(value, said):
    with pytest.raises(SecretError) as failure:
        usable(value, "the variable KEY", "do this")
    assert failure.value.message == f"the variable KEY {said}"
    assert failure.value.hint == "do this"


def test_the_longest_value_is_taken():
    assert len(usable("k" * LIMIT + "\n", "it")) == LIMIT


@given(st.binary(max_size=40))
def test_a_value_has_one_line_whatever_comes(data):
    try:
        value = usable(data, "it")
    except SecretError:
        return
    assert value
    assert value.isprintable() or not any(c < " " or "\x7f" <= c <= "\x9f" for c in value)


def test_no_traceback_shows_a_value_that_is_refused(value):
    for bad in (value.encode() + b"\xff", value + "\udcff", value + "\0"):
        with pytest.raises(SecretError) as failure:
            usable(bad, "it")
        assert value not in "".join(traceback.format_exception(failure.value))
        assert failure.value.__cause__ is None
