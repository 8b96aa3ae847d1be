"""Deliberate mistakes: a piece of a function's source text replaced, for as long as a block runs."""

import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .histories import History


@dataclass(frozen=True)
class Mutation:
    """`old` must occur once in the source of `function`, so that a mistake that can no longer be made is noticed.

    `road`: where only a strike at one place shows it, so that all places are tried first, not random ones.
    """

    name: str
    function: Callable[..., Any]
    old: str
    new: str
    road: History | None = None


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """The function is wrong. Its code object is exchanged, so that whoever has imported it is served too."""
    function: Any = mutation.function
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(mutation.old) == 1, f"{mutation.name}: {function.__qualname__} is written otherwise now"
    names: dict[str, Any] = {}
    exec(compile(source.replace(mutation.old, mutation.new), "<mutant>", "exec"), function.__globals__, names)
    original = function.__code__
    function.__code__ = names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = original
