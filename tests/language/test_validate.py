"""A tree to a SandboxFile: both forms of a field are one, and one error hides no other."""

from sandboxfile.language.validate import load
from sandboxfile.model.spec import SandboxFile
from sandboxfile.model.values import GIB


def read(text: str) -> SandboxFile:
    file, _, problems = load(text, "f")
    assert problems == ()
    assert file is not None
    return file


def summaries(text: str) -> list[str]:
    return [problem.summary for problem in load(text, "f")[2]]


def test_short_and_long_forms_are_the_same() -> None:
    short = read("sandboxes: {a: {workspaces: ['src:/b:ro'], env: [A=1], env_file: x, setup: [ls]}}")
    long = read(
        "sandboxes: {a: {workspaces: [{source: src, target: /b, mode: ro}], env: {A: 1}, env_file: [x],"
        " setup: [[/bin/sh, -c, ls]]}}"
    )
    assert short.sandboxes == long.sandboxes


def test_variables_keep_their_spelling() -> None:
    file = read("sandboxes: {a: {env: {P: 3.10, M: 0755, T: True, N: no, X: 0x1F, Z: null, E: ''}}}")
    assert file.sandboxes["a"].env == {
        "P": "3.10", "M": "0755", "T": "true", "N": "no", "X": "0x1F", "Z": None, "E": "",
    }  # fmt: skip


def test_restart_no_is_text_as_in_yaml_1_2() -> None:
    assert read("sandboxes: {a: {restart: no}}").sandboxes["a"].restart == "no"


def test_fields_beginning_with_x_are_ignored_in_every_model() -> None:
    read(
        "x-a: 1\ndefaults: {x-b: 1, resources: {x-c: ['${x}']}}\ntemplates: {t: {x-d: 1, packages: {x-e: 1}}}\n"
        "sandboxes: {a: {x-f: {g: h}, workspaces: [{source: ., x-g: 1}]}}"
    )


def test_names_beginning_with_x_are_names_as_in_compose() -> None:
    assert list(read("sandboxes: {x-ray: {}}").sandboxes) == ["x-ray"]
    assert summaries("sandboxes: {x-ray: {command: 'echo ${X}'}}") == ["Variable not set"]


def test_a_double_dollar_is_a_dollar() -> None:
    assert read("sandboxes: {a: {command: 'echo $$X $HOME $${Y}'}}").sandboxes["a"].command[2] == "echo $X $HOME ${Y}"


def test_what_is_wrong_does_not_hide_what_else_is_wrong() -> None:
    text = "nme: x\ntemplates: {t: {base: nope}}\nsandboxes: {a: {template: gone, env: 1, resources: {cpus: x}}}"
    assert sorted(summaries(text)) == [
        "Unknown field",
        "Unknown template",
        "Unknown template",
        "Wrong type",
        "Wrong type",
    ]


def test_a_template_with_an_error_is_still_known() -> None:
    assert summaries("templates: {t: {nope: 1}}\nsandboxes: {a: {template: t}}") == ["Unknown field"]
    assert summaries("templates: {t: []}\nsandboxes: {a: {template: t}}") == ["Wrong type"]


def test_the_rest_of_a_wrong_file_is_given_for_further_checks() -> None:
    file, _, problems = load("sandboxes: {a: {workspaces: [., 3, x], cpus: 1}}", "f")
    assert problems
    assert file is not None
    assert not file.whole
    assert [item.source for item in file.sandboxes["a"].workspaces] == [".", "x"]
    assert str(file.span("sandboxes", "a", "workspaces", 1)) == "f:1:36"


def test_merged_fields_are_checked_where_they_are_written() -> None:
    _, _, problems = load("x: &x {cmd: ls}\nx-y: &y {cmd: ls}\nsandboxes:\n  a:\n    <<: *y\n", "f")
    assert [str(problem.span) for problem in problems] == ["f:1:1", "f:2:10"]


def test_span_of_an_unwritten_part_is_that_of_the_nearest_written_one() -> None:
    file = read("sandboxes:\n  a: {env: {A: b}}\n")
    assert str(file.span("sandboxes", "a", "env", "A")) == "f:2:16"
    assert str(file.span("sandboxes", "a", "command")) == "f:2:3"


def test_sizes_count_as_in_compose() -> None:
    file = read(
        "sandboxes: {a: {resources: {memory: 1.5g, disk: 2GB}}, b: {resources: {memory: 1073741824, disk: 3 GiB}}}"
    )
    assert file.sandboxes["a"].resources.memory == GIB * 3 // 2
    assert file.sandboxes["a"].resources.disk == 2 * GIB
    assert file.sandboxes["b"].resources.memory == GIB
    assert file.sandboxes["b"].resources.disk == 3 * GIB


def test_fields_of_compose_and_fields_of_another_level_are_led_to_where_they_are() -> None:
    _, _, problems = load("sandboxes: {a: {memory: 1GiB, replicas: 2, allow: [b.example.org], nothing: 1}}", "f")
    assert [problem.hint for problem in problems] == [
        "it belongs under `resources`: `resources: {memory: ...}`",
        "did you mean `scale`?",
        "it belongs under `policy`: `policy: {allow: ...}`",
        None,
    ]
