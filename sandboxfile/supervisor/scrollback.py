"""The end of a terminal's output, kept so that somebody who comes later sees it as if they had been there. Pure.

Not a terminal emulator: it keeps bytes, and knows by which modes a terminal differs from a fresh one (alternate screen,
bracketed paste, mouse, keyboard protocols), at the first byte kept and at the last. Nothing that it replays makes a
terminal answer, for the answer would be typed into the program: questions, the clipboard and bells are left out.
"""

import re
from dataclasses import dataclass, field

KEPT = 64 << 10  # bytes
_SLACK = KEPT // 4  # more than KEPT before anything is dropped, so that it is not done for every byte
_SEARCHED = 4096  # bytes in which a good place to begin is looked for
_CLEAR = b"\x1b[0m\x1b[H\x1b[2J"
_ALTERNATE = ("47", "1047", "1049")
_ON_AT_FIRST = ("7", "25")  # private modes: lines wrap, the cursor shows
_MODES, _PUSHES = 64, 16  # at most so many are remembered

_CSI = rb"\x1b\[(?P<private>[<=>?]?)(?P<numbers>[0-9;:]{0,64})(?P<between>[ -/]{0,4})(?P<final>[@-~])"
_MAYBE_SETTING = rb"(?=\x1b(?:\[[<>?!]|\[\d* q|[=>c]))"  # colours, which there are many of, are not even looked at
_SETTING = re.compile(_MAYBE_SETTING + rb"(?:" + _CSI + rb"|\x1b(?P<single>[=>c]))")
_TEXT = rb"[^\x07\x1b]*(?:\x07|\x1b\\)"
_CONTROL = re.compile(
    _CSI + rb"|\x1b\](?P<command>" + _TEXT + rb")|\x1b[PX^_][^\x1b]*\x1b\\|\x1bZ|[\x05\x07]|\xc2[\x80-\x9f]"
)
_HARMLESS_COMMAND = re.compile(rb"[0128];")  # of OSC: titles and links
_BOUNDARY = re.compile(rb"(?<=\n)|(?=\x1b)")


@dataclass(slots=True)
class Modes:
    """How a terminal differs from a fresh one."""

    private: dict[str, bool] = field(default_factory=dict)
    keyboards: list[str] = field(default_factory=list)  # flags pushed (kitty)
    other_keys: str = ""  # xterm's modifyOtherKeys
    keypad: bool = False
    cursor: str = ""

    def copy(self) -> "Modes":
        return Modes(dict(self.private), list(self.keyboards), self.other_keys, self.keypad, self.cursor)

    def follow(self, output: bytes) -> None:
        """What a terminal is like once it has got `output`, which begins and ends between two sequences."""
        for found in _SETTING.finditer(output):
            single = found["single"]
            if single is None:
                numbers = found["numbers"].decode()
                self._set(found["private"], numbers, found["between"], found["final"])
            elif single == b"c":
                self._reset()
            else:
                self.keypad = single == b"="

    def _reset(self) -> None:
        self.private, self.keyboards, self.other_keys, self.keypad, self.cursor = {}, [], "", False, ""

    def _set(self, private: bytes, numbers: str, between: bytes, final: bytes) -> None:
        match (private, between, final):
            case (b"?", b"", b"h" | b"l"):
                for number in numbers.split(";")[:_MODES]:
                    self._set_private(number, final == b"h")
            case (b">", b"", b"u"):
                self.keyboards = [*self.keyboards, numbers][-_PUSHES:]
            case (b"<", b"", b"u"):
                count = int(numbers) if numbers.isdecimal() else 1
                self.keyboards = self.keyboards[: max(0, len(self.keyboards) - count)]
            case (b">", b"", b"m") if numbers.split(";")[0] in ("", "4"):
                level = numbers.partition(";")[2]
                self.other_keys = level if level.strip("0") else ""
            case (b"", b" ", b"q"):
                self.cursor = numbers if numbers.strip("0") else ""
            case (b"", b"!", b"p"):
                self._reset()

    def _set_private(self, number: str, on: bool) -> None:
        self.private.pop(number, None)
        if number.isdecimal() and len(number) <= 5 and on != (number in _ON_AT_FIRST):
            self.private[number] = on
            while len(self.private) > _MODES:
                del self.private[next(iter(self.private))]

    def make(self) -> bytes:
        """What makes a fresh terminal so."""
        parts = [f"\x1b[?{number}{'h' if on else 'l'}" for number, on in self._ordered()]
        parts += [f"\x1b[>{flags}u" for flags in self.keyboards]
        parts += [f"\x1b[>4;{self.other_keys}m"] if self.other_keys else []
        parts += ["\x1b="] if self.keypad else []
        parts += [f"\x1b[{self.cursor} q"] if self.cursor else []
        return "".join(parts).encode()

    def undo(self) -> bytes:
        """What makes a terminal that is so a fresh one."""
        keyboards = f"\x1b[<{len(self.keyboards)}u" if self.keyboards else ""
        parts = ["\x1b[0m", keyboards]
        parts += ["\x1b[>4m"] if self.other_keys else []
        parts += ["\x1b>"] if self.keypad else []
        parts += ["\x1b[0 q"] if self.cursor else []
        parts += [f"\x1b[?{number}{'l' if on else 'h'}" for number, on in reversed(self._ordered())]
        parts += [keyboards]  # each screen of a terminal has its own
        return "".join(parts).encode()

    def _ordered(self) -> list[tuple[str, bool]]:
        """The alternate screen first: some modes belong to the screen."""
        return sorted(self.private.items(), key=lambda mode: mode[0] not in _ALTERNATE)


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
