"""What is to be written, part by part, each with its place in the source; and what is left behind, with the reason.

An importer fills a Draft and decides nothing about its text: `writing` does that, and takes out again whatever the
language refuses. So a part is what makes sense alone: a whole template, one workspace, one port.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from posixpath import join, normpath, relpath
from typing import Any

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.model.spec import Path
from sandboxfile.names import NAME_LIMIT, name_from
from sandboxfile.resolve.render import escaped

_SHOWN = 480  # characters of a source's text in a message


def _unknown(_path: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Source:
    """A text to import. `filename` is for messages; both directories are absolute.

    `directory`: where the source's relative paths start. `target`: where those of the file that is written start.
    `is_file`: whether there is a file at a path, absolute or from `~`; directories, and nothing, are none.
    """

    text: str
    filename: str
    directory: str
    target: str
    is_file: Callable[[str], bool] = _unknown

    def path(self, written: str) -> str:
        """A path of the source as the new file says it; absolute ones and those of the home directory stay."""
        if written == "~" or written.startswith(("/", "~/")):
            return written
        relative = relpath(normpath(join(self.directory, written)), self.target)
        return relative if relative == "." or relative.startswith("../") or relative == ".." else f"./{relative}"

    def names_file(self, written: str) -> bool:
        """Whether a path of the source is a file here."""
        return self.is_file(written if written.startswith("~/") else normpath(join(self.directory, written)))


@dataclass(frozen=True, slots=True)
class Note:
    """Something of the source that is not in the new file, or means less there: what, why, and where it stands."""

    what: str
    why: str
    span: Span | None

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        return f"{place}{self.what}: {self.why}"


@dataclass(frozen=True, slots=True)
class Imported:
    """A sandbox.yaml that loads without errors, and what it lacks of its source. Without `text`: why there is none."""

    text: str | None
    notes: tuple[Note, ...] = ()
    diagnostics: Diagnostics = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A value for one place of the new file, in the language's own words. `item`: one more of the list that is there.

    `needed`: without it the file would allow more than the source did, so it is not written without it.
    """

    path: Path
    value: Any
    what: str
    span: Span | None
    item: bool = False
    needed: bool = False


@dataclass(slots=True)
class Draft:
    """Filled by one importer, in the order in which things are to be written."""

    parts: list[Part] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    problems: list[Diagnostic] = field(default_factory=list)
    interpolated: bool = False  # `${VAR}` means in the source what it means here
    _names: set[tuple[str, str]] = field(default_factory=set)
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)

    def put(self, path: Path, value: Any, what: str, span: Span | None, *, needed: bool = False) -> None:
        """Say something. Texts mean themselves, a dollar sign is one: but for those of an `interpolated` source."""
        self.parts.append(Part(path, self._text(value), shown(what), span, needed=needed))

    def add(self, path: Path, value: Any, what: str, span: Span | None, *, needed: bool = False) -> None:
        """One more item of the list at `path`."""
        self.parts.append(Part(path, self._text(value), shown(what), span, item=True, needed=needed))

    def _text(self, value: Any) -> Any:
        return value if self.interpolated else escaped(value)

    def leave(self, what: str, why: str, span: Span | None) -> None:
        """Tell what is left behind."""
        self.notes.append(Note(shown(what), shown(why), span))

    def wrong(self, summary: str, detail: str, span: Span | None, hint: str | None = None) -> None:
        """The source itself is wrong: nothing will be written."""
        self.problems.append(error(summary, shown(detail), span, hint))

    def name(self, table: str, wanted: str, what: str, span: Span | None, taken: tuple[str, ...] = ()) -> str:
        """A name that nothing has yet under `table` (`sandboxes`, `templates`); tells when it is not the one wanted."""
        stem = name_from(wanted, "imported")
        number, found = self._numbers.get((table, stem), 1), stem
        while (table, found) in self._names or found in taken:
            number += 1
            found = f"{stem[: NAME_LIMIT - 6]}-{number}"
        self._names.add((table, found))
        self._numbers[table, stem] = number
        if found != wanted and what:
            self.leave(what, f"it is called `{found}` here", span)
        return found


def shown(text: str) -> str:
    """A text from elsewhere as it may stand in a message or a comment: one line, short, nothing that does not print."""
    flat = re.sub(r"[\t\r\n]+", " ", text)
    flat = "".join(c if c.isprintable() else "?" for c in flat[:_SHOWN])
    return flat if len(text) <= _SHOWN else f"{flat}…"
