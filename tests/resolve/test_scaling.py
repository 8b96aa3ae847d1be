"""Replicas are sandboxes like all others, written in one place."""

import pytest

from sandboxfile.language.validate import load
from sandboxfile.model.desired import DesiredState
from sandboxfile.names import SandboxId
from sandboxfile.resolve.render import config, to_yaml
from sandboxfile.resolve.scaling import scaled

FILE = """
name: shop
secrets: {key: {env: KEY, inject: [{host: api.example.com, header: X}]}}
sandboxes:
  web:
    scale: 3
    workspaces: [".", "/data:/d:ro"]
    policy: {allow: [a.example.com]}
    secrets: [key]
    env: {A: 1}
    profiles: [ci]
    depends_on: {db: {condition: healthy}}
  db: {healthcheck: {command: "true"}}
"""


def test_all_of_a_sandbox_is_of_each_replica(host):
    host.environment = {"KEY": "x"}
    state = host.directory("/data").state(FILE)
    assert [spec.id.name for spec in state.sandboxes] == ["db", "web-1", "web-2", "web-3"]
    _, one, two, three = state.sandboxes
    assert [spec.service for spec in state.sandboxes] == ["", "web", "web", "web"]
    for replica in (two, three):
        assert replica.workspaces == one.workspaces
        assert replica.env == one.env
        assert replica.depends_on == one.depends_on
        assert replica.policy.own.allow == one.policy.own.allow
        assert replica.policy.own.place == one.policy.own.place
    assert one.policy.own.place.startswith("sandbox.yaml:8:")
    placeholders = {spec.policy.credentials[0].placeholder for spec in (one, two, three)}
    assert len(placeholders) == 3  # whoever has one cannot use it in the other's place


def test_config_prints_the_replicas_and_loads_to_the_same_state(new_host):
    def resolved(text: str) -> DesiredState:
        host = new_host().directory("/data")
        host.environment = {"KEY": "x"}
        return host.state(text)

    state = resolved(FILE)
    text = to_yaml(config(state))
    again = resolved(text)
    assert "scale" not in text
    assert to_yaml(config(again)) == text
    names = [spec.id.name for spec in again.sandboxes]
    assert names == ["db", "web-1", "web-2", "web-3"]
    assert [(spec.depends_on, spec.profiles, spec.workspaces) for spec in again.sandboxes] == [
        (spec.depends_on, spec.profiles, spec.workspaces) for spec in state.sandboxes
    ]


@pytest.mark.parametrize(("count", "names"), [(0, []), (1, ["web-1"]), (2, ["web-1", "web-2"])])
def test_none_one_and_two(count, names, host):
    state = host.state(f"sandboxes: {{web: {{scale: {count}}}}}")
    assert [spec.id for spec in state.sandboxes] == [SandboxId("project", name) for name in names]


def test_the_defaults_may_say_it(host):
    state = host.state("defaults: {scale: 2}\nsandboxes: {a: {scale: 1}, b: {}}")
    assert [spec.id.name for spec in state.sandboxes] == ["a-1", "b-1", "b-2"]


def test_a_file_without_scale_is_the_same_file():
    file, _, _ = load("sandboxes: {a: {}}", "f")
    assert file is not None
    assert scaled(file)[0].file is file


def test_what_is_wrong_with_all_is_said_once_where_it_is_written(host):
    found = host.resolve("sandboxes: {web: {scale: 5, workspaces: [/missing], env_file: [none]}}")[1]
    assert [problem.summary for problem in found] == ["Workspace not found", "env_file not found"]
    assert all(problem.span is not None and problem.span.line == 1 for problem in found)


@pytest.mark.parametrize(
    ("text", "summaries"),
    [
        ("web: {scale: 2, ports: ['80:80']}", ["Port of several sandboxes"]),
        ("web: {scale: 1, ports: ['80:80']}", []),
        ("web: {scale: 0, ports: ['80:80']}", []),
        ("web: {scale: 2}, web-2: {}", ["Name taken twice"]),
        ("web: {scale: 2}, web-3: {}", []),
        ("web: {scale: 0}, web-1: {}", []),
        (f"{'a' * 62}: {{scale: 1}}", ["Invalid name"]),
        (f"{'a' * 61}: {{scale: 9}}", []),
    ],
)
def test_what_cannot_be_several_is_refused(text, summaries, host):
    assert host.summaries(f"sandboxes: {{{text}}}") == summaries


def test_a_few_words_do_not_make_millions():
    text = "defaults: {scale: 1000}\nsandboxes:\n" + "".join(f"  s{number}: {{}}\n" for number in range(11))
    file, _, _ = load(text, "sandbox.yaml")
    found, problems = scaled(file)
    assert [(each.summary, each.span.line) for each in problems] == [("Too many sandboxes", 1)]
    assert len(found.file.sandboxes) == 11
    file, _, _ = load(text.replace("  s10: {}\n", ""), "sandbox.yaml")
    found, problems = scaled(file)
    assert (len(found.file.sandboxes), problems) == (10_000, ())


def test_a_port_of_the_defaults_is_one_as_well(host):
    found = host.resolve("defaults: {ports: ['80:80']}\nsandboxes: {web: {scale: 2}}")[1]
    assert [(problem.summary, str(problem.span).rpartition("/")[2]) for problem in found] == [
        ("Port of several sandboxes", "sandbox.yaml:1:20")
    ]
