"""Where a deliberate mistake can show: a history that does not come to its lines lives as if nothing were wrong."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import Any

from .histories import History
from .living import live
from .mutation import Mutation

Line = tuple[str, int]  # file and number
_TOOL = 4  # of those that sys.monitoring leaves to whoever comes


@dataclass(frozen=True)
class Way:
    """A history, and the lines that it comes to."""

    history: History
    reached: set[Line]


def ways(histories: Collection[History], functions: Collection[Callable[..., Any]]) -> list[Way]:
    """Live them all, and see which lines of these functions they come to."""
    found = []
    for history in histories:
        with _seeing(functions) as reached:
            live(history)
        found.append(Way(history, reached))
    return found


def lines_of(mutation: Mutation) -> set[Line]:
    """Those that are wrong then."""
    source, first = inspect.getsourcelines(mutation.function)
    before, _, _ = textwrap.dedent("".join(source)).partition(mutation.old)
    start = first + before.count("\n")
    file = mutation.function.__code__.co_filename
    return {(file, line) for line in range(start, start + mutation.old.count("\n") + 1)}


@contextmanager
def _seeing(functions: Collection[Callable[..., Any]]) -> Iterator[set[Line]]:
    reached: set[Line] = set()

    def at_line(code: CodeType, line: int) -> None:
        reached.add((code.co_filename, line))

    sys.monitoring.use_tool_id(_TOOL, "ways")
    sys.monitoring.register_callback(_TOOL, sys.monitoring.events.LINE, at_line)
    codes = {code for function in functions for code in _codes(function.__code__)}
    for code in codes:
        sys.monitoring.set_local_events(_TOOL, code, sys.monitoring.events.LINE)
    try:
        yield reached
    finally:
        for code in codes:
            sys.monitoring.set_local_events(_TOOL, code, sys.monitoring.events.NO_EVENTS)
        sys.monitoring.free_tool_id(_TOOL)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)
