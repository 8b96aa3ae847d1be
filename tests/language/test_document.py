"""Text to a tree: places, YAML 1.2, merge keys, and bounds that hold whatever the file asks for."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandboxfile.diagnostics import Diagnostic
from sandboxfile.language.document import FILE_LIMIT, Document, decode, parse
from sandboxfile.language.tree import Node, Scalar, Sequence, Table, find, spans
from sandboxfile.language.validate import load

VALID = """\
name: shop
x-env: &env {A: 1, B: "two"}
defaults: {resources: {cpus: 2, memory: 2GiB}}
templates:
  dev: {base: debian:trixie, packages: {apt: [git]}, env: {<<: *env}}
sandboxes:
  web:
    template: dev
    workspaces: [., "~/docs:ro", {source: ../lib, target: /opt/lib, mode: ro, protect: [a/b]}]
    env: [A=b, C]
    env_file: .env
    setup: [npm ci, [echo, hi]]
    command: ["npm", "run"]
    restart: on-failure
    protect: true
"""


def plain(node: Node) -> object:
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    return [plain(item) for item in node.items] if isinstance(node, Sequence) else node.value


def read(text: str) -> Document:
    document, problems = parse(text, "f")
    assert document is not None
    assert problems == ()
    return document


def only_problem(text: str) -> Diagnostic:
    _, problems = parse(text, "f")
    assert len(problems) == 1
    return problems[0]


def test_scalars_follow_yaml_1_2() -> None:
    values = plain(
        read("[no, yes, on, null, ~, true, FALSE, 1, -2, 0o17, 0x1F, 1.5, 1e3, '1', 012, 1_000, 1:30, 2026-01-02]").root
    )
    assert values == [
        "no",
        "yes",
        "on",
        None,
        None,
        True,
        False,
        1,
        -2,
        15,
        31,
        1.5,
        1000.0,
        "1",
        12,
        "1_000",
        "1:30",
        "2026-01-02",
    ]


@pytest.mark.parametrize("text", ["3.10", "0755", "1e3", "0x1F", ".inf", "-.INF", ".NaN", "+5"])
def test_numbers_remember_how_they_were_written(text: str) -> None:
    root = read(text).root
    assert isinstance(root, Scalar)
    assert isinstance(root.value, int | float)
    assert root.value.text == text  # type: ignore[union-attr]


def test_a_very_long_number_stays_text() -> None:
    assert plain(read("a: " + "9" * 5000).root) == {"a": "9" * 5000}


def test_merge_keys_lie_beneath_own_keys_and_earlier_ones_win() -> None:
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 0\n"
    assert plain(read(text).root)["z"] == {"a": 0, "b": 1, "c": 2}  # type: ignore[index]


def test_a_quoted_merge_key_is_a_key() -> None:
    assert plain(read('"<<": 1').root) == {"<<": 1}


def test_every_key_and_value_has_its_place() -> None:
    document = read("a:\n  b: [x, {c: yy}]\n")
    found = find(document.root, ("a", "b", 1, "c"))
    assert found is not None
    node, key = found
    assert str(key) == "f:2:11"
    assert (node.span.line, node.span.column, node.span.end_column) == (2, 14, 16)
    places = spans(document.root)
    assert str(places["a", "b", 0]) == "f:2:7"
    assert str(places["a",]) == "f:1:1"


def test_lines_end_where_editors_end_them() -> None:
    document = read("a: '\u2028\x85'\r\nb: 1\n")
    assert str(spans(document.root)["b",]) == "f:2:4"


def test_all_problems_of_the_tree_are_found_at_once() -> None:
    _, problems = parse("a: !t 1\na: 2\n3: 4\nb: *c\n", "f")
    assert [p.summary for p in problems] == ["Tag not supported", "Duplicate key", "Key is not text", "Unknown alias"]


def test_a_duplicate_in_a_merged_map_names_the_line_of_the_first() -> None:
    problem = only_problem("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert "line 2" in problem.detail
    assert str(problem.span) == "f:4:3"


def test_anchors_can_be_redefined_and_aliases_mean_the_latest() -> None:
    assert plain(read("a: &x 1\nb: &x 2\nc: *x\n").root) == {"a": 1, "b": 2, "c": 2}


def test_a_file_that_is_too_long_is_not_even_scanned() -> None:
    assert only_problem("#" * (FILE_LIMIT + 1)).summary == "File too long"


def test_bytes_that_are_not_utf8_are_reported_at_their_place() -> None:
    text, problems = decode(b"a: \xc3\xa9\nb: \xff", "f")
    assert text is None
    assert str(problems[0].span) == "f:2:4"
    assert decode("é".encode(), "f") == ("é", ())


def bomb(levels: int, width: int) -> str:
    lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "alias bomb": bomb(40, 10),
    "merge bomb": "a: &a {"
    + ", ".join(f"k{n}: 1" for n in range(1000))
    + "}\n"
    + "\n".join(f"m{n}: {{<<: *a}}" for n in range(2000)),
    "merge lists": "a: &a {b: 1, c: 2}\nm: {<<: [" + "*a, " * 40_000 + "*a]}",
    "alias chain": "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 5000)),
    "deep flow": "[" * 100_000,
    "deep maps": "{a: " * 50_000,
    "deep blocks": "- " * 100_000 + "a",
    "question marks": "? " * 100_000,
    "many anchors": "- &a a\n" * 30_000,
    "many keys": "\n".join(f"k{n}: v" for n in range(20_000)),
    "one key again": "a: b\n" * 20_000,
    "quotes": '"\\n"' * 60_000,
    "blank lines": "\n" * (FILE_LIMIT - 10),
    "long scalar": "a: " + "x" * (FILE_LIMIT - 10),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_answered_soon(name: str) -> None:
    started = time.process_time()
    load(HOSTILE[name], "f")
    assert time.process_time() - started < 5, "measured: below 2 s each"


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    assert only_problem(bomb(40, 10)).summary == "Aliases expand too far"
    assert only_problem(HOSTILE["alias chain"]).summary == "Nested too deeply"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\t\n -:?[]{}&*!|>'\"%@`#,\\<x")), max_size=200))
def test_no_text_makes_it_crash(text: str) -> None:
    file, document, problems = load(text, "f")
    assert problems or file is not None
    assert document is not None or problems


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_mutation_of_a_valid_file_makes_it_crash(data: st.DataObject) -> None:
    text = VALID
    pieces = [
        "",
        ":",
        "- ",
        "*env",
        "&env ",
        "!t ",
        "\t",
        "[",
        "}",
        "null",
        "1",
        "<<: ",
        "\0",
        "\ufeff",
        "'",
        "? ",
        "\n",
        "${x}",
        "x-a: ",
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(pieces)) + text[end:]
    file, _, problems = load(text, "f")
    assert problems or file is not None


def test_the_file_that_is_mutated_is_valid() -> None:
    file, _, problems = load(VALID, "f")
    assert file is not None
    assert problems == ()


def test_two_escapes_are_one_character_as_in_json_and_half_of_one_is_an_error():
    document, problems = parse(r'name: "\ud800\udc00 \ud83d\ude00"', "f")
    assert not problems
    assert document.root.entries[0].value.value == "\U00010000 \U0001f600"
    _, problems = parse(r'{"name": "a\ud800", "\udc00": 1}', "f")
    assert [problem.summary for problem in problems] == ["Invalid character"] * 2
    assert [problem.span.column for problem in problems] == [10, 21]
