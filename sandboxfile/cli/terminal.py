"""The user's own terminal while a command inside a sandbox has it. It is as before on every way out."""

import fcntl
import os
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import sleep

_ANSWERED = 0.05  # seconds in which a terminal answers what it was asked last


@contextmanager
def raw(terminal: int) -> Iterator[None]:
    """Pass every key on, Ctrl-C included, until the block ends.

    What has come by then and nobody has read is dropped: a terminal's late answers would be commands to the shell.
    """
    saved = termios.tcgetattr(terminal)
    try:
        tty.setraw(terminal)
        yield
    finally:
        try:
            sleep(_ANSWERED)
        finally:
            with suppress(termios.error):  # the terminal is gone (hung up)
                termios.tcsetattr(terminal, termios.TCSAFLUSH, saved)


@contextmanager
def flags_kept(descriptors: Sequence[int]) -> Iterator[None]:
    """Undo O_NONBLOCK: the flag belongs to the open file, which the user's shell goes on using."""
    saved = [(descriptor, fcntl.fcntl(descriptor, fcntl.F_GETFL)) for descriptor in descriptors]
    try:
        yield
    finally:
        for descriptor, flags in saved:
            with suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


def window(terminal: int) -> tuple[int, int]:
    """Rows and columns; 24 x 80 when the terminal does not say."""
    columns, rows = os.get_terminal_size(terminal)
    return (rows, columns) if rows and columns else (24, 80)
