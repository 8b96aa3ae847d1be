"""Names, names made from anything, and identities."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandboxfile.names import NAME_LIMIT, UNMANAGED, SandboxId, is_name, name_from

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


@pytest.mark.parametrize("text", ["a", "0", "web-1", "a_b", "x" * NAME_LIMIT])
def test_these_are_names(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-a",
        "_a",
        ".",
        "..",
        ".new-a",
        "A",
        "a b",
        "a/b",
        "a\n",
        "\na",
        "a.b",
        "ä",
        "\u0661",
        "x" * (NAME_LIMIT + 1),
    ],
)
def test_these_are_not(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My App", "my-app"),
        ("--x--", "x"),
        ("été 2026", "t-2026"),
        ("日本", "project"),
        ("", "project"),
        ("a" * 62 + "--b", "a" * 62),  # cut at the limit, it must not end in a dash
    ],
)
def test_the_nearest_name_is_found(text: str, name: str) -> None:
    assert name_from(text) == name


@given(st.text())
@example("İ")  # its lower case is two characters
@example("-" * 100 + "a")
def test_whatever_the_text_a_name_comes_out_and_stays(text: str) -> None:
    assert is_name(name_from(text))
    assert name_from(name_from(text)) == name_from(text)


@given(names)
def test_a_name_is_its_own_nearest_name_up_to_its_ends(name: str) -> None:
    assert name_from(name) == (name.rstrip("-_") or "project")


@given(names, names)
def test_an_identity_is_read_as_it_is_written(project: str, name: str) -> None:
    assert SandboxId.parse(str(SandboxId(project, name))) == SandboxId(project, name)


@pytest.mark.parametrize(
    "text", ["", "/", "A", "_run", "_run/a", "a/", "/b", "a/b/c", "a/..", "../b", "A/b", "a//b", "a/b\n"]
)
def test_anything_else_is_no_identity(text: str) -> None:
    with pytest.raises(ValueError, match="not a sandbox identity"):
        SandboxId.parse(text)


@given(names)
def test_what_commands_made_is_written_without_a_project(name: str) -> None:
    assert str(SandboxId(UNMANAGED, name)) == name
    assert SandboxId.parse(name) == SandboxId(UNMANAGED, name)


def test_identities_are_sorted_by_project_then_name() -> None:
    texts = ["b/a", "a/b", "a-b/a", "a/a"]
    assert [str(id) for id in sorted(map(SandboxId.parse, texts))] == ["a/a", "a/b", "a-b/a", "b/a"]
