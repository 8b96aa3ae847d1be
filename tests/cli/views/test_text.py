"""Tables, ages, sizes, and text from elsewhere."""

from datetime import UTC, datetime, timedelta

import pytest

from sandboxfile.cli.views.text import age, did_you_mean, duration, harmless, one_line, roughly, table

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_table_is_as_wide_as_its_cells_and_ends_without_blanks():
    assert table(("ID", "STATUS"), [("shop/web", "running"), ("x", "")]) == "ID        STATUS\nshop/web  running\nx"


def test_an_empty_table_is_its_header():
    assert table(("ID", "STATUS"), []) == "ID  STATUS"


@pytest.mark.parametrize(
    ("before", "shown"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86400, "1d"), (40 * 86400, "40d"), (-5, "0s")],
)
def test_ages_are_in_their_largest_unit(before, shown):
    assert age((NOW - timedelta(seconds=before)).isoformat(), NOW) == shown


def test_what_is_no_time_has_no_age():
    assert age("yesterday", NOW) == "-"
    assert age("2026-01-02T03:04:00", NOW) == "5s"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_durations_are_short(seconds, shown):
    assert duration(seconds) == shown


def test_sizes_are_rough():
    assert [roughly(n) for n in (10, 1536 << 20, 3 << 39)] == ["10 B", "1.5 GiB", "1.5 TiB"]


def test_foreign_text_cannot_drive_the_terminal():
    assert harmless("a\x1b]0;x\x07\x9b\tb\n") == "a\ufffd]0;x\ufffd\ufffd\tb\n"
    assert harmless("äß漢") == "äß漢"


def test_one_line_is_one_line_of_the_width():
    assert one_line("a\n b\tc", 9) == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert one_line("abcdef", 0) == "…"


def test_only_near_words_are_proposed():
    assert did_you_mean("wbe", ["web", "db"]) == "did you mean web?"
    assert did_you_mean("zzz", ["web", "db"]) is None
