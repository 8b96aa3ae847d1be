"""ruamel's reader, scanner and parser, with what they do for every character and token done sooner. Same events.

ruamel looks each of its parts up anew at every use, goes on by single characters, and before each look at a token asks
whether that may still turn out to be a key. Here the parts are attributes, a scalar on one line is one match, and as
many tokens are taken for sure as are. Whatever is not plain to see is left to ruamel. Only `document` uses this.
"""

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import FileMark
from ruamel.yaml.events import ScalarEvent
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tokens import ScalarToken


def events(text: str) -> Iterator[Any]:
    """The parser events of a text, as YAML 1.2. Raises what ruamel raises."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Reader, yaml.Scanner, yaml.Parser = _Reader, _Scanner, _Parser
    yield from yaml.parse(text)


class _Reader(Reader):
    """Marks are places alone, without the text to be quoted; what has no line end in it is passed over at once."""

    def get_mark(self) -> FileMark:
        return FileMark(self.name, self.index, self.line, self.column)

    def forward(self, length: int = 1) -> None:
        end = self.pointer + length
        if end + 1 < len(self.buffer) and self.buffer[self.pointer : end].isprintable():
            self.pointer = end
            self.index += length
            self.column += length
        else:
            super().forward(length)

    def next_line(self, length: int, column: int) -> None:
        """Go on by `length`, to this column of the next line."""
        self.pointer += length
        self.index += length
        self.line += 1
        self.column = column


# Plain scalars of one line, as `Scanner.scan_plain` goes on and stops: in a block up to a colon or the line's end, with
# the indentation of the next line, unless that is empty; in a flow up to what ends or divides it.
_BREAK = r"\r\n\x85\u2028\u2029"
_END = rf"\0 \t{_BREAK}"
_WORD, _FLOW_WORD = (rf"(?!#)(?:[^:{more}{_END}]|:(?=[^{_END}]))+" for more in ("", r",?\[\]{}"))
_IN_BLOCK = re.compile(rf"({_WORD}(?: +{_WORD})*)(?:(?=:[ \n])|( *\n( *))(?=[^ {_BREAK}]))")
_IN_FLOW = re.compile(rf"{_FLOW_WORD}(?: +{_FLOW_WORD})*(?= *(?:[,\]}}]|: ))")
_BLANKS = re.compile(rf" *(?=[^#\ufeff{_END}])")


class _Scanner(Scanner):
    """Its `tokens` may only be looked at after `_settle`."""

    reader: Any = None  # instead of properties
    flow_level = 0
    _settled = 0  # so many tokens are what they are

    def __init__(self, loader: Any = None) -> None:
        self.reader = loader.reader
        super().__init__(loader)

    def check_token(self, *choices: Any) -> bool:
        if not self._settled:
            self._settle()
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))

    def peek_token(self) -> Any:
        if not self._settled:
            self._settle()
        return self.tokens[0] if self.tokens else None

    def get_token(self) -> Any:
        if not self._settled:
            self._settle()
        if not self.tokens:
            return None
        self._settled -= 1
        self.tokens_taken += 1
        return self.tokens.pop(0)

    def _settle(self) -> None:
        """Scan until the next token cannot be a key any more, before which another would be put; count those that are
        as sure.
        """
        while not self.done:
            if self.tokens:
                self.stale_possible_simple_keys()
                first = next(iter(self.possible_simple_keys.values()), None)  # inner ones come after it
                self._settled = len(self.tokens) if first is None else first.token_number - self.tokens_taken
                if self._settled:
                    return
            self.fetch_more_tokens()
        self._settled = len(self.tokens)

    def fetch_flow_collection_start(self, *arguments: Any, **named: Any) -> None:
        super().fetch_flow_collection_start(*arguments, **named)
        self.flow_level = len(self.flow_context)

    def fetch_flow_collection_end(self, *arguments: Any, **named: Any) -> None:
        super().fetch_flow_collection_end(*arguments, **named)
        self.flow_level = len(self.flow_context)

    def scan_to_next_token(self) -> Any:
        reader = self.reader
        blanks = _BLANKS.match(reader.buffer, reader.pointer)
        if blanks is None:
            return super().scan_to_next_token()
        if blanks.end() > reader.pointer:
            reader.forward(blanks.end() - reader.pointer)
        return None

    def scan_plain(self) -> Any:
        buffer, pointer = self.reader.buffer, self.reader.pointer
        if self.flow_level:
            found = _IN_FLOW.match(buffer, pointer)
            if found is not None and self.scanner_processing_version != (1, 1):
                return self._plain(found[0])
        elif found := _IN_BLOCK.match(buffer, pointer):
            text, over, indent = found.groups()
            if over is None:
                return self._plain(text)
            if len(indent) <= self.indent:  # else it goes on there
                token = self._plain(text)
                self.reader.next_line(len(over), len(indent))
                self.allow_simple_key = True
                return token
        return super().scan_plain()

    def _plain(self, text: str) -> ScalarToken:
        start = self.reader.get_mark()
        self.reader.forward(len(text))
        self.allow_simple_key = False
        return ScalarToken(text, True, start, self.reader.get_mark())


class _Parser(Parser):
    scanner: Any = None  # instead of a property

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self.scanner = loader.scanner

    def parse_node(self, block: bool = False, indentless_sequence: bool = False) -> Any:
        token = self.scanner.peek_token()
        if type(token) is not ScalarToken:
            return super().parse_node(block, indentless_sequence)
        self.scanner.get_token()
        self.state = self.states.pop()
        implicit = (True, False) if token.plain else (False, True)
        return ScalarEvent(None, None, implicit, token.value, token.start_mark, token.end_mark, style=token.style)
