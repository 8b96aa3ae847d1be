"""Which files become one, in which order, and where their paths count from. Files are a mapping here."""

from collections.abc import Mapping

import pytest

from sandboxfile.language.loading import EXTENDS_LIMIT, FILES_LIMIT, Files, Text, load_files
from sandboxfile.language.validate import load_project
from sandboxfile.model.spec import SandboxFile


def files(given: str | list[str], others: Mapping[str, str] | None = None, **variables: str) -> Files:
    texts = [given] if isinstance(given, str) else given
    names = ["p/sandbox.yaml", "p/more.yaml", "p/most.yaml"]

    def read(name: str) -> tuple[str | None, str]:
        text = (others or {}).get(name)
        return text, "there is none"

    return load_files([Text(name, text) for name, text in zip(names, texts, strict=False)], lambda: variables, read)


def loaded(given: str | list[str], others: Mapping[str, str] | None = None, **variables: str) -> SandboxFile:
    file, problems = load_project(files(given, others, **variables))
    assert problems == ()
    assert file is not None
    return file


def wrong(given: str | list[str], others: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    found = files(given, others)
    assert found.document is None or not found.document.whole
    return [(problem.summary, str(problem.span)) for problem in found.problems]


def test_files_are_merged_from_left_to_right() -> None:
    file = loaded(
        [
            "name: a\nsandboxes: {web: {env: {A: 1, B: 1, C: 1}}}",
            "sandboxes: {web: {env: {B: 2, C: 2}}, db: {}}",
            "name: c\nsandboxes: {web: {env: {C: 3}}}",
        ]
    )
    assert (file.name, list(file.sandboxes)) == ("c", ["web", "db"])
    assert file.sandboxes["web"].env == {"A": "1", "B": "2", "C": "3"}
    assert str(file.span("sandboxes", "web", "env", "B")) == "p/more.yaml:1:28"


def test_included_files_lie_beneath_the_later_upon_the_earlier() -> None:
    others = {
        "p/team/one.yaml": "include: [deep/zero.yaml]\ndefaults: {env: {A: one, B: one}}",
        "p/team/deep/zero.yaml": "defaults: {env: {A: zero, B: zero, C: zero, D: zero}}",
        "p/two.yaml": "defaults: {env: {B: two}}",
    }
    found = files("include: [team/one.yaml, ./two.yaml]\ndefaults: {env: {C: own}}\nsandboxes: {}", others)
    file, problems = load_project(found)
    assert problems == ()
    assert file is not None
    assert file.defaults.env == {"A": "one", "B": "two", "C": "own", "D": "zero"}
    assert found.others == ("team/one.yaml", "team/deep/zero.yaml", "two.yaml")
    assert set(found.sources) == {"p/sandbox.yaml", *others}
    assert "include" not in file.model_fields_set


def test_paths_of_an_included_file_count_from_it() -> None:
    team = """
defaults: {workspaces: [., "src:/src:ro", {source: ../x}, /abs, ~/y], env_file: .env}
templates:
  a: {base: "tar:root.tar", files: [{source: f, target: /f}]}
  b: {base: debian:trixie}
  c: {build: image}
  d: {build: {context: ./image}}
x-secret: &i {inject: [{host: a.example.com, bearer: true}]}
secrets:
  s: {<<: *i, file: key}
  t: {<<: *i, command: [./get, ./it]}
  u: {<<: *i, command: [get]}
  v: {<<: *i, file: ~/key}
sandboxes: {w: {env_file: [a, /b]}, e: {extends: {file: other.yaml, sandbox: o}}}
"""
    file = loaded(
        "include: [team/policy.yaml]\nsandboxes: {}",
        {"p/team/policy.yaml": team, "p/team/other.yaml": "sandboxes: {o: {workspaces: [here]}}"},
    )
    assert [item.source for item in file.defaults.workspaces] == ["team/.", "team/src", "team/../x", "/abs", "~/y"]
    assert file.defaults.env_file == ("team/.env",)
    assert file.templates["a"].base == "tar:team/root.tar"
    assert file.templates["a"].files[0].source == "team/f"
    assert file.templates["b"].base == "debian:trixie"
    assert [build.context for name in "cd" if (build := file.templates[name].build)] == ["team/image", "team/./image"]
    assert [file.secrets[name].file for name in "sv"] == ["team/key", "~/key"]
    assert [file.secrets[name].command for name in "tu"] == [("team/./get", "./it"), ("get",)]
    assert file.sandboxes["w"].env_file == ("team/a", "/b")
    assert file.sandboxes["e"].workspaces[0].source == "team/here"


def test_files_of_the_home_directory_are_asked_for_as_such() -> None:
    file = loaded(
        "include: [~/team/a.yaml]\nsandboxes: {}",
        {"~/team/a.yaml": "include: [b.yaml]", "~/team/b.yaml": "defaults: {workspaces: [w]}"},
    )
    assert file.defaults.workspaces[0].source == "~/team/w"


def test_variables_are_replaced_file_by_file_and_asked_for_when_there_are_some() -> None:
    file = loaded("include: ['${T}.yaml']\nsandboxes: {}", {"p/x.yaml": "defaults: {env: {A: '${T}$$'}}"}, T="x")
    assert file.defaults.env == {"A": "x$"}

    def unexpected() -> Mapping[str, str]:
        raise AssertionError("nobody asked")

    assert load_files([Text("f", "sandboxes: {}")], unexpected, lambda _: (None, "")).problems == ()


def test_a_file_may_be_included_along_two_ways_but_not_by_itself() -> None:
    others = {"p/a.yaml": "include: [c.yaml]", "p/b.yaml": "include: [c.yaml]", "p/c.yaml": "defaults: {secrets: [s]}"}
    file, _ = load_project(files("include: [a.yaml, b.yaml]\nsandboxes: {}", others))
    assert file is not None
    assert file.defaults.secrets == ("s",)
    assert wrong("include: [a.yaml]\nsandboxes: {}", {"p/a.yaml": "include: [sub/../a.yaml]"}) == [
        ("Include cycle", "p/a.yaml:1:11")
    ]
    assert wrong("include: [./sandbox.yaml]\nsandboxes: {}") == [("Include cycle", "p/sandbox.yaml:1:11")]


def test_what_is_wrong_is_told_of_every_file() -> None:
    assert wrong(["sandboxes: {a: &x [*x]}", "sandboxes: ["], {}) == [
        ("Alias cycle", "p/sandbox.yaml:1:20"),
        ("Invalid YAML", "p/more.yaml:1:13"),
    ]
    assert wrong("include: [a.yaml, b.yaml]\nsandboxes: {}", {"p/b.yaml": "a: !x 1"}) == [
        ("File not readable", "p/sandbox.yaml:1:11"),
        ("Tag not supported", "p/b.yaml:1:4"),
    ]


def test_a_file_that_is_no_map_hides_no_other() -> None:
    found = files("include: [a.yaml]\nsandboxes: {}", {"p/a.yaml": "only words"})
    assert found.document is not None
    assert [problem.summary for problem in found.problems] == ["Wrong type"]


def test_there_are_not_endless_files() -> None:
    others = {f"p/{index}.yaml": f"include: [{index + 1}.yaml]" for index in range(1000)}
    assert wrong("include: [0.yaml]\nsandboxes: {}", others) == [("Too many files", f"p/{FILES_LIMIT - 1}.yaml:1:11")]


def test_files_are_not_endless_together() -> None:
    many = "x-a: [" + "a, " * 30_000 + "]"
    assert [summary for summary, _ in wrong([many, many.replace("x-a", "x-b")])] == ["File too long"]


def test_a_sandbox_lies_upon_what_it_extends() -> None:
    file = loaded(
        """
sandboxes:
  web: {extends: base, env: {B: web}, ports: !reset [], setup: [c]}
  base: {extends: {sandbox: root}, env: [A=base, B=base], ports: ["1:1"], setup: [b]}
  root: {template: shell, env: {C: root, A: root}, setup: [a, b]}
"""
    )
    web = file.sandboxes["web"]
    assert (web.template, web.ports, len(web.setup)) == ("shell", (), 3)
    assert web.env == {"A": "base", "B": "web", "C": "root"}
    assert file.sandboxes["base"].ports[0].guest == 1
    assert not any("extends" in sandbox.model_fields_set for sandbox in file.sandboxes.values())


def test_an_override_may_change_what_a_sandbox_extends() -> None:
    given = ["sandboxes: {web: {extends: a}, a: {env: {A: 1}}, b: {env: {B: 1}}}", "sandboxes: {web: {extends: b}}"]
    assert loaded(given).sandboxes["web"].env == {"B": "1"}
    assert loaded([given[0], "sandboxes: {a: {env: {C: 1}}}"]).sandboxes["web"].env == {"A": "1", "C": "1"}


def test_a_sandbox_of_another_file_brings_what_it_extends_there_and_nothing_else() -> None:
    others = {
        "p/lib/other.yaml": "include: [more.yaml]\n"
        "sandboxes: {o: {extends: base, workspaces: [w]}, base: {env: {A: 1}}}",
        "p/lib/more.yaml": "sandboxes: {base: {env: {B: 2}}}",
    }
    file = loaded("sandboxes: {web: {extends: {file: lib/other.yaml, sandbox: o}}}", others)
    assert list(file.sandboxes) == ["web"]
    assert file.sandboxes["web"].env == {"A": "1", "B": "2"}
    assert file.sandboxes["web"].workspaces[0].source == "lib/w"


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("sandboxes: {a: {extends: a}}", "Extends cycle"),
        ("sandboxes: {a: {extends: b}, b: {extends: {sandbox: a}}}", "Extends cycle"),
        ("sandboxes: {a: {extends: {file: back.yaml, sandbox: a}}}", "Extends cycle"),
        ("sandboxes: {a: {extends: b}}", "Unknown sandbox"),
        ("sandboxes: {a: {extends: {file: empty.yaml, sandbox: b}}}", "Unknown sandbox"),
        ("sandboxes: {a: {extends: {file: none.yaml, sandbox: b}}}", "File not readable"),
    ],
)
def test_what_cannot_be_extended_is_told(text: str, summary: str) -> None:
    others = {"p/back.yaml": "sandboxes: {a: {extends: {file: back.yaml, sandbox: a}}}", "p/empty.yaml": "name: x"}
    assert {found for found, _ in wrong(text, others)} == {summary}


def test_a_tower_of_sandboxes_has_an_end() -> None:
    tower = ", ".join(f"s{index}: {{extends: s{index + 1}}}" for index in range(3000))
    assert {summary for summary, _ in wrong(f"sandboxes: {{{tower}, s3000: {{}}}}")} == {"Nested too deeply"}
    assert EXTENDS_LIMIT == 64


def test_what_is_extended_is_counted() -> None:
    large = "x-l: [" + "a, " * 2000 + "]"
    many = ", ".join(f"s{index}: {{extends: big}}" for index in range(100))
    assert [summary for summary, _ in wrong(f"sandboxes: {{big: {{{large}}}, {many}}}")] == ["File too long"]
