"""The events are those of ruamel.yaml itself, of right texts and of wrong ones."""

import random
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sandboxfile.language.scanning import events

HERE = Path(__file__).parent
TEXTS = sorted({path.read_bytes().decode("utf-8", "replace")[:4000] for path in HERE.glob("golden/*/*.yaml")})
PIECES = (
    *(
        ":",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "  ",
        "\n\n",
        "- ",
        "? ",
        ": ",
        '"',
        "'",
        "#",
        " #",
        "|\n",
        ">-\n",
        "&a ",
        "*a ",
    ),
    *("!t ", "%YAML 1.1\n", "---\n", "...\n", "\t", "\ufeff", "\x85", "\u2028", "\r", "\r\n", "a: b\n"),
    *(" " * 1100, "x" * 1100),
)


def seen(parsed: Any) -> list[tuple[Any, ...]]:
    """Every event with its places, and the error that it ends with."""
    found: list[tuple[Any, ...]] = []
    try:
        for event in parsed:
            said = tuple(str(getattr(event, name, None)) for name in ("value", "anchor", "tag", "style", "flow_style"))
            found.append((type(event).__name__, event.start_mark.index, event.end_mark.index, *said))
    except Exception as exc:
        mark = getattr(exc, "problem_mark", None)
        found.append((type(exc).__name__, getattr(exc, "problem", str(exc)), mark.index if mark else None))
    return found


def check(text: str) -> None:
    """Of a wrong text fewer events may come before the error, which is the same."""
    expected, found = seen(YAML(typ="safe", pure=True).parse(text)), seen(events(text))
    assert found[-1] == expected[-1]
    assert found[:-1] == expected[: len(found) - 1]
    assert len(found) == len(expected) or "Error" in found[-1][0]


@pytest.mark.parametrize("number", range(4))
def test_of_texts_with_mistakes(number: int) -> None:
    chance = random.Random(number)
    for text in TEXTS:
        place = chance.randrange(len(text) + 1)
        check(text[:place] + chance.choice(PIECES) + text[place + chance.choice((0, 0, 1, 5)) :])


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "a: one two  three \nb:\n  - c d\n  - e: f\n",
        "a: one\n   two\n three: 1\n",
        "a: b: c\n",
        "[a b , c:d, e: f, ? g, 'h': i]",
        "{a: http://x/y?z#w, b : c, d: # e\n f}",
        "a: # c\n  b #c\n",
        "- a\n-\n- b:c\n- :d\n",
        "%YAML 1.1\n---\na: [b?c]\n",
        "a: b\x85c\u2028d\n",
    ],
)
def test_of_all_kinds_of_texts(text: str) -> None:
    check(text)
