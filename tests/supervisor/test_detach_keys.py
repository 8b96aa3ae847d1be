"""The keys that detach, found in what terminals send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxfile.supervisor.detach_keys import DetachKeys

P, Q = 16, 17
KITTY_P, KITTY_Q = b"\x1b[112;5u", b"\x1b[113;5u"


def typed(*pieces: bytes, keys: tuple[int, ...] = (P, Q)) -> tuple[bytes, bool]:
    """What the program gets of the pieces, and whether they detach."""
    watching = DetachKeys(keys)
    passed = b"".join(watching.pass_on(piece) for piece in pieces)
    return passed, watching.complete


def test_the_keys_detach_and_only_what_came_before_them_is_passed_on() -> None:
    assert typed(b"before\x10\x11after") == (b"before", True)


def test_the_keys_may_come_one_by_one() -> None:
    assert typed(b"\x10", b"\x11") == (b"", True)


def test_a_beginning_is_held_back_and_passed_on_when_it_goes_on_otherwise() -> None:
    assert typed(b"a\x10") == (b"a", False)
    assert typed(b"a\x10", b"b") == (b"a\x10b", False)
    assert typed(b"\x10", b"\x10") == (b"\x10", False)


def test_a_beginning_may_begin_anew() -> None:
    assert typed(b"\x10\x10\x11") == (b"\x10", True)
    assert typed(b"aabaac", keys=tuple(b"aac")) == (b"aab", True)


@pytest.mark.parametrize(
    "pieces",
    [
        (KITTY_P, KITTY_Q),
        (b"\x10", KITTY_Q),
        (b"\x1b[112:80;5u\x1b[113:81:113;5:1u",),
        (b"\x1b[27;5;112~\x1b[27;5;113~",),
        (b"\x1b[57442;5u", KITTY_P, b"\x1b[112;5:3u", KITTY_Q),  # the key alone, its press, its release
        (b"\x1b[112;69u", b"\x1b[113;133u"),  # with caps lock, with num lock
    ],
)
def test_a_key_is_the_same_however_it_is_sent(pieces: tuple[bytes, ...]) -> None:
    assert typed(*pieces)[1]


def test_other_modifiers_make_other_keys() -> None:
    for key in (b"\x1b[112;6u", b"\x1b[112;1u", b"\x1b[112;7u", b"\x1b[27;6;112~"):
        assert typed(key, KITTY_Q) == (key + KITTY_Q, False)


def test_a_key_that_is_passed_on_late_is_passed_on_as_it_was_sent() -> None:
    assert typed(KITTY_P, b"\x1b[112;5:3u", b"x") == (KITTY_P + b"\x1b[112;5:3ux", False)


def test_escape_alone_and_arrows_are_not_held_back() -> None:
    for key in (b"\x1b", b"\x1b[A", b"\x1b[112", b"\x1b[200~text\x1b[201~"):
        assert typed(key) == (key, False)


def test_without_keys_nothing_detaches() -> None:
    assert typed(b"\x10\x11", keys=()) == (b"\x10\x11", False)


@given(st.lists(st.binary(max_size=8), max_size=8), st.binary(min_size=1, max_size=3))
def test_nothing_is_lost_and_nothing_is_made_up(pieces: list[bytes], keys: bytes) -> None:
    data = b"".join(pieces)
    passed, complete = typed(*pieces, keys=tuple(keys))
    assert data.startswith(passed)
    assert complete or len(data) - len(passed) < len(keys)
