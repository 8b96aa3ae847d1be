"""By which modes a terminal differs from a fresh one after some output, and the bytes that make and undo that. Pure.

Not a terminal emulator: what is followed is what has to be made again for somebody who comes later. Undoing does not
rely on it: a program may set what is not followed here, or in a way that only a terminal understands. So a fixed reset
of what outlasts a program is always sent. Only what harms a terminal that needs it not (leaving the alternate screen,
resetting a palette that may be the user's own) depends on what was seen, and there a doubt counts as a sight.
"""

import re
from dataclasses import dataclass, field

_SCREENS = ("47", "1047", "1049")
_NEVER_FORGOTTEN = frozenset((*_SCREENS, "6"))  # 6: counting lines from the margin
_ON_AT_FIRST = ("7", "8", "25")  # private modes: lines wrap, keys repeat, the cursor shows
_MODES, _PUSHES = 64, 16  # at most so many are remembered
_NUMBERS = 16  # of one sequence, beyond which terminals differ in what they do
_HIGHEST = 65535  # mode, beyond which some count from 0 again

_CONTROLS = rb"[\x00-\x1a\x1c-\x1f\x7f]"  # which a terminal obeys within a sequence, and goes on with it
_DOUBTFUL = (
    rb"\x1b(?:\[(?:\?[0-9;:]*+)?)?+(?:" + _CONTROLS + rb"|\Z)|\x1b\[\?[0-9;:]{65}"  # longer than _SETTING's
    # A text that does not end: is what follows it a sequence, or text?
    rb"|\x1b\][^\x07\x1b]*+(?!\x07|\x1b\\)|\x1b[PX^_][^\x1b]*+(?!\x1b\\)"
    rb"|\xc2[\x90\x98\x9b\x9d-\x9f]"  # the beginning of a sequence in one character
)
# Titles, links and the like; questions.
_HARMLESS_TEXT = rb"(?:0|1|2|7|8|9|52|133|633|777)[;\x07\x1b]|(?:4;[0-9]+|1[0-2]);\?[\x07\x1b]"
_MAYBE_SETTING = rb"(?=\x1b(?:\[[<>?!]|\[\d* q|[=>c]))"  # colours, which there are many of, are not even looked at
_SETTING = re.compile(
    _MAYBE_SETTING
    + rb"(?:\x1b\[(?P<private>[<=>?]?)(?P<numbers>[0-9;:]{0,64})(?P<between>[ -/]{0,4})(?P<final>[@-~])"
    + rb"|\x1b(?P<single>[=>c]))"
    + (rb"|(?P<doubt>" + _DOUBTFUL + rb")|(?P<colours>\x1b\](?!" + _HARMLESS_TEXT + rb"))")
)

_ST = "\x1b\\"
_KEYBOARD = "\x1b[<99u\x1b[=0u"  # kitty's: all that was pushed, and what was set without
# Reversed video, the mouse, focus, paste, colour scheme, size and other reports, held output, keys of another system.
_OFF = (1, 5, 9, 66, *range(1000, 1007), 1015, 1016, 2004, 2026, 2031, 2048, 9001)
_RESET = "".join(
    (
        *(f"\x1b[?{number}l" for number in _OFF),
        *(f"\x1b[?{number}h" for number in _ON_AT_FIRST),
        "\x1b7\x1b[?69l\x1b[r\x1b8",  # margins: that moves the cursor
        "\x1b[2l\x1b[4l\x1b[12h\x1b[20l",  # keyboard locked, insertion, local echo, a line feed that returns
        "\x1b(B\x1b)B\x0f",  # line drawing instead of letters
        "\x1b>\x1b[>4m",  # keypad, xterm's modifyOtherKeys
        f"\x1b]8;;{_ST}",  # a link that was left open
        "\x1b[0m",
    )
)
_OWN_COLOURS = "".join(f"\x1b]{command}{_ST}" for command in (104, 110, 111, 112))


@dataclass(slots=True)
class Modes:
    """How a terminal differs from a fresh one.

    `colours`: its palette may have been changed. `doubt`: something was seen that terminals read in several ways.
    """

    private: dict[str, bool] = field(default_factory=dict)
    keyboards: list[str] = field(default_factory=list)  # flags pushed (kitty)
    other_keys: str = ""  # xterm's modifyOtherKeys
    keypad: bool = False
    cursor: str = ""
    colours: bool = False
    doubt: bool = False

    def copy(self) -> "Modes":
        return Modes(
            dict(self.private),
            list(self.keyboards),
            self.other_keys,
            self.keypad,
            self.cursor,
            self.colours,
            self.doubt,
        )

    def follow(self, output: bytes) -> None:
        """What a terminal is like once it has got `output`, which begins and ends between two sequences."""
        for found in _SETTING.finditer(output):
            if found["final"] is not None:
                self._set(found["private"], found["numbers"].decode(), found["between"], found["final"])
            elif found["single"] == b"c":
                self._reset()
            elif found["single"] is not None:
                self.keypad = found["single"] == b"="
            elif found["colours"] is not None:
                self.colours = True
            else:
                self.doubt = True

    def _reset(self) -> None:
        self.private, self.keyboards, self.other_keys, self.keypad, self.cursor = {}, [], "", False, ""

    def _set(self, private: bytes, numbers: str, between: bytes, final: bytes) -> None:
        match (private, between, final):
            case (b"?", b"", b"h" | b"l"):
                self._set_all_private(numbers, final == b"h")
            case (b"?", b"", b"r"):
                self.doubt = True  # as they were when somebody saved them
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
            case (b"", b"!", b"p"):  # a soft reset stays in the alternate screen
                kept = {number: on for number, on in self.private.items() if number in _SCREENS}
                self._reset()
                self.private = kept

    def _set_all_private(self, numbers: str, on: bool) -> None:
        given = [number for number in numbers.split(";") if number]
        if len(given) > _NUMBERS or not all(number.isdecimal() and int(number) <= _HIGHEST for number in given):
            self.doubt = True
        for number in given:
            if number.isdecimal() and int(number) <= _HIGHEST:
                self._set_private(str(int(number)), on)

    def _set_private(self, number: str, on: bool) -> None:
        self.private.pop(number, None)
        if on != (number in _ON_AT_FIRST):
            self.private[number] = on
        if len(self.private) > _MODES:
            del self.private[next(known for known in self.private if known not in _NEVER_FORGOTTEN)]

    def make(self) -> bytes:
        """What makes a fresh terminal so."""
        parts = [f"\x1b[?{number}{'h' if on else 'l'}" for number, on in self._ordered()]
        parts += [f"\x1b[>{flags}u" for flags in self.keyboards]
        parts += [f"\x1b[>4;{self.other_keys}m"] if self.other_keys else []
        parts += ["\x1b="] if self.keypad else []
        parts += [f"\x1b[{self.cursor} q"] if self.cursor else []
        return "".join(parts).encode()

    def undo(self) -> bytes:
        """What makes a terminal that is so a fresh one, in the middle of a sequence too."""
        parts = [_ST, "\x1b[0m", _KEYBOARD]
        parts += ["\x1b[0 q"] if self.cursor else []
        parts += [f"\x1b[?{number}{'l' if on else 'h'}" for number, on in reversed(self._ordered())]
        # Where there is no other screen to leave it only moves the cursor to where it was last saved: to where it is.
        parts += ["\x1b7\x1b[?1049l"] if self.doubt else []
        parts += [_KEYBOARD, _RESET]  # each screen of a terminal has its own keyboard
        parts += [_OWN_COLOURS] if self.colours or self.doubt else []
        return "".join(parts).encode()

    def _ordered(self) -> list[tuple[str, bool]]:
        """The alternate screen first: some modes belong to the screen."""
        return sorted(self.private.items(), key=lambda mode: mode[0] not in _SCREENS)
