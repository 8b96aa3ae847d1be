"""Sizes as text: what is written is what is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.sizes import size
from sandboxfile.model.values import parse_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1 << 30, "1GiB"),
        (1536 << 20, "1536MiB"),
        (1 << 40, "1TiB"),
        (1024, "1KiB"),
        (1, "1B"),
        (1025, "1025B"),
        (0, "0B"),
    ],
)
def test_sizes_are_written_as_in_the_file(count, text):
    assert size(count) == text


@given(st.integers(0, 1 << 45), st.sampled_from([0, 10, 20, 30]))
def test_what_is_written_is_read_as_the_same(count, unit):
    assert parse_size(size(count >> unit << unit)) == count >> unit << unit
