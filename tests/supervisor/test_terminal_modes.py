"""By which modes a terminal differs from a fresh one, and that leaving undoes them, those that nobody saw included."""

import re
import time

import pytest

from sandboxfile.supervisor.terminal_modes import Modes


def modes(output: bytes) -> Modes:
    found = Modes()
    found.follow(output)
    return found


@pytest.mark.parametrize(
    "clean",
    [
        b"\x1b[?1049h\x1b[?1049l",
        b"\x1b[?25l\x1b[?25h",
        b"\x1b[>1u\x1b[<u",
        b"\x1b[>1u\x1b[>3u\x1b[<2u",
        b"\x1b[>4;2m\x1b[>4;0m",
        b"\x1b[>4;2m\x1b[>4m",
        b"\x1b=\x1b>",
        b"\x1b[?2004h\x1bc",
        b"\x1b[?2004h\x1b=\x1b[!p",
        b"\x1b[?01049h\x1b[?1049l",
        b"\x1b]0;title\x07\x1b]8;;https://example.com\x1b\\\x1b]11;?\x07\x1b]4;1;?\x1b\\",
        b"\x1bP+q544e\x1b\\\x1b_Gi=1,a=q;AAAA\x1b\\",
        b"\x1b[38;2;255;255;255;48;2;255;255;255;58;2;255;255;255;1;2;3;4;5;7;8;9;21;53m",
        b"\x1b[3 q\x1b[0 q",
        b"plain \x1b[1mtext",
    ],
)
def test_a_program_that_has_cleaned_up_leaves_nothing_to_undo(clean: bytes) -> None:
    assert modes(clean) == Modes()


def test_making_and_undoing_modes_meet() -> None:
    found = modes(b"\x1b[?1049h\x1b[?2004h\x1b[?7l\x1b[>1u\x1b[>4;1m\x1b=\x1b[2 q")
    assert modes(found.make()) == found
    assert modes(found.make() + found.undo()) == Modes()


def test_a_program_cannot_make_more_modes_than_are_remembered() -> None:
    found = modes(b"".join(b"\x1b[?%dh" % number for number in range(9999)) + b"\x1b[>1u" * 9999)
    assert len(found.make()) < 2000


def test_what_is_set_is_undone_in_the_screen_that_it_belongs_to() -> None:
    undo = modes(b"\x1b[?1049h\x1b[?1000;1006h\x1b[?25l\x1b[>5u\x1b[>4;2m\x1b=\x1b[5 q").undo()
    for expected in (b"?1000l", b"?1006l", b"?25h", b">4m", b"0 q", b"\x1b>"):
        assert expected in undo
    assert undo.index(b"<99u") < undo.index(b"?1000l") < undo.index(b"?1049l") < undo.rindex(b"<99u")


@pytest.mark.parametrize(
    "reset",
    [
        *(f"\x1b[?{number}l" for number in (9, *range(1000, 1007), 1015, 1016, 2004)),
        *("\x1b[?25h", "\x1b[?7h", "\x1b[4l", "\x1b[r", "\x1b(B", "\x0f", "\x1b]8;;\x1b\\", "\x1b[<99u", "\x1b[=0u"),
        *("\x1b[>4m", "\x1b[0m", "\x1b>"),
    ],
)
def test_what_outlasts_a_program_is_reset_whether_it_was_seen_or_not(reset: str) -> None:
    assert reset.encode() in Modes().undo()


def test_a_terminal_that_nothing_was_done_to_keeps_its_screen_its_cursor_and_its_colours() -> None:
    undo = modes(b"plain \x1b[1mtext\x1b]11;?\x07").undo()
    assert not re.search(rb"\x1b\[\?(?:47|1047|1048|1049|6)l|\x1b\]1|\x1bc|\x1b\[!p|\x1b\[[0-9;]*[HJf]", undo)
    assert b"\x1b7\x1b[?69l\x1b[r\x1b8" in undo  # setting margins moves the cursor
    assert undo.endswith(b"\x1b[0m")


def test_undoing_begins_by_ending_whatever_text_was_begun() -> None:
    assert modes(b"\x1b]0;tit").undo().startswith(b"\x1b\\")


@pytest.mark.parametrize(
    "colours", [b"4;1;red", b"4;1;#fff;2;?", b"04;1;red", b"10;red", b"11;#000", b"12;red", b"P0ff0000", b"104"]
)
@pytest.mark.parametrize("end", [b"\x07", b"\x1b\\"])
def test_a_palette_is_reset_when_a_program_had_to_do_with_it(colours: bytes, end: bytes) -> None:
    undo = modes(b"\x1b]" + colours + end).undo()
    for command in (104, 110, 111, 112):
        assert b"\x1b]%d\x1b\\" % command in undo


@pytest.mark.parametrize("screen", [b"47", b"1047", b"1049"])
@pytest.mark.parametrize("more", [b"", b"".join(b"\x1b[?%dh" % number for number in range(2000, 9999)), b"\x1b[!p"])
def test_the_other_screen_is_left_however_much_was_set_since(screen: bytes, more: bytes) -> None:
    assert b"\x1b[?%bl" % screen in modes(b"\x1b[?%bh" % screen + more).undo()


@pytest.mark.parametrize(
    "doubtful",
    [
        b"\x1b[?" + b"1;" * 33 + b"1049h",
        b"\x1b[?" + b"0" * 99 + b"1049h",
        b"\x1b[?1049" + b";1" * 20 + b"h",
        b"\x1b[?1049h\x1b[?" + b"1;" * 20 + b"1049l",  # some terminals do not look at so many
        b"\x1b[?1049:0h",
        b"\x1b[?66585h",  # 65536 more
        b"\x1b[?10\n49h",
        b"\x1b[\x00?1049h",
        b"\x1b\r[?1049h",
        b"\x1b[?10\x7f49h",
        b"\x1b[?1049r",
        b"\xc2\x9b?1049h",
        b"\x1b[?1049h\x1b]0;\x1b[?1049l\x07",  # a title, to some
        b"\x1b[?1049h\x1bP\x07\x1b[?1049l\x1b\\",
        b"\x1b[?1049h\x1b]4;1;\x1bc\x07",
        b"\x1b[?1049h\x1b]0;",
    ],
)
def test_what_terminals_read_in_several_ways_counts_as_the_other_screen_and_other_colours(doubtful: bytes) -> None:
    for output in (doubtful, doubtful + b"\x1b]0;title\x07\x1b[1mtext"):
        undo = modes(output).undo()
        assert b"\x1b7\x1b[?1049l" in undo  # the cursor stays where it is when there was none
        assert b"\x1b]104\x1b\\" in undo


def test_output_that_ends_within_a_sequence_may_end_within_any() -> None:
    for begun in (b"\x1b", b"\x1b[", b"\x1b[?", b"\x1b[?10", b"\x1b[?1049;"):
        assert modes(b"text" + begun).doubt


@pytest.mark.parametrize(
    "unit", [b"\x1b", b"\x1b[", b"\x1b[?", b"\x1b[?1", b"\x1b]", b"\x1bP", b"1;", b"\xc2", b"\x1b[1 "]
)
def test_output_made_to_be_slow_to_follow_is_not(unit: bytes) -> None:
    began = time.process_time()
    for start in (b"", b"\x1b[?", b"\x1b]", b"\x1bP", b"\x1b["):
        modes(start + unit * ((80 << 10) // len(unit)))
    assert time.process_time() - began < 2  # 0.1 is usual
