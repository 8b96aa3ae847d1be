"""A sandbox gets another name in a text, with what refers to it; everything else stays byte for byte as it is."""

import pytest

from sandboxfile.language.renaming import rename_sandbox

FILE = """\
# our shop
name: shop
sandboxes:
  db: &db   # the data
    env: {NAME: db}
  "web":
    extends: db  # as that
    depends_on: [cache, db]
  cache: {extends: {sandbox: 'db'}, depends_on: {db: {condition: healthy}, web: {}}}
  other: {extends: {file: other.yaml, sandbox: db}, depends_on:
      - db}
"""


def renamed(text, old, new):
    edited, problems = rename_sandbox(text, "f", old, new)
    return edited if edited is not None else [problem.summary for problem in problems]


def test_the_key_and_every_reference_change_and_nothing_else():
    text = FILE.replace("depends_on:\n      - db}", "depends_on: [db]}")
    assert (
        renamed(text, "db", "data")
        == """\
# our shop
name: shop
sandboxes:
  data: &db   # the data
    env: {NAME: db}
  "web":
    extends: data  # as that
    depends_on: [cache, data]
  cache: {extends: {sandbox: data}, depends_on: {data: {condition: healthy}, web: {}}}
  other: {extends: {file: other.yaml, sandbox: db}, depends_on: [data]}
"""
    )


def test_names_that_yaml_takes_for_something_else_are_quoted():
    assert renamed("sandboxes:\n  a: {}\n  b: {depends_on: [a]}\n", "a", "1") == (
        'sandboxes:\n  "1": {}\n  b: {depends_on: ["1"]}\n'
    )


def test_lists_over_several_lines_and_line_ends_stay():
    text = "sandboxes:\r\n  a: {}\r\n  b:\r\n    depends_on:\r\n    - a # first\r\n"
    assert renamed(text, "a", "c") == text.replace("  a:", "  c:").replace("- a", "- c")


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("sandboxes: {b: {}}\n", "Unknown sandbox"),
        ("sandboxes: {a: {}, c: {}}\n", "Name taken"),
        ("x-s: &s {a: {}}\nsandboxes: *s\n", "Cannot edit"),
        ("x-s: &s {a: {}}\nsandboxes:\n  <<: *s\n  b: {}\n", "Cannot edit"),
        ("x-d: &d [a]\nsandboxes: {a: {}, b: {depends_on: *d}}\n", "Cannot edit"),
        ("sandboxes: {&k a: {}, b: {extends: *k}}\n", "Cannot edit"),
    ],
)
def test_what_cannot_be_done_so_is_refused(text, summary):
    assert renamed(text, "a", "c") == [summary]


def test_a_text_that_is_no_file_gives_its_own_errors():
    edited, problems = rename_sandbox("sandboxes: [\n", "f", "a", "b")
    assert edited is None
    assert problems
