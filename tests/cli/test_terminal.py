"""The user's terminal is as before, whatever happens in between."""

import os
import pty
import select
import struct
import termios
from fcntl import F_GETFL, fcntl, ioctl

import pytest

from sandboxfile.cli import terminal


@pytest.fixture
def tty():
    outside, inside = pty.openpty()
    yield inside
    os.close(outside)
    os.close(inside)


def test_raw_mode_ends_with_the_block_even_when_it_fails(tty):
    before = termios.tcgetattr(tty)
    seen = []

    def use():
        with terminal.raw(tty):
            seen.append(termios.tcgetattr(tty)[3] & (termios.ECHO | termios.ICANON | termios.ISIG))
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert seen == [0]
    assert termios.tcgetattr(tty) == before


def typed(inside):
    return bool(select.select([inside], [], [], 0)[0])


@pytest.mark.parametrize("late", [False, True])
def test_what_the_terminal_answered_last_is_no_input_of_the_shell(monkeypatch, late):
    outside, inside = pty.openpty()
    waited = []

    def answer():
        os.write(outside, b"\x1b]11;rgb:0/0/0\x07reboot\r")
        select.select([inside], [], [])

    def sleep(seconds):
        waited.append((seconds, termios.tcgetattr(inside)[3] & termios.ECHO))
        if late:
            answer()

    monkeypatch.setattr(terminal, "sleep", sleep)
    with terminal.raw(inside):
        if not late:
            answer()
    assert waited == [(0.05, 0)]
    assert not typed(inside)
    assert not typed(outside)  # nor was it shown
    os.close(outside)
    os.close(inside)


def test_the_terminal_is_restored_when_even_the_wait_is_interrupted(tty, monkeypatch):
    before = termios.tcgetattr(tty)

    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt), terminal.raw(tty):
        pass
    assert termios.tcgetattr(tty) == before


def test_a_hung_up_terminal_is_no_error():
    outside, inside = pty.openpty()
    with terminal.raw(inside):
        os.close(outside)
    os.close(inside)


def test_blocking_mode_is_restored(tty):
    with terminal.flags_kept([tty]):
        os.set_blocking(tty, False)
    assert os.get_blocking(tty)
    assert not fcntl(tty, F_GETFL) & os.O_NONBLOCK


def test_the_window_is_the_terminals_and_never_empty(tty):
    assert terminal.window(tty) == (24, 80)
    ioctl(tty, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
    assert terminal.window(tty) == (31, 97)
