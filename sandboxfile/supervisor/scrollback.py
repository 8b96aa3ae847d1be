"""The end of a terminal's output, kept so that somebody who comes later sees it as if they had been there. Pure.

Not a terminal emulator: it keeps bytes, and knows the modes (`terminal_modes`) at the first byte kept and at the last.
Nothing that it replays makes a terminal answer, for the answer would be typed into the program: questions, the
clipboard and bells are left out.
"""

import re

from sandboxfile.supervisor.terminal_modes import Modes

KEPT = 64 << 10  # bytes
_SLACK = KEPT // 4  # more than KEPT before anything is dropped, so that it is not done for every byte
_SEARCHED = 4096  # bytes in which a good place to begin is looked for
_CLEAR = b"\x1b[0m\x1b[H\x1b[2J"

_CSI = rb"\x1b\[(?P<private>[<=>?]?)(?P<numbers>[0-9;:]{0,64})(?P<between>[ -/]{0,4})(?P<final>[@-~])"
_TEXT = rb"[^\x07\x1b]*(?:\x07|\x1b\\)"
_CONTROL = re.compile(
    _CSI + rb"|\x1b\](?P<command>" + _TEXT + rb")|\x1b[PX^_][^\x1b]*\x1b\\|\x1bZ|[\x05\x07]|\xc2[\x80-\x9f]"
)
_HARMLESS_COMMAND = re.compile(rb"[0128];")  # of OSC: titles and links
_BOUNDARY = re.compile(rb"(?<=\n)|(?=\x1b)")


class Scrollback:
    """What is kept of one terminal's output, at most KEPT bytes and some slack."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._before = Modes()  # at the first byte kept

    def add(self, output: bytes) -> None:
        """Keep it; drop the oldest in exchange."""
        self._kept += output
        if len(self._kept) > KEPT + _SLACK:
            end = _beginning(self._kept, len(self._kept) - KEPT)
            self._before.follow(bytes(self._kept[:end]))
            del self._kept[:end]

    def replay(self) -> bytes:
        """A terminal that gets this, whatever it showed before, shows what one does that was there all the time."""
        return self._before.make() + _CLEAR + _CONTROL.sub(_without_answer, bytes(self._kept))

    def undo(self) -> bytes:
        """What a terminal needs that is left at this point, to be as before."""
        now = self._before.copy()
        now.follow(bytes(self._kept))
        return now.undo()


def _beginning(kept: bytearray, least: int) -> int:
    """Where to begin, at `least` or soon after it: where a line or a sequence does, else between two characters."""
    if found := _BOUNDARY.search(kept, least, min(least + _SEARCHED, len(kept))):
        return found.start()
    while least < len(kept) and 0x80 <= kept[least] < 0xC0:
        least += 1
    return least


def _without_answer(found: re.Match[bytes]) -> bytes:
    """The sequence, or nothing when a terminal would answer it, or do something that was meant to be done once."""
    if found["command"] is not None:
        harmless = _HARMLESS_COMMAND.match(found["command"]) is not None
        return found[0] if harmless else b""
    match (found["private"], found["between"], found["final"]):
        case (None, _, _) | (_, _, b"c" | b"n" | b"t" | b"x") | (_, b"$", b"p") | (b">", _, b"q") | (b"?", _, b"u"):
            return b""
    return found[0]
