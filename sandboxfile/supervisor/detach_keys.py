"""Finds the keys that detach in what somebody types, whatever way the terminal sends them. Pure.

A terminal sends Ctrl-P as one byte, or, when the program inside has asked it to be exact about keys, as a control
sequence (`CSI 112;5u` of the kitty keyboard protocol, `CSI 27;5;112~` of xterm's modifyOtherKeys): agents do ask. All
of these are the same key here. As in Docker, keys that begin the sequence are held back until it is clear whether it
goes on.
"""

import re
from collections.abc import Iterator, Sequence

# kitty: CSI code:shifted:base;modifiers:event u        xterm: CSI 27;modifiers;code ~
_KEY = re.compile(rb"\x1b\[(?:(\d{1,6})(?::\d*)*;(\d{1,4})(?::([123]))?u|27;(\d{1,4});(\d{1,6})~)|[\s\S]")
_CONTROL, _LOCKS = 4, 64 | 128  # bits of the modifiers, which are sent plus one; caps lock and num lock do not count
_RELEASED = b"3"
_MODIFIER_KEYS = range(57441, 57455)  # the modifiers themselves, as keys that are pressed
_SILENT = -1


class DetachKeys:
    """Watches one client's input. `keys` are bytes as a plain terminal sends them; without any nothing detaches."""

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = tuple(keys)
        self._held: list[tuple[int, bytes]] = []
        self.complete = False

    def pass_on(self, data: bytes) -> bytes:
        """What goes to the program now. Once `complete`, what came before the keys, and no more."""
        if not self._keys:
            return data
        if self.complete:
            return b""
        passed = bytearray()
        for key, typed in _keys(data):
            self._held.append((key, typed))
            passed += self._release()
            if self._matched() == len(self._keys):
                self.complete = True
                break
        return bytes(passed)

    def _matched(self) -> int:
        return sum(key != _SILENT for key, _ in self._held)

    def _release(self) -> bytes:
        """Let go of keys, the oldest first, until what is still held begins the sequence."""
        released = b""
        while self._held:
            held = tuple(key for key, _ in self._held if key != _SILENT)
            if held and self._keys[: len(held)] == held:
                break
            released += self._held.pop(0)[1]
        return released


def _keys(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each key with the bytes that it was sent as; _SILENT for the release of one, and for modifiers alone."""
    for found in _KEY.finditer(data):
        kitty, kitty_modifiers, event, xterm_modifiers, xterm = found.groups()
        code, modifiers = kitty or xterm, kitty_modifiers or xterm_modifiers
        if code is None:
            yield found[0][0], found[0]
        elif event == _RELEASED or int(code) in _MODIFIER_KEYS:
            yield _SILENT, found[0]
        elif (int(modifiers) - 1) & ~_LOCKS == _CONTROL and 64 <= int(code) < 128:
            yield int(code) & 31, found[0]
        else:
            yield 256, found[0]  # no byte
