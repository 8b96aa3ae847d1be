"""What is said of a file says nothing of what its variables hold."""

import pytest

from sandboxfile.diagnostics import Span, error
from sandboxfile.language.concealing import concealed
from sandboxfile.language.loading import Text, load_files
from sandboxfile.language.validate import load_project

SECRET = "hunter2-s3cret"


def said(text: str, **variables: str) -> list[str]:
    """The details and hints of what is wrong with a file."""
    files = load_files([Text("f", text)], lambda: variables, lambda _: (None, "it stands alone"))
    _, found = load_project(files)
    return [f"{item.detail} {item.hint or ''}" for item in concealed(found, files.brought)]


@pytest.mark.parametrize(
    "sandbox",
    [
        "{name: '${TOKEN}'}",
        "{include: ['${TOKEN}.yaml']}",
        "{sandboxes: {web: {extends: {file: '${TOKEN}', sandbox: x}}}}",
        "{sandboxes: {web: {extends: '${TOKEN}'}}}",
        "{sandboxes: {web: {template: '${TOKEN}'}}}",
        "{sandboxes: {web: {template: 'a/${TOKEN}'}}}",
        "{sandboxes: {web: {agent: '${TOKEN}'}}}",
        "{sandboxes: {web: {restart: '${TOKEN}'}}}",
        "{sandboxes: {web: {user: '${TOKEN}'}}}",
        "{sandboxes: {web: {ports: ['${TOKEN}:80']}}}",
        "{sandboxes: {web: {workspaces: ['.:${TOKEN}']}}}",
        "{sandboxes: {web: {workspaces: ['.:/x:${TOKEN}']}}}",
        "{sandboxes: {web: {resources: {memory: '${TOKEN}', cpus: '${TOKEN}'}}}}",
        "{sandboxes: {web: {depends_on: ['${TOKEN}'], volumes: ['${TOKEN}:/x'], secrets: ['${TOKEN}']}}}",
        "{sandboxes: {web: {policy: '${TOKEN}'}}}",
        "{sandboxes: {web: {policy: {mode: '${TOKEN}', allow: ['${TOKEN}/x', {host: a.test, until: '${TOKEN}'}]}}}}",
        "{sandboxes: {web: {idle_stop: '${TOKEN}', healthcheck: {test: ['${TOKEN}'], interval: '${TOKEN}'}}}}",
    ],
)
@pytest.mark.parametrize("token", [SECRET, "Hunter2 S3cret!", "HUNTER2_S3CRET" * 40])
def test_no_message_has_the_value_of_a_variable(sandbox: str, token: str) -> None:
    told = "\n".join(said(sandbox, TOKEN=token)).lower()
    assert told
    assert "hunter2" not in told
    assert "s3cret" not in told


def test_it_is_quoted_as_it_is_written() -> None:
    [told] = said("name: '${TOKEN}/x'\nsandboxes: {}\n", TOKEN=SECRET)
    assert told.startswith("`${TOKEN}/x` is not a name: ")


def test_a_message_with_a_part_of_it_says_only_that_it_does_not_fit() -> None:
    files = load_files(
        [Text("f", "name: '${TOKEN}'\nsandboxes: {}\n")], lambda: {"TOKEN": SECRET}, lambda _: (None, "")
    )
    span = Span("f", 1, 7, 1, 17)
    found = concealed(
        [error("Wrong", "a part: `s3cret`.", span, "not HUNTER2"), error("Other", f"see {SECRET}.")],
        files.brought,
    )
    assert [(item.detail, item.hint) for item in found] == [
        ("`${TOKEN}` cannot stand here with the values that its variables have.", None),
        ("see ${TOKEN}.", None),
    ]


def test_what_has_no_variables_is_quoted_as_ever() -> None:
    assert said("name: 'a b'\nsandboxes: {web: {env: {A: '${X}'}}}\n", X="a b")[0].startswith("`a b` is not a name: ")
