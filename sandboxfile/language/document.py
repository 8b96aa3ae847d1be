"""Text to a tree of nodes, each with its place. With `scanning` the only door to ruamel.yaml.

The tree is built here, from parser events, because the bounds, the duplicates, the cycles and the merge keys must be
checked while it grows: a file of a few hundred bytes can ask for gigabytes through aliases. YAML 1.2 core schema
(`no` is text), `<<` merge keys, no tags. Columns count characters; lines end at LF, CR or CRLF, nowhere else.
With errors other than of syntax the Document is still given, so that later stages find their problems as well.
"""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from sandboxfile.diagnostics import Diagnostic, Diagnostics, Span, error
from sandboxfile.language.scalars import plain_value
from sandboxfile.language.scanning import events
from sandboxfile.language.tree import Entry, Node, Scalar, Sequence, Table

FILE_LIMIT = 256 << 10  # characters, and bytes read of a file
NODE_LIMIT = 50_000  # nodes after aliases are expanded
DEPTH_LIMIT = 64
BEGIN = "begin with `sandboxes:`; `sbx init` writes an example"


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is YAML. `root` is whatever stands at the top, usually a Table. `whole`: nothing is wrong with it."""

    filename: str
    text: str
    root: Node
    whole: bool

    @property
    def places(self) -> "Places":
        """Spans to offsets of the text, and back."""
        return Places(self.text, self.filename)


def parse(
    text: str, filename: str, begin: str = BEGIN, tags: Collection[str] = ()
) -> tuple[Document | None, Diagnostics]:
    """The tree of a file and everything that is wrong with it as YAML. Never raises, whatever the text.

    `begin` is the hint for a file with nothing in it. Of all tags the `tags` are kept, for who knows what they mean.
    """
    builder = _Builder(Places(text, filename), tags)
    try:
        _check_text(text, builder.places)
        for event in _events(text, builder.places):
            builder.take(event)
    except _GivenUp as given_up:
        return None, (*builder.problems, given_up.problem)
    if builder.root is None:
        empty = error("Empty file", "There is nothing in this file.", None, begin)
        return None, tuple(builder.problems) or (empty,)
    return Document(filename, text, builder.root, not builder.problems), tuple(builder.problems)


def decode(data: bytes, filename: str) -> tuple[str | None, Diagnostics]:
    """The text of a file's bytes, which must be UTF-8."""
    try:
        return data.decode(), ()
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode()
        places = Places(before, filename)
        detail = f"Byte 0x{data[exc.start]:02x} is not UTF-8."
        span = places.span(len(before), len(before) + 1)
        return None, (error("Not UTF-8", detail, span, "save the file with the encoding UTF-8"),)


# --- places ------------------------------------------------------------------------------------------------------


class Places:
    """Line and column of an offset. Not ruamel's own: it takes U+0085 and U+2028 for line ends, editors do not."""

    def __init__(self, text: str, filename: str) -> None:
        self.filename = filename
        self._starts = [0, *(found.end() for found in re.finditer(r"\r\n|\n|\r", text))]

    def span(self, start: int, end: int) -> Span:
        starts = self._starts
        line = last = bisect_right(starts, start)
        if line < len(starts) and end >= starts[line]:  # most end on the line where they begin
            last = bisect_right(starts, end, line)
        return Span(self.filename, line, start - starts[line - 1] + 1, last, end - starts[last - 1] + 1)

    def offsets(self, span: Span) -> tuple[int, int]:
        """Where a span begins and ends in the text."""
        return self._starts[span.line - 1] + span.column - 1, self._starts[span.end_line - 1] + span.end_column - 1

    def of(self, thing: Any) -> Span:
        """The span of a parser event."""
        return self.span(thing.start_mark.index, thing.end_mark.index)

    def at(self, mark: Any) -> Span:
        return self.span(mark.index, mark.index + 1)


class _GivenUp(Exception):
    """Nothing after this can be understood, or would cost too much."""

    def __init__(self, problem: Diagnostic) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def _give_up(summary: str, detail: str, span: Span | None, hint: str | None = None) -> NoReturn:
    raise _GivenUp(error(summary, detail, span, hint))


# --- syntax ------------------------------------------------------------------------------------------------------


def _check_text(text: str, places: Places) -> None:
    if len(text) > FILE_LIMIT:
        _give_up("File too long", f"The file is longer than {FILE_LIMIT >> 10} KiB.", None)
    if text.startswith("\ufeff"):
        hint = "save the file as UTF-8 without a byte order mark"
        _give_up("Byte order mark", "The file begins with a byte order mark.", places.span(0, 1), hint)


def _events(text: str, places: Places) -> Iterator[Any]:
    try:
        yield from events(text)
    except ReaderError as exc:
        detail = f"The character U+{int(exc.character):04X} is not allowed in YAML."
        _give_up("Control character", detail, places.span(exc.position, exc.position + 1))
    except MarkedYAMLError as exc:
        _give_up(*_syntax(exc, text, places))
    except Exception as exc:
        # The parser's own slips on wrong text (OverflowError for `"\UFFFFFFFF"`). No code of ours runs in this block.
        reason = next(iter(str(exc).splitlines()), type(exc).__name__)
        _give_up("Invalid YAML", f"The file cannot be read as YAML: {reason}.", None)


def _syntax(exc: MarkedYAMLError, text: str, places: Places) -> tuple[str, str, Span | None, str | None]:
    mark = exc.problem_mark or exc.context_mark
    span = places.at(mark) if mark is not None else None
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return "Tab character", "A tab cannot be used here.", span, "use spaces"
    context = exc.context
    if context and exc.context_mark is not None and span is not None:
        begun = places.at(exc.context_mark).line
        context += f" begun on line {begun}" if begun != span.line else ""
    said = ", ".join(part.strip() for part in (context, exc.problem) if part)
    for parser, people in (("'\\x00'", "the end of the file"), ("'<scalar>'", "more text")):
        said = said.replace(parser, people)
    said = re.sub(r"'<([a-z ]+)>'", lambda found: f"the {found[1].replace('stream', 'file')}", said)
    return "Invalid YAML", f"{_capital(said)}.", span, None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- the tree ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Frame:
    """A collection that is still open. `anchor` names it; `size` and `depth` count what it holds so far."""

    start: Span
    anchor: str | None
    table: bool
    tag: str = ""
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Table] = field(default_factory=list)
    key: tuple[Node, bool] | None = None  # the key whose value comes next; whether it is plain
    merge_key: Span | None = None
    size: int = 1
    depth: int = 1


class _Builder:
    """Events in, one tree out. A stack instead of recursion: the depth is the file's choice."""

    def __init__(self, places: Places, tags: Collection[str]) -> None:
        self.places = places
        self._tags = tags
        self.root: Node | None = None
        self.problems: list[Diagnostic] = []
        self._open: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._documents = 0

    def take(self, event: Any) -> None:
        match event:
            case ScalarEvent():
                self._scalar(event)
            case MappingStartEvent() | SequenceStartEvent():
                self._start(event)
            case MappingEndEvent() | SequenceEndEvent():
                self._end(self.places.of(event))
            case AliasEvent():
                self._alias(event)
            case DocumentStartEvent():
                self._document(event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        self._anchors.clear()
        if self._documents > 1:
            detail = "A second document begins here; a sandbox file is one document."
            _give_up("Several documents", detail, self.places.of(event), "remove the line `---`")
        if event.version not in (None, (1, 2)):
            version = ".".join(str(part) for part in event.version)
            self._problem("Unsupported YAML version", f"The file asks for YAML {version}; it is read as 1.2.", event)

    def _scalar(self, event: Any) -> None:
        span, tag = self.places.of(event), event.tag
        if tag is not None:
            self._refuse_tag(event)
        plain = event.style is None and (tag is None or tag in self._tags)
        value = plain_value(event.value) if plain else self._quoted(event)
        node = Scalar(value, span, self._kept(tag))
        if event.anchor is not None:
            self._remember(event.anchor, node)
        self._add(node, plain)

    def _quoted(self, event: Any) -> str:
        """Its text. Two escapes may be one character, as JSON writes those beyond U+FFFF: halves alone are none."""
        text: str = event.value
        if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            detail = "An escape stands for half a character (a UTF-16 surrogate without the other)."
            self._problem("Invalid character", detail, event, "write the character itself, or both halves")
            return text.encode("utf-8", "replace").decode()

    def _start(self, event: Any) -> None:
        self._refuse_tag(event)
        if len(self._open) >= DEPTH_LIMIT:
            _too_deep(self.places.of(event))
        self._remember(event.anchor, None)
        table = isinstance(event, MappingStartEvent)
        self._open.append(_Frame(self.places.of(event), event.anchor, table, self._kept(event.tag)))

    def _end(self, end: Span) -> None:
        frame = self._open.pop()
        node = self._closed(frame, end)
        self._remember(frame.anchor, node)
        self._add(node, False)

    def _closed(self, frame: _Frame, end: Span) -> Node:
        last = end
        if end.line == end.end_line and end.column == end.end_column:  # a block ends where the next thing begins
            inner = (
                [entry.value.span for entry in frame.entries.values()] if frame.table else [i.span for i in frame.items]
            )
            last = max([frame.start, *inner], key=lambda span: (span.end_line, span.end_column))
        start = frame.start
        span = Span(start.file, start.line, start.column, last.end_line, last.end_column)
        if not frame.table:
            return Sequence(tuple(frame.items), span, frame.size, frame.depth, frame.tag)
        for table in frame.merged:
            for entry in table.entries:
                frame.entries.setdefault(entry.key, entry)
        return Table(tuple(frame.entries.values()), span, frame.size, frame.depth, frame.tag)

    def _alias(self, event: Any) -> None:
        node = self._anchors.get(event.anchor)
        if node is not None:
            self._add(node, True, self.places.of(event))
            return
        if event.anchor in self._anchors:
            self._problem("Alias cycle", f"`*{event.anchor}` stands inside the very thing that it names.", event)
        else:
            hint = "text that begins with `*` is written in quotes"
            self._problem("Unknown alias", f"There is no anchor `&{event.anchor}` above this line.", event, hint)
        if self._open and self._open[-1].table and self._open[-1].key is None:
            self._add(Scalar(None, self.places.of(event)), False)  # a key; `_not_text` knows
        elif self._open:
            self._open[-1].key = None  # left out, so that nobody complains of what it would have been

    def _remember(self, anchor: str | None, node: Node | None) -> None:
        if anchor is not None:
            self._anchors[str(anchor)] = node

    def _kept(self, tag: str | None) -> str:
        return tag if tag is not None and tag in self._tags else ""

    def _refuse_tag(self, event: Any) -> None:
        if event.tag is not None and event.tag not in self._tags:
            hint = "remove it; quote a value to make it text"
            tag = event.tag.replace("tag:yaml.org,2002:", "!!", 1)
            self._problem("Tag not supported", f"The tag `{tag}` is not part of the language.", event, hint)

    def _problem(self, summary: str, detail: str, where: Any, hint: str | None = None) -> None:
        self.problems.append(error(summary, detail, where if isinstance(where, Span) else self.places.of(where), hint))

    def _add(self, node: Node, plain: bool, alias: Span | None = None) -> None:
        """Put a finished node where it belongs: the top, a list, a key, or a key's value."""
        if not self._open:
            self.root = node if not (isinstance(node, Scalar) and node.value is None and not node.tag) else None
            return
        frame = self._open[-1]
        frame.size += node.size
        frame.depth = max(frame.depth, node.depth + 1)
        if frame.size > NODE_LIMIT:
            self._too_many(alias or frame.start)
        if len(self._open) + frame.depth - 1 > DEPTH_LIMIT:
            _too_deep(alias or frame.start)
        if not frame.table:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = (node, plain)
            frame.merge_key = alias  # where an alias that is a key stands
        else:
            (key, plain_key), frame.key = frame.key, None
            self._enter(frame, key, plain_key, frame.merge_key or key.span, node)

    def _too_many(self, where: Span) -> NoReturn:
        if self._anchors:
            _give_up("Aliases expand too far", f"With its aliases the file has more than {NODE_LIMIT} parts.", where)
        _give_up("File too long", f"The file has more than {NODE_LIMIT} parts.", where)

    def _enter(self, frame: _Frame, key: Node, plain: bool, where: Span, value: Node) -> None:
        if not isinstance(key, Scalar) or not isinstance(key.value, str):
            self._not_text(key, where)
        elif key.value == "<<" and plain:
            self._merge(frame, where, value)
        elif key.value in frame.entries:
            first = frame.entries[key.value].key_span.line
            hint = "keep one of the two"
            self._problem("Duplicate key", f"`{key.value}` is already set on line {first}.", where, hint)
        else:
            frame.entries[key.value] = Entry(key.value, where, value)

    def _not_text(self, key: Node, where: Span) -> None:
        if self.problems and self.problems[-1].span == where:
            return  # an alias that names nothing has been reported
        if isinstance(key, Scalar):
            shown = getattr(key.value, "text", "null" if key.value is None else str(key.value).lower())
            self._problem("Key is not text", f"The key `{shown}` is not text.", where, f'write it in quotes: "{shown}"')
        else:
            self._problem("Key is not text", "A list or a map cannot be a key.", where)

    def _merge(self, frame: _Frame, where: Span, value: Node) -> None:
        tables = value.items if isinstance(value, Sequence) else (value,)
        if frame.merged:
            self._problem("Duplicate key", "`<<` is already used in this map.", where, "write one `<<: [*a, *b]`")
        elif all(isinstance(table, Table) for table in tables):
            frame.merged = [table for table in tables if isinstance(table, Table)]
        else:
            self._problem("Invalid merge", "`<<` takes a map or a list of maps.", where, "write `<<: *anchor`")


def _too_deep(span: Span) -> NoReturn:
    _give_up("Nested too deeply", f"The file is nested more than {DEPTH_LIMIT} levels deep.", span)


# --- for edits ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """A parser event by its offsets in the text. `value` is what a scalar says, or the name of an alias.

    The start of a thing with an anchor is the anchor's. The end of a block is where the next thing begins, and so are
    both offsets of a value that is not written.
    """

    kind: Literal["map", "list", "end", "scalar", "alias"]
    start: int
    end: int
    flow: bool = False
    value: str = ""


def tokens(text: str) -> Iterator[Token]:
    """What stands where in a text that `parse` has found whole."""
    for event in events(text):
        start, end = event.start_mark.index, event.end_mark.index
        match event:
            case MappingStartEvent():
                yield Token("map", start, end, bool(event.flow_style))
            case SequenceStartEvent():
                yield Token("list", start, end, bool(event.flow_style))
            case MappingEndEvent() | SequenceEndEvent():
                yield Token("end", start, end)
            case ScalarEvent():
                yield Token("scalar", start, end, value=event.value)
            case AliasEvent():
                yield Token("alias", start, end, value=event.anchor)
