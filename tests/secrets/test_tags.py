"""Tags tell that a value is the same, and nothing else of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.secrets.tags import matches, tag

values = st.text(max_size=100)


@given(values, values)
def test_a_tag_is_of_its_value_alone(value, other):
    assert matches(tag(value), value)
    assert matches(tag(value), other) == (value == other)


def test_two_tags_of_one_value_differ_and_show_nothing_of_it():
    first, second = tag("hunter2hunter2"), tag("hunter2hunter2")
    assert first != second
    assert "hunter2" not in first


def test_a_variable_that_is_no_text_has_a_tag_too():
    assert matches(tag("a\udcff"), "a\udcff")


@pytest.mark.parametrize("text", ["", ":", "zz:00", "00", "00:é", "é:00", f"{'00' * 65}:00", "00:\x00"])
def test_what_is_no_tag_matches_nothing(text):
    assert not matches(text, "")
    assert not matches(text, "x")
