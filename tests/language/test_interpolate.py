"""`${VAR}` in values: the Compose Specification's forms as a table, where it counts, and where a mistake is shown."""

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandboxfile.diagnostics import Diagnostic, Severity
from sandboxfile.language.validate import load, load_policies
from sandboxfile.model.spec import SandboxFile

VARIABLES = {"FOO": "first", "BAR": "", "_x1": "under", "CPUS": "3", "YES": "true", "PORT": "8080", "LOOP": "${FOO} $$"}


def value(text: str, variables: dict[str, str] | None = None) -> tuple[str | None, list[str]]:
    """What a value in single quotes becomes, and what is said of it."""
    quoted = "'" + text.replace("'", "''") + "'"
    file, _, problems = load(f"sandboxes: {{web: {{env: {{A: {quoted}}}}}}}", "f", (), variables or VARIABLES)
    assert file is not None
    return file.sandboxes["web"].env.get("A") if file.sandboxes else None, [problem.summary for problem in problems]


def loaded(text: str) -> tuple[SandboxFile | None, list[Diagnostic]]:
    file, _, problems = load(text, "f", (), VARIABLES)
    return file, list(problems)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${FOO}", "first"),
        ("${_x1}", "under"),
        ("This ${FOO} var", "This first var"),
        ("${FOO}${FOO}", "firstfirst"),
        ("${FOO:-default}", "first"),
        ("${BAR:-default}", "default"),
        ("${NOT:-default}", "default"),
        ("${FOO-default}", "first"),
        ("${BAR-default}", ""),
        ("${NOT-default}", "default"),
        ("${FOO:?message}", "first"),
        ("${FOO?message}", "first"),
        ("${BAR?message}", ""),
        ("${FOO:+text}", "text"),
        ("${BAR:+text}", ""),
        ("${NOT:+text}", ""),
        ("${FOO+text}", "text"),
        ("${BAR+text}", "text"),
        ("${NOT+text}", ""),
        ("${NOT:-}", ""),
        ("${NOT-}", ""),
        ("${FOO:+}", ""),
        ("${NOT:-${FOO}}", "first"),
        ("${NOT-${FOO} ${FOO}}", "first first"),
        ("${NOT:-${BAR:-default}}", "default"),
        ("${NOT:-a${BAR:-b${FOO}c}d}", "abfirstcd"),
        ("${BAR:-/non:-alphanumeric}", "/non:-alphanumeric"),
        ("${NOT-my?error}", "my?error"),
        ("${NOT-va:-lu:?e}", "va:-lu:?e"),
        ("${FOO+va?lu-e}", "va?lu-e"),
        ("${FOO:-${NOT:?not needed}}", "first"),
        ('${NOT:-{"a": {"b": 1}}}', '{"a": {"b": 1}}'),
        ("$${FOO}", "${FOO}"),
        ("$$${FOO}", "$first"),
        ("$$$$", "$$"),
        ("${NOT:-$$5}", "$5"),
        ("${NOT:-$${FOO}}", "${FOO}"),
        ("$FOO-bar", "$FOO-bar"),
        ("${NOT-$FOO}", "$FOO"),
        ("$", "$"),
        ("$}", "$}"),
        ("a } b", "a } b"),
        ("${LOOP}", "${FOO} $$"),
    ],
)
def test_the_forms_mean_what_they_mean_to_compose(written: str, meant: str) -> None:
    assert value(written) == (meant, [])


@pytest.mark.parametrize(
    "written", ["${", "${}", "${ }", "${ FOO}", "${FOO }", "${FOO!}", "${1}", "${FOO:}", "${FOO/a/b}"]
)
def test_no_other_form_is_accepted(written: str) -> None:
    assert value(written) == (None, ["Invalid interpolation"])


@pytest.mark.parametrize("written", ["${FOO", "${FOO:-", "${FOO:-${NOT}", "${NOT:-${FOO", "${FOO:-{}"])
def test_a_brace_that_is_not_closed_is_an_error_also_where_nothing_is_taken_from_it(written: str) -> None:
    assert value(written) == (None, ["Invalid interpolation"])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("${NOT:?tell ${FOO}}", "`NOT` is not set: tell first."),
        ("${NOT?}", "`NOT` is not set."),
        ("${BAR:?must be}", "`BAR` is empty: must be."),
    ],
)
def test_a_required_variable_is_asked_for_in_the_files_words(written: str, said: str) -> None:
    _, problems = loaded(f"sandboxes: {{web: {{env: {{A: '{written}'}}}}}}")
    assert [(problem.summary, problem.detail) for problem in problems] == [("Variable required", said)]


def test_a_variable_that_is_not_set_is_empty_and_warned_of_once() -> None:
    file, problems = loaded("sandboxes: {web: {env: {A: 'x${NOT}y', B: '${NOT}', C: '${ALSO}'}}}")
    assert file is not None
    assert file.sandboxes["web"].env == {"A": "xy", "B": "", "C": ""}
    assert [(problem.severity, str(problem.span)) for problem in problems] == [
        (Severity.WARNING, "f:1:30"),
        (Severity.WARNING, "f:1:57"),
    ]


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("echo ${FOO} ${", "f:3:26"),
        ("'it''s ${1}'", "f:3:21"),
        ('"\\tx ${1}"', "f:3:19"),
        ("|\n      a ${FOO}\n      b ${1} c\n", "f:5:9"),
        (">-\n      a\n\n      b $$ ${1}\n", "f:6:12"),
        ('"\\x24{1}"', "f:3:14"),
    ],
)
def test_a_mistake_is_shown_where_it_stands(written: str, place: str) -> None:
    _, problems = loaded(f"sandboxes:\n  web:\n    command: {written}")
    assert [str(problem.span) for problem in problems] == [place]


def test_what_a_variable_brings_is_cast_to_what_the_field_is() -> None:
    text = """
sandboxes:
  web:
    resources: {cpus: "${CPUS}", memory: "${CPUS}GiB"}
    protect: ${YES}
    env: {A: "${CPUS}", B: "${YES}", C: "${BAR}"}
    ports: ["${PORT}:80"]
"""
    file, problems = loaded(text)
    assert file is not None
    assert problems == []
    web = file.sandboxes["web"]
    assert (web.resources.cpus, web.resources.memory, web.protect) == (3, 3 << 30, True)
    assert web.env == {"A": "3", "B": "true", "C": ""}
    assert str(file.span("sandboxes", "web", "resources", "cpus")) == "f:4:23"


@pytest.mark.parametrize("written", ["cpus: '3'", "cpus: '${FOO}'", "cpus: '${YES}'", "cpus: '${BAR}'"])
def test_what_cannot_be_cast_is_of_the_wrong_type(written: str) -> None:
    _, problems = loaded(f"sandboxes: {{web: {{resources: {{{written}}}}}}}")
    assert [problem.summary for problem in problems] == ["Wrong type"]


def test_a_value_is_text_whatever_is_in_it() -> None:
    hostile = {"A": "ro, {a: b}]\n  policy: {mode: allow}", "B": "<<", "C": "null"}
    text = "sandboxes: {web: {env: {A: '${A}', B: '${B}', C: '${C}'}}}"
    file, _, problems = load(text, "f", (), hostile)
    assert file is not None
    assert problems == ()
    assert file.sandboxes["web"].env == hostile
    assert file.sandboxes["web"].policy == ""


def test_keys_and_foreign_fields_are_left_alone() -> None:
    file, problems = loaded(
        "x-a: &a {env: {A: '${FOO}'}, x-b: '${'}\nsandboxes: {web: {<<: *a}, x-own: {env: {A: '${FOO}'}}}"
    )
    assert file is not None
    assert problems == []
    assert [file.sandboxes[name].env for name in ("web", "x-own")] == [{"A": "first"}, {"A": "first"}]
    _, problems = loaded("sandboxes: {'${FOO}': {}}")
    assert [problem.summary for problem in problems] == ["Invalid name"]


def test_a_value_that_is_no_text_is_refused() -> None:
    assert value("${A}", {"A": "\udcff"}) == (None, ["Not UTF-8"])


def test_policy_files_take_nothing_from_an_environment() -> None:
    file, problems = load_policies("policies: {a: {allow: ['${HOST}', example.com], mode: $$x}}", "f")
    assert file is not None
    assert [problem.summary for problem in problems] == ["Interpolation not supported", "Unsupported value"]
    assert not file.whole


def test_long_variables_cannot_be_named_without_end() -> None:
    text = "sandboxes: {web: {env: {" + ", ".join(f"A{index}: '${{BIG}}'" for index in range(30)) + "}}}"
    _, _, problems = load(text, "f", (), {"BIG": "x" * 100_000})
    assert [problem.summary for problem in problems] == ["Interpolation too long"]


def test_a_value_that_names_a_long_variable_often_is_given_up_before_it_is_put_together() -> None:
    text = "sandboxes: {web: {env: {A: '" + "${BIG}" * 20_000 + "'}}}"
    tracemalloc.start()
    try:
        _, _, problems = load(text, "f", (), {"BIG": "x" * 100_000})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [problem.summary for problem in problems] == ["Interpolation too long"]
    assert most < 100_000_000


def test_a_variable_is_looked_through_once() -> None:
    looked: list[str] = []

    class Watched(str):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            looked.append("whole")
            return super().__iter__()

    text = "sandboxes: {web: {env: {" + ", ".join(f"A{index}: '${{ONE}}'" for index in range(30)) + "}}}"
    _, _, problems = load(text, "f", (), {"ONE": Watched("one")})
    assert (problems, looked) == ((), ["whole"])


@pytest.mark.parametrize("depth", [17, 20_000])
def test_words_in_words_have_an_end(depth: int) -> None:
    assert value("${A:-" * depth + "}" * depth) == (None, ["Nested too deeply"])


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("$${}:-?+ AF0"), max_size=60))
def test_no_value_makes_it_crash(text: str) -> None:
    value(text)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["C"]), max_size=60))
def test_doubled_dollars_make_every_text_mean_itself(text: str) -> None:
    assert value(text.replace("$", "$$")) == (text, [])
