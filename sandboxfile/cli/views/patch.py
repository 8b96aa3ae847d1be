"""The difference of two texts as `patch -p0` takes it. Pure."""

from collections.abc import Iterator
from difflib import unified_diff


def patch(before: str, after: str, name: str) -> str:
    """A unified diff, without its last line end; empty when nothing differs. Line ends stay as they are."""
    return "".join(_lines(before, after, name)).removesuffix("\n")


def _lines(before: str, after: str, name: str) -> Iterator[str]:
    for line in unified_diff(_split(before), _split(after), name, name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _split(text: str) -> list[str]:
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
