"""Durations as text: what is written is what is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.model.durations import duration
from sandboxfile.model.spec_life import parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (30, "30s"), (90, "1m30s"), (3600, "1h"), (0.5, "500ms"), (5430.02, "1h30m30s20ms"), (1e-6, "1us")],
)
def test_durations_are_written_as_people_write_them(seconds, text):
    assert duration(seconds) == text


@given(st.integers(0, 366 * 86400 * 1_000_000))
def test_what_is_written_is_read_as_the_same(microseconds):
    read = parse_duration(duration(microseconds / 1e6))
    assert read is not None
    assert round(read * 1e6) == microseconds
