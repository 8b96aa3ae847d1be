"""Reads a growing log that is rotated (renamed to NAME.1, begun anew) or truncated under its reader."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO


class Tail:
    """Gives the lines of a log that have come since the last time, across rotation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def read(self, *, whole: bool = False) -> list[str]:
        """New whole lines without their ends; with `whole` also the rotated part, and an unfinished last line."""
        data = b""
        if whole:
            data += _content(self.path.with_name(self.path.name + ".1"))
        while True:
            data += self._available()
            before = self._left_behind()
            if before is None:
                break
            data += before
        *lines, self._rest = (self._rest + data).split(b"\n")
        if whole and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _available(self) -> bytes:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return b""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # truncated
        return self._file.read()

    def _left_behind(self) -> bytes | None:
        """The end of the file that no longer has the name, which is then closed; None while it has it."""
        if self._file is None:
            return None
        try:
            if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                return None
        except FileNotFoundError:
            return None
        rest = self._file.read()
        self._file.close()
        self._file = None
        return rest


def last_lines[Line](lines: Sequence[Line], count: int | None) -> Sequence[Line]:
    """The last `count` lines; all for None."""
    if count is None:
        return lines
    return lines[len(lines) - count :] if count < len(lines) else lines


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
