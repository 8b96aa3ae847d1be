"""New entries in a file: everything else stays as it is."""

import pytest

from sandboxfile.language.adding import add_entries

BOX = {"agent": "shell", "workspaces": [".", {"source": "/a b", "mode": "ro"}], "env": {"A": None, "B": "${B}"}}


def added(text, entries):
    edited, problems = add_entries(text, "sandbox.yaml", entries)
    assert edited is not None, problems
    return edited


def test_an_entry_comes_after_the_others_in_their_form():
    text = "name: shop\nsandboxes:   # ours\n    web:\n        env: {A: 1}   # kept\n\n# the end\n"
    assert added(text, {("sandboxes", "box"): BOX}) == (
        "name: shop\nsandboxes:   # ours\n    web:\n        env: {A: 1}   # kept\n"
        "    box:\n        agent: shell\n        workspaces:\n"
        '            - "."\n            - {source: "/a b", mode: ro}\n'
        '        env:\n            A: null\n            B: "${B}"\n'
        "\n# the end\n"
    )


def test_missing_and_empty_sections_are_filled():
    text = "name: shop\nsandboxes:\n"
    entries = {("templates", "dev"): {"base": "shell", "docker": True}, ("sandboxes", "box"): {"template": "dev"}}
    assert added(text, entries) == (
        "name: shop\nsandboxes:\n  box:\n    template: dev\n\ntemplates:\n  dev:\n    base: shell\n    docker: true\n"
    )
    assert added("sandboxes: {}\r\n", {("sandboxes", "a"): {"agent": "shell"}}) == "sandboxes: {a: {agent: shell}}\r\n"
    assert added("{sandboxes: {}}", {("policies", "p"): {"mode": "allow"}}) == (
        "{sandboxes: {}, policies: {p: {mode: allow}}}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "x-all: &all {web: {}}\nsandboxes: *all\n",
        "sandboxes: &all {web: {}}\nx-all: *all\n",
        "sandboxes: [web]\n",
    ],
)
def test_what_is_shared_or_something_else_is_refused(text):
    edited, problems = add_entries(text, "sandbox.yaml", {("sandboxes", "box"): {}})
    assert edited is None
    assert problems[0].summary == "Cannot edit"
    assert "`box`" in problems[0].hint


def test_a_text_that_is_wrong_is_not_edited():
    edited, problems = add_entries("sandboxes: {\n", "sandbox.yaml", {("sandboxes", "box"): {}})
    assert edited is None
    assert problems
