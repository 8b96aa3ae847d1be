"""What is missing is told before anything boots, with its place; commands of nobody's choice are not run for that."""

import pytest

from sandboxfile.diagnostics import Severity
from sandboxfile.host.approvals import approvals_needed, approve
from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.secrets.needs import env_values, place_of, problems


def credential(source, name="tracker", origin="", **fields):
    places = (Injection("api.example.com"),)
    return Credential(name, source, places, origin=origin or f"secret {name}", **fields)


def env(variable, **fields):
    return credential(SecretSource("env", variable), **fields)


@pytest.fixture
def counting(clean_home):
    """A credential whose command counts how often it ran, and that count."""
    script = 'echo >> "$HOME/ran"; echo value'
    file = clean_home / "ran"
    made = credential(SecretSource("command", command=("/bin/sh", "-c", script)))
    return made, lambda: file.read_text().count("\n") if file.exists() else 0


def test_what_can_be_had_is_no_problem(layout, environ):
    assert problems([env("KEY")], layout, environ | {"KEY": "x"}, run_commands=True) == ()


def test_each_missing_secret_is_an_error_at_its_place(layout, environ):
    first = env("KEY", place="/home/me/sandbox.yaml:12:9")
    second = credential(SecretSource("file", "/nonexistent/token"), name="other")
    found = problems([first, second], layout, environ, run_commands=True)
    assert [each.severity for each in found] == [Severity.ERROR, Severity.ERROR]
    assert found[0].detail == "`tracker` (secret tracker): the variable KEY is not set."
    assert (str(found[0].span), found[0].hint) == ("/home/me/sandbox.yaml:12:9", "export KEY=...")
    assert "there is no file /nonexistent/token" in found[1].detail


def test_what_only_an_agent_could_use_is_a_warning(layout, environ):
    [found] = problems([env("KEY", origin="agent claude")], layout, environ, run_commands=True)
    assert found.severity is Severity.WARNING


def test_a_store_that_cannot_be_read_is_a_problem_too(layout, environ):
    layout.secrets.mkdir(parents=True)
    (layout.secrets / "index.json").write_text("{")
    [found] = problems([credential(SecretSource("store", "x"))], layout, environ, run_commands=False)
    assert "list of stored secrets cannot be read" in found.detail


def test_a_command_runs_only_when_it_may(layout, environ, counting):
    made, count = counting
    assert problems([made], layout, environ, run_commands=True) == ()
    assert count() == 0
    approve(layout, approvals_needed([made]))
    assert problems([made], layout, environ, run_commands=False) == ()
    assert count() == 0
    assert problems([made, made], layout, environ, run_commands=True) == ()
    assert count() == 1


def test_a_command_that_is_bound_to_nothing_is_not_run(layout, environ, counting):
    made, count = counting
    unbound = Credential("tracker", made.source, (), origin="secret tracker")
    assert problems([unbound], layout, environ, run_commands=True) == ()
    assert count() == 0


def test_what_a_failing_command_complained_is_told_on_a_terminal_alone(layout, environ):
    made = credential(SecretSource("command", command=("/bin/sh", "-c", "echo not logged in >&2; exit 4")))
    approve(layout, approvals_needed([made]))
    [found] = problems([made], layout, environ, run_commands=True)
    assert "exit code 4." in found.detail
    assert "not logged in." not in found.detail
    [found] = problems([made], layout, environ, run_commands=True, tell_errors=True)
    assert found.detail.endswith("ended with exit code 4; it said: not logged in.")


def test_no_diagnostic_has_a_value(layout, environ, value):
    [found] = problems([env("KEY")], layout, environ | {"KEY": f"{value}\n{value}"}, run_commands=True)
    assert value not in repr(found)


def test_values_of_the_environment_are_those_that_can_be_used(environ):
    wanted = [
        env("KEY"),
        env("KEY", name="again"),
        env("MISSING", name="missing"),
        env("BAD", name="bad"),
        credential(SecretSource("file", "KEY"), name="file"),
    ]
    found = env_values(wanted, environ | {"KEY": "value\n", "BAD": "a\nb"})
    assert found == (("tracker", "value"), ("again", "value"))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sandbox.yaml:1:2", "sandbox.yaml:1:2"),
        ("/a:b/sandbox.yaml:1:2", "/a:b/sandbox.yaml:1:2"),
        ("", None),
        ("sandbox.yaml", None),
        ("sandbox.yaml:1", None),
        ("a:²:1", None),
    ],
)
def test_a_place_becomes_a_span(text, place):
    found = place_of(env("KEY", place=text))
    assert (None if found is None else str(found)) == place
