"""What is kept of a terminal's output, and how a terminal is brought to it and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.supervisor.scrollback import KEPT, Modes, Scrollback


def after(*pieces: bytes) -> Scrollback:
    scrollback = Scrollback()
    for piece in pieces:
        scrollback.add(piece)
    return scrollback


def modes(output: bytes) -> Modes:
    found = Modes()
    found.follow(output)
    return found


def test_whoever_comes_late_sees_a_clear_screen_and_the_output() -> None:
    assert after(b"one\r\n", b"two").replay() == b"\x1b[0m\x1b[H\x1b[2Jone\r\ntwo"


def test_no_more_than_a_bounded_part_is_kept_and_it_begins_with_a_line() -> None:
    lines = b"".join(b"line %d\r\n" % number for number in range(100_000))
    kept = after(*(lines[start : start + 1000] for start in range(0, len(lines), 1000))).replay()
    assert len(kept) < 2 * KEPT
    body = kept.partition(b"\x1b[2J")[2]
    assert body.startswith(b"line ")
    assert body.endswith(b"line 99999\r\n")


def test_one_piece_larger_than_all_that_is_kept_is_cut() -> None:
    assert len(after(b"x" * 10 * KEPT).replay()) < 2 * KEPT


def test_no_character_is_cut_in_two() -> None:
    kept = after(b"\n" + "€".encode() * KEPT).replay()
    kept.partition(b"\x1b[2J")[2].decode()


def test_modes_that_were_set_before_what_is_kept_are_set_again() -> None:
    scrollback = after(b"\x1b[?1049h\x1b[?2004;25h\x1b[?25l\x1b[>1u\x1b=", b"line\r\n" * KEPT)
    assert scrollback.replay().startswith(b"\x1b[?1049h\x1b[?2004h\x1b[?25l\x1b[>1u\x1b=\x1b[0m")


@pytest.mark.parametrize(
    "question",
    [
        b"\x1b[c",
        b"\x1b[>c",
        b"\x1b[>0q",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[?2026$p",
        b"\x1b[?u",
        b"\x1b[14t",
        b"\x1b]11;?\x07",
        b"\x1b]10;?\x1b\\",
        b"\x1b]52;c;aGVsbG8=\x07",
        b"\x1b]9;look here\x07",
        b"\x1bP+q544e\x1b\\",
        b"\x1bP$qm\x1b\\",
        b"\x1b_Gi=1,a=q;AAAA\x1b\\",
        b"\x1bZ",
        b"\x05",
        b"\x07",
        b"\xc2\x9b",
    ],
)
def test_nothing_is_replayed_that_a_terminal_answers_or_does_once(question: bytes) -> None:
    assert after(b"before" + question + b"after").replay().endswith(b"Jbeforeafter")


@pytest.mark.parametrize(
    "harmless",
    [b"\x1b[1;31m", b"\x1b[2K", b"\x1b[5 q", b"\x1b]0;title\x07", b"\x1b]8;;https://example.com\x1b\\", b"\x1b[u"],
)
def test_what_only_draws_is_replayed(harmless: bytes) -> None:
    assert after(b"before" + harmless + b"after").replay().endswith(b"Jbefore" + harmless + b"after")


def test_a_sequence_whose_end_is_still_to_come_is_kept_for_it() -> None:
    assert after(b"text\x1b[3").replay().endswith(b"text\x1b[3")


def test_what_was_made_of_a_terminal_is_undone_however_long_ago_that_was() -> None:
    undo = after(b"\x1b[?1049h\x1b[?25l", *[b"line\r\n" * 1000] * 100).undo()
    assert b"\x1b[?25h\x1b[?1049l" in undo


def test_a_sequence_that_is_cut_when_the_oldest_is_dropped_counts_as_any() -> None:
    for shift in range(12):  # no line ends near the cut
        undo = after(b"x" * (KEPT // 4 - shift) + b"\x1b[?1049h" + b"x" * (KEPT + 1)).undo()
        assert b"\x1b[?1049l" in undo


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_whatever_is_printed_can_be_kept_and_replayed(pieces: list[bytes]) -> None:
    scrollback = after(*pieces, b"end")
    assert scrollback.replay().endswith(b"end") or b"\x1b" in b"".join(pieces)
    left = modes(b"".join(pieces) + scrollback.undo())
    left.doubt = left.colours = False  # remembered for good
    assert left == Modes()
