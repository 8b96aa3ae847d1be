"""Diagnostics as text and as data, whatever the file says."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.cli.views.diagnostics import render_human, to_json
from sandboxfile.diagnostics import Span, error, warning

SOURCE = "a: b\n\tc: dé漢x\nlast"


def lines(span: Span, source: str = SOURCE) -> list[str]:
    return render_human([error("Summary", "Detail.", span)], {"f": source}).splitlines()


def test_a_diagnostic_shows_its_place_and_what_to_do() -> None:
    text = render_human([error("Summary", "Detail.", Span("f", 1, 4, 1, 5), "do this")], {"f": SOURCE})
    assert text == "error: Summary\n --> f:1:4\n  |\n1 | a: b\n  |    ^\n   Detail.\n   hint: do this\n"


def test_the_caret_stands_under_the_text_after_tabs_and_wide_characters() -> None:
    found = lines(Span("f", 2, 7, 2, 8))
    assert found[3] == "2 |     c: dé漢x"
    assert found[4] == "  |          ^^"


def test_without_place_or_source_there_is_no_snippet() -> None:
    assert render_human([warning("S", "D.")], {}) == "warning: S\n   D.\n"
    assert render_human([error("S", "D.", Span("g", 1, 1, 1, 2))], {"f": SOURCE}) == "error: S\n --> g:1:1\n   D.\n"


def test_a_span_over_several_lines_is_marked_on_its_first() -> None:
    assert lines(Span("f", 1, 1, 3, 2))[4] == "  | ^^^^"


def test_a_place_past_the_end_is_shown_at_the_end() -> None:
    assert lines(Span("f", 3, 5, 3, 5))[4] == "  |     ^"
    assert lines(Span("f", 9, 1, 9, 2))[2] == "   Detail."


def test_a_long_line_is_cut_around_the_caret() -> None:
    found = lines(Span("f", 1, 501, 1, 503), "x" * 500 + "YY" + "z" * 500)
    assert len(found[3]) < 120
    assert found[3][found[4].index("^") : found[4].rindex("^") + 1] == "YY"


def test_colour_is_only_there_when_asked_for() -> None:
    item = error("S", "D.", Span("f", 1, 1, 1, 2), "h")
    assert "\x1b[" in render_human([item], {"f": SOURCE}, color=True)
    assert "\x1b" not in render_human([item], {"f": SOURCE})


@settings(deadline=None)
@given(st.text(max_size=40), st.integers(1, 50))
def test_nothing_in_a_file_reaches_the_terminal_unharmed(text: str, column: int) -> None:
    hostile = "\x1b]0;x\x07\u202e\x9b2J" + text
    item = error("S", hostile, Span(hostile, 1, column, 1, column + 3), hostile)
    rendered = render_human([item], {hostile: hostile})
    assert all(character.isprintable() or character == "\n" for character in rendered)
    assert "\u202e" not in rendered


def test_data_is_complete_and_goes_through_json() -> None:
    item = error("S", "D.", Span("f", 1, 2, 3, 4), "h")
    assert json.loads(json.dumps(to_json([item, warning("W", "E.")]))) == [
        {
            "severity": "error", "summary": "S", "detail": "D.", "hint": "h",
            "span": {"file": "f", "start": {"line": 1, "column": 2}, "end": {"line": 3, "column": 4}},
        },
        {"severity": "warning", "summary": "W", "detail": "E.", "hint": None, "span": None},
    ]  # fmt: skip
