"""The documented examples of the Compose Specification, in our terms: one table for each of its chapters.

A row names the section that it comes from. Where we mean something else on purpose, `differs` says what and why, and
the row has our meaning. What each form does beyond the documented examples is in `test_interpolate` and `test_merge`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent

import pytest

from sandboxfile.diagnostics import Severity
from sandboxfile.language.loading import Files, Text, load_files
from sandboxfile.language.tree import Node, Sequence, Table
from sandboxfile.language.validate import load, load_project
from sandboxfile.model.desired import Dependency, DesiredSandbox, DesiredState, Image
from sandboxfile.model.observed import Applied, ObservedSandbox, ObservedState
from sandboxfile.model.plan import PlanOptions
from sandboxfile.model.spec import SandboxFile
from sandboxfile.model.spec_life import parse_duration
from sandboxfile.model.template import DesiredTemplate, Origin, Recipe
from sandboxfile.names import SandboxId
from sandboxfile.planning import plan
from sandboxfile.planning.selection import select
from sandboxfile.resolve.dependencies import dependencies_of
from sandboxfile.resolve.scaling import scaled


def loaded(files: Mapping[str, str], variables: Mapping[str, str], given: tuple[str, ...] = ("sandbox.yaml",)) -> Files:
    texts = [Text(name, dedent(files[name])) for name in given]
    return load_files(
        texts, lambda: variables, lambda name: (dedent(files[name]), None) if name in files else NOT_THERE
    )


NOT_THERE = (None, "there is no such file")


def plain(node: Node) -> object:
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    return [plain(item) for item in node.items] if isinstance(node, Sequence) else node.value


def tree(text: str) -> object:
    document = loaded({"sandbox.yaml": text}, {}).document
    assert document is not None
    return plain(document.root)


# --- 12 Interpolation --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """What a value becomes; `error`: what is said of it, with a part of the words; `warning` the same."""

    section: str
    written: str
    variables: Mapping[str, str]
    meant: str | None = None
    error: str = ""
    warning: str = ""
    differs: str = ""


SET, EMPTY, UNSET = {"VARIABLE": "value"}, {"VARIABLE": ""}, {"OTHER": "value"}
BRACES = "only `${NAME}` is a variable: `$NAME` is common in commands, and means the shell's there"
INTERPOLATION = [
    Value("Interpolation: syntax", "${VARIABLE}", SET, "value"),
    Value("Interpolation: syntax", "$VARIABLE", SET, "$VARIABLE", differs=BRACES),
    Value("Interpolation: `:-`", "${VARIABLE:-default}", SET, "value"),
    Value("Interpolation: `:-`", "${VARIABLE:-default}", EMPTY, "default"),
    Value("Interpolation: `:-`", "${VARIABLE:-default}", UNSET, "default"),
    Value("Interpolation: `-`", "${VARIABLE-default}", SET, "value"),
    Value("Interpolation: `-`", "${VARIABLE-default}", EMPTY, ""),
    Value("Interpolation: `-`", "${VARIABLE-default}", UNSET, "default"),
    Value("Interpolation: `:?`", "${VARIABLE:?err}", SET, "value"),
    Value("Interpolation: `:?`", "${VARIABLE:?err}", EMPTY, error="`VARIABLE` is empty: err."),
    Value("Interpolation: `:?`", "${VARIABLE:?err}", UNSET, error="`VARIABLE` is not set: err."),
    Value("Interpolation: `?`", "${VARIABLE?err}", SET, "value"),
    Value("Interpolation: `?`", "${VARIABLE?err}", EMPTY, ""),
    Value("Interpolation: `?`", "${VARIABLE?err}", UNSET, error="`VARIABLE` is not set: err."),
    Value("Interpolation: nested", "${VARIABLE:-${FOO}}", {"FOO": "foo"}, "foo"),
    Value("Interpolation: nested", "${VARIABLE?${FOO}}", {"FOO": "foo"}, error="`VARIABLE` is not set: foo."),
    Value("Interpolation: nested", "${VARIABLE?$FOO}", {"FOO": "foo"}, error="not set: $FOO.", differs=BRACES),
    Value("Interpolation: nested", "${VARIABLE:-${FOO:-default}}", {}, "default"),
    Value("Interpolation: nested", "${VARIABLE:-${FOO:-default}}", {"FOO": "foo"}, "foo"),
    Value("Interpolation: nested", "${VARIABLE:-${FOO:-default}}", {**SET, "FOO": "foo"}, "value"),
    Value("Interpolation: no other shell features", "${VARIABLE/foo/bar}", SET, error="after the name comes no `}`"),
    Value("Interpolation: what is no variable stays", "a $ b $5 $-", SET, "a $ b $5 $-"),
    Value("Interpolation: `$$`", "$${VAR_NOT_INTERPOLATED}", {"VAR_NOT_INTERPOLATED": "x"}, "${VAR_NOT_INTERPOLATED}"),
    Value("Interpolation: `$$`", "$$VAR_NOT_INTERPOLATED", {"VAR_NOT_INTERPOLATED": "x"}, "$VAR_NOT_INTERPOLATED"),
    Value("Interpolation: not resolved", "a${VARIABLE}b", UNSET, "ab", warning="`VARIABLE` is not set"),
]


@pytest.mark.parametrize("row", INTERPOLATION, ids=lambda row: f"{row.section} {row.written} {row.variables}")
def test_a_value_becomes_what_the_specification_says(row: Value) -> None:
    text = f"sandboxes: {{web: {{env: {{A: '{row.written}'}}}}}}"
    file, _, problems = load(text, "f", (), row.variables)
    errors = [problem.detail for problem in problems if problem.severity is Severity.ERROR]
    warnings = [problem.detail for problem in problems if problem.severity is Severity.WARNING]
    assert file is not None
    assert [row.error in detail for detail in errors] == ([True] if row.error else [])
    assert [row.warning in detail for detail in warnings] == ([True] if row.warning else [])
    if row.meant is not None:
        assert file.sandboxes["web"].env == {"A": row.meant}


def test_interpolation_is_of_values_and_of_items_of_the_short_form_not_of_keys() -> None:
    """Interpolation: "applies only to YAML values, not to keys"; an item `NAME=VALUE` is a value."""
    found = loaded({"sandbox.yaml": "sandboxes: {a: {env: {'${X}': BAR}}, b: {env: ['${X}=BAR']}}"}, {"X": "FOO"})
    assert found.document is not None
    assert plain(found.document.root) == {"sandboxes": {"a": {"env": {"${X}": "BAR"}}, "b": {"env": ["FOO=BAR"]}}}


def test_interpolation_is_before_merging_file_by_file() -> None:
    """Interpolation: "applied before a merge on a per-file basis", also in short forms."""
    files = {
        "sandbox.yaml": "sandboxes: {web: {workspaces: ['${DIR}:/src:ro']}}",
        "more.yaml": "sandboxes: {web: {workspaces: ['./new:/src']}}",
    }
    found = loaded(files, {"DIR": "./old"}, ("sandbox.yaml", "more.yaml"))
    assert found.document is not None
    merged = [{"source": "./new", "target": "/src", "mode": "ro"}]
    assert plain(found.document.root) == {"sandboxes": {"web": {"workspaces": merged}}}


def test_anchors_are_resolved_before_interpolation() -> None:
    """Fragments: examples 3 and 4; and a variable cannot be the name of an anchor."""
    text = """
    sandboxes:
      first: {env: &env {FOO: "${X}", ZOT: QUIX}}
      second: {env: {<<: *env, YET_ANOTHER: VARIABLE, ZOT: own}}
    """
    found = loaded({"sandbox.yaml": text}, {"X": "BAR"})
    assert found.document is not None
    root = plain(found.document.root)
    assert isinstance(root, dict)
    assert root["sandboxes"]["second"]["env"] == {"FOO": "BAR", "YET_ANOTHER": "VARIABLE", "ZOT": "own"}
    assert loaded({"sandbox.yaml": "a: &${X} b"}, {"X": "x"}).problems


# --- 13 Merge and override ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merge:
    """Two files' fields of one sandbox, and what becomes of them."""

    section: str
    beneath: str
    above: str
    meant: str
    differs: str = ""


MERGING = [
    Merge("Merge: Mapping", "env: {key1: value1, key2: value2}", "env: {key2: VALUE, key3: value3}",
          "env: {key1: value1, key2: VALUE, key3: value3}"),
    Merge("Merge: Mapping", "resources: {cpus: 1}", "resources: {memory: 1g}", "resources: {cpus: 1, memory: 1g}"),
    Merge("Merge: Sequence", "secrets: [one]", "secrets: [two]", "secrets: [one, two]"),
    Merge("Merge: Sequence", "setup: [make]", "setup: [make, test]", "setup: [make, test]",
          differs="an item that is there is not appended again: a layer that repeats its base changes nothing"),
    Merge("Merge: Shell commands", "command: [echo, foo]", "command: [echo, bar]", "command: [echo, bar]"),
    Merge("Merge: Shell commands", "healthcheck: {command: [a, b], retries: 5}", "healthcheck: {command: [c]}",
          "healthcheck: {command: [c], retries: 5}"),
    Merge("Merge: Unique resources", "volumes: ['foo:/work']", "volumes: ['bar:/work']", "volumes: ['bar:/work']"),
    Merge("Merge: Unique resources", "volumes: ['foo:/work']", "volumes: [{volume: bar, target: /work/}]",
          "volumes: [{volume: bar, target: /work/}]"),
    Merge("Merge: Unique resources", "volumes: ['foo:/work']", "volumes: ['foo:/other']",
          "volumes: ['foo:/work', 'foo:/other']"),
    Merge("Merge: Unique resources", "ports: ['8080:80']", "ports: ['8443:443']", "ports: ['8080:80', '8443:443']"),
    Merge("Merge: Unique resources", "ports: ['8080:80']", "ports: ['9090:80']", "ports: ['9090:80']",
          differs="ports are the same by the port inside, so that a layer can move one; theirs by all four parts"),
    Merge("Merge: Unique resources", "workspaces: ['./a:/src:ro']", "workspaces: ['./b:/src']",
          "workspaces: [{source: ./b, target: /src, mode: ro}]"),
    Merge("Merge: Reset value", "ports: ['8080:80'], env: {FOO: BAR}", "ports: !reset [], env: {FOO: !reset null}",
          "env: {}"),
    Merge("Merge: Reset value", "command: [a], protect: true", "command: !reset null", "protect: true"),
    Merge("Merge: Replace value", "ports: ['8080:80']", "ports: !override ['8443:443']", "ports: ['8443:443']"),
    Merge("Merge: Replace value", "healthcheck: {command: [a], retries: 9}", "healthcheck: !override {command: [b]}",
          "healthcheck: {command: [b]}"),
    Merge("profiles: a list of names", "profiles: [frontend]", "profiles: [debug, frontend]",
          "profiles: [frontend, debug]"),
    Merge("depends_on: Short syntax", "depends_on: [db]", "depends_on: [redis, db]",
          "depends_on: {db: {condition: started}, redis: {condition: started}}"),
    Merge("depends_on: Long syntax", "depends_on: [db]", "depends_on: {db: {condition: healthy}}",
          "depends_on: {db: {condition: healthy}}"),
    Merge("depends_on: Long syntax", "depends_on: {db: {condition: healthy}}", "depends_on: {redis: {}}",
          "depends_on: {db: {condition: healthy}, redis: {}}"),
    Merge("depends_on: Short syntax", "depends_on: {db: {condition: healthy}}", "depends_on: [db]",
          "depends_on: {db: {condition: started}}"),
    Merge("depends_on: Long syntax", "depends_on: [db, redis]", "depends_on: !override [db]", "depends_on: [db]"),
    Merge("scale: a number", "scale: 2", "scale: 3", "scale: 3"),
]  # fmt: skip


@pytest.mark.parametrize("row", MERGING, ids=lambda row: f"{row.section}: {row.beneath} + {row.above}")
def test_two_files_become_what_the_specification_says(row: Merge) -> None:
    files = {name: f"sandboxes: {{foo: {{{text}}}}}" for name, text in (("a", row.beneath), ("b", row.above))}
    found = loaded(files, {}, ("a", "b"))
    assert found.document is not None
    assert found.problems == ()
    assert plain(found.document.root) == tree(f"sandboxes: {{foo: {{{row.meant}}}}}")


# --- 14 Include --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Several:
    """Files by path; what `sandbox.yaml` comes to with them, or a part of what is said of it."""

    section: str
    files: Mapping[str, str]
    meant: str = ""
    error: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    differs: str = ""


INCLUDE = [
    Several("Include: across files",
            {"sandbox.yaml": "include: [my.yaml]\nsandboxes: {a: {depends_on: [b]}}", "my.yaml": "sandboxes: {b: {}}"},
            "sandboxes: {b: {}, a: {depends_on: [b]}}"),
    Several("Include: recursively",
            {"sandbox.yaml": "include: [x/one.yaml]\nsandboxes: {a: {}}",
             "x/one.yaml": "include: [two.yaml]\nsandboxes: {b: {}}", "x/two.yaml": "sandboxes: {c: {}}"},
            "sandboxes: {c: {}, b: {}, a: {}}"),
    Several("Include: Short syntax, paths are relative to the included file",
            {"sandbox.yaml": "include: [../commons/c.yaml]\nsandboxes: {}",
             "../commons/c.yaml": "sandboxes: {b: {workspaces: ['./src:/src', /abs]}}"},
            "sandboxes: {b: {workspaces: ['../commons/./src:/src', /abs]}}"),
    Several("Include: variables in a path",
            {"sandbox.yaml": "include: ['${INCLUDE_PATH:?FOO}/c.yaml']\nsandboxes: {}", "x/c.yaml": "sandboxes: {b: }"},
            "sandboxes: {b: }", variables={"INCLUDE_PATH": "x"}),
    Several("Include: variables in a path",
            {"sandbox.yaml": "include: ['${INCLUDE_PATH:?FOO}/c.yaml']\nsandboxes: {}"},
            error="`INCLUDE_PATH` is not set: FOO."),
    Several("Include: conflicts",
            {"sandbox.yaml": "include: [my.yaml]\nsandboxes: {a: {template: own}}",
             "my.yaml": "sandboxes: {a: {template: other, protect: true}}"},
            "sandboxes: {a: {template: own, protect: true}}",
            differs="the including file lies upon what it includes; theirs warns and takes one of the two"),
    Several("Include: Short syntax, the .env beside the included file",
            {"sandbox.yaml": "include: [x/c.yaml]\nsandboxes: {}", "x/c.yaml": "sandboxes: {b: {command: '${A}'}}",
             "x/.env": "A=1"},
            "sandboxes: {b: {command: ''}}", error="`A` is not set",
            differs="one project, one environment: that of the first file's directory"),
    Several("Include: Long syntax",
            {"sandbox.yaml": "include: [{path: c.yaml}]\nsandboxes: {}", "c.yaml": "sandboxes: {b: {}}"},
            error="`include[0]`: expected text, found a map.",
            differs="there is one environment and one place that paths count from, so only the path is to be said"),
    Several("Include: circles", {"sandbox.yaml": "include: [a.yaml]\nsandboxes: {}",
                                 "a.yaml": "include: [sandbox.yaml]\nsandboxes: {}"},
            error="A file cannot include itself: `sandbox.yaml` -> `a.yaml` -> `sandbox.yaml`."),
]  # fmt: skip


# --- 5 Services: extends -----------------------------------------------------------------------------------------

EXTENDS = [
    Several("extends: another file",
            {"sandbox.yaml": "sandboxes: {web: {extends: {file: common.yml, sandbox: webapp}, env: {A: 1}}}",
             "common.yml": "sandboxes: {webapp: {template: dev, env: {B: 2}}, other: {}}"},
            "sandboxes: {web: {template: dev, env: {B: 2, A: 1}}}"),
    Several("extends: Finding referenced service, of this file",
            {"sandbox.yaml": "sandboxes: {base: {template: dev}, web: {extends: {sandbox: base}}}"},
            "sandboxes: {base: {template: dev}, web: {template: dev}}"),
    Several("extends: Finding referenced service, not found",
            {"sandbox.yaml": "sandboxes: {web: {extends: bsae}, base: {}}"}, error="There is no sandbox `bsae`."),
    Several("extends: Finding referenced service, file not found",
            {"sandbox.yaml": "sandboxes: {web: {extends: {file: no.yml, sandbox: x}}}"}, error="`no.yml`"),
    Several("extends: Restrictions, circular",
            {"sandbox.yaml": "sandboxes: {a: {extends: b}, b: {extends: a}}"},
            error="A sandbox cannot extend itself: `a` -> `b` -> `a`."),
    Several("extends: Restrictions, what it refers to is not brought along",
            {"sandbox.yaml": "sandboxes: {cli: {extends: {file: c.yml, sandbox: common}}}",
             "c.yml": "sandboxes: {common: {depends_on: [db]}, db: {}}"}, error="There is no sandbox `db`."),
    Several("extends: Mappings",
            {"sandbox.yaml": "sandboxes: {common: {template: b, env: {TZ: utc, PORT: 80}},"
                             " cli: {extends: common, env: {PORT: 8080}}}"},
            "sandboxes: {common: {template: b, env: {TZ: utc, PORT: 80}},"
            " cli: {template: b, env: {TZ: utc, PORT: 8080}}}"),
    Several("extends: Mappings, the same with lists",
            {"sandbox.yaml": "sandboxes: {common: {env: [TZ=utc, PORT=80]}, cli: {extends: common, env: [PORT=8080]}}"},
            "sandboxes: {common: {env: [TZ=utc, PORT=80]}, cli: {env: {TZ: utc, PORT: '8080'}}}"),
    Several("extends: Mappings, volumes by target",
            {"sandbox.yaml": "sandboxes: {common: {volumes: ['c:/var/lib/data']},"
                             " cli: {extends: common, volumes: ['d:/var/lib/data']}}"},
            "sandboxes: {common: {volumes: ['c:/var/lib/data']}, cli: {volumes: ['d:/var/lib/data']}}"),
    Several("extends: Mappings, healthcheck",
            {"sandbox.yaml": "sandboxes: {common: {healthcheck: {command: [a], retries: 5}},"
                             " cli: {extends: common, healthcheck: {retries: 2}}}"},
            "sandboxes: {common: {healthcheck: {command: [a], retries: 5}},"
            " cli: {healthcheck: {command: [a], retries: 2}}}"),
    Several("extends: Mappings, what is extended extends",
            {"sandbox.yaml": "sandboxes: {base: {template: b, git: host}, common: {template: b, extends: base},"
                             " cli: {extends: common}}"},
            "sandboxes: {base: {template: b, git: host}, common: {template: b, git: host},"
            " cli: {template: b, git: host}}"),
    Several("extends: Sequences",
            {"sandbox.yaml": "sandboxes: {common: {secrets: [ROLE, a]}, cli: {extends: common, secrets: [USER, a]}}"},
            "sandboxes: {common: {secrets: [ROLE, a]}, cli: {secrets: [ROLE, a, USER]}}"),
    Several("extends: Sequences, env_file",
            {"sandbox.yaml": "sandboxes: {common: {env_file: [a, b]}, cli: {extends: common, env_file: [c, a]}}"},
            "sandboxes: {common: {env_file: [a, b]}, cli: {env_file: [a, b, c]}}",
            differs="repeats are left out of every list; theirs keeps them here"),
    Several("extends: Scalars",
            {"sandbox.yaml": "sandboxes: {common: {template: a, restart: always},"
                             " cli: {extends: common, template: b}}"},
            "sandboxes: {common: {template: a, restart: always}, cli: {template: b, restart: always}}"),
]  # fmt: skip


@pytest.mark.parametrize("row", [*INCLUDE, *EXTENDS], ids=lambda row: row.section)
def test_several_files_become_what_the_specification_says(row: Several) -> None:
    found = loaded(row.files, row.variables)
    _, problems = load_project(found)
    assert found.document is not None
    if row.error:
        assert any(row.error in problem.detail for problem in problems)
    if row.meant:
        assert plain(found.document.root) == tree(row.meant)


# --- 15 Profiles -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """What is there of the specification's example with these profiles, or when these are named; None: an error."""

    section: str
    profiles: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    there: tuple[str, ...] | None = None
    differs: str = ""


EXAMPLE = """
sandboxes:
  foo: {}
  bar: {profiles: [test]}
  baz: {profiles: [test], depends_on: [bar]}
  zot: {profiles: [debug], depends_on: [bar]}
"""
NAMED = "what a named sandbox depends on comes with it, of whatever profile: it was asked for as a whole"
PROFILES = [
    Chosen("Profiles: no profile enabled", there=("foo",)),
    Chosen("Profiles: `test` enabled", ("test",), there=("bar", "baz", "foo")),
    Chosen("Profiles: `debug` enabled", ("debug",), there=None),
    Chosen("Profiles: `debug` and `test` enabled", ("debug", "test"), there=("bar", "baz", "foo", "zot")),
    Chosen("Profiles: `bar` explicitly", named=("bar",), there=("bar",)),
    Chosen("Profiles: `baz` explicitly", named=("baz",), there=("bar", "baz")),
    Chosen("Profiles: `zot` explicitly", named=("zot",), there=("bar", "zot"), differs=NAMED),
    Chosen("Profiles: `zot` explicitly, `test` enabled", ("test",), ("zot",), there=("bar", "zot")),
]


def desired(text: str) -> DesiredState:
    file, _, problems = load(text, "f")
    assert problems == ()
    assert file is not None
    return of_file(file)


def of_file(file: SandboxFile) -> DesiredState:
    """As much of `resolve` as order and choice need."""
    scale, problems = scaled(file)
    assert problems == ()
    specs = tuple(
        DesiredSandbox(
            SandboxId("shop", name),
            "shell",
            Image("d"),
            depends_on=dependencies_of(scale, name),
            profiles=own.profiles,
            service=scale.service.get(name, ""),
        )
        for name, own in sorted(scale.file.sandboxes.items())
    )
    return DesiredState("shop", "f", specs, (DesiredTemplate("shell", Recipe(Origin("debian"), digest="d")),))


@pytest.mark.parametrize("row", PROFILES, ids=lambda row: row.section)
def test_profiles_choose_as_the_specification_says(row: Chosen) -> None:
    found = select(desired(EXAMPLE), PlanOptions(only=row.named, profiles=row.profiles))
    if row.there is None:
        assert [problem.summary for problem in found.problems] == ["Profile not asked for"]
        return
    assert found.problems == ()
    assert tuple(spec.id.name for spec in found.chosen) == row.there


@pytest.mark.parametrize(("name", "valid"), [("frontend", True), ("a.b_c-1", True), ("-a", False), ("a b", False)])
def test_names_of_profiles_are_those_of_the_specification(name: str, valid: bool) -> None:
    """profiles: "the regex format of [a-zA-Z0-9][a-zA-Z0-9_.-]+"; here a single character is a name as well."""
    assert bool(re.fullmatch("[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)) == valid
    problems = load(f"sandboxes: {{web: {{profiles: ['{name}']}}}}", "f")[2]
    assert (problems == ()) == valid


# --- 5 Services: depends_on, scale, healthcheck ------------------------------------------------------------------

ORDER = [
    ("depends_on: Short syntax", "sandboxes: {web: {depends_on: [db, redis]}, redis: {}, db: {}}"),
    ("depends_on: Long syntax",
     "sandboxes: {web: {depends_on: {db: {condition: healthy}, redis: {condition: started}}}, redis: {},"
     " db: {healthcheck: {command: [check]}}}"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "text"), ORDER, ids=[section for section, _ in ORDER])
def test_dependencies_are_started_before_and_removed_after(section: str, text: str) -> None:
    state = desired(text)
    up = [step.key for step in plan(state, ObservedState("shop", platform_ready=True), PlanOptions()).steps]
    before = up[: up.index("start web")]
    assert {"start db", "start redis"} <= set(before)
    assert ("wait for db to be healthy" in before) == ("Long" in section)
    there = tuple(
        ObservedSandbox(spec.id, "stopped", Applied(spec, "f", "2026-01-02T03:04:05Z", 0)) for spec in state.sandboxes
    )
    down = [step.key for step in plan(state, ObservedState("shop", there), PlanOptions("down")).steps]
    assert down[0] == "delete web"
    assert sorted(down) == ["delete db", "delete redis", "delete web"]


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ("{db: {condition: service_healthy}}", "expected one of started, healthy, completed"),
        ("{db: {condition: started, restart: true}}", "`restart` is not a field"),
        ("{db: {condition: started, required: false}}", "`required` is not a field"),
    ],
)
def test_what_the_long_syntax_has_and_we_have_not_is_no_silence(theirs: str, said: str) -> None:
    """depends_on: Long syntax. Conditions go without `service_`; `restart` and `required` are not offered."""
    problems = load(f"sandboxes: {{db: {{}}, web: {{depends_on: {theirs}}}}}", "f")[2]
    assert any(said in problem.detail for problem in problems)


def test_scale_is_the_number_of_replicas_and_dependents_wait_for_all() -> None:
    """scale: "the default number of containers to deploy"; a dependency on a service is one on its containers."""
    state = desired(
        "sandboxes: {web: {scale: 2, depends_on: [db]}, db: {scale: 2}, none: {scale: 0, depends_on: [db]}}"
    )
    assert [spec.id.name for spec in state.sandboxes] == ["db-1", "db-2", "web-1", "web-2"]
    assert state.sandboxes[2].depends_on == (Dependency("db-1"), Dependency("db-2"))


@pytest.mark.parametrize(("text", "seconds"), [("10ms", 0.01), ("40s", 40), ("1m30s", 90), ("1h5m30s20ms", 3930.02)])
def test_durations_are_those_of_the_specification(text: str, seconds: float) -> None:
    """Extension: Specifying durations."""
    assert parse_duration(text) == pytest.approx(seconds)


CHAPTERS = {"Interpolation", "Merge", "Include", "Profiles", "extends", "depends_on", "profiles", "scale"}


def test_every_row_names_its_section() -> None:
    rows = (*INTERPOLATION, *MERGING, *INCLUDE, *EXTENDS, *PROFILES)
    assert {row.section.partition(":")[0] for row in rows} == CHAPTERS
