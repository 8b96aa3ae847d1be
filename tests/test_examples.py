"""Every example is valid, does what its policy tests say, and can be planned on an empty host."""

from pathlib import Path

import pytest

from sandboxfile import pipeline
from sandboxfile.agents import AGENTS, SERVICES, find_service
from sandboxfile.diagnostics import has_errors
from sandboxfile.host import inputs
from sandboxfile.host.layout import Layout
from sandboxfile.model.observed import ObservedState
from sandboxfile.model.plan import PlanOptions
from sandboxfile.planning import plan
from sandboxfile.policy.compiled import compile_policy
from sandboxfile.resolve.inputs import PresetFacts, Registry
from sandboxfile.resolve.render import config, to_yaml

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*/sandbox.yaml"))
KINDS = {"locked-down", "allow-mode", "team-policy", "team-layers", "methods-and-paths"}


@pytest.fixture
def load(clean_home, monkeypatch):
    """Load on a host without policies of its own, whose clients are all configured."""
    facts = PresetFacts(True, (Registry("https://packages.example.com/"),))
    monkeypatch.setattr(inputs, "preset_facts", lambda presets, *_: dict.fromkeys(presets, facts))
    for variable in (name for service in SERVICES for name in find_service(service).variables):
        monkeypatch.setenv(variable, "the host has a key")
    layout = Layout(clean_home / "state", clean_home / "cache", clean_home / "run", clean_home / "config")
    return lambda path, content=None: pipeline.load(path, layout, content, machine_policy=clean_home / "none.yaml")


def test_there_is_an_example_of_each_kind():
    assert {path.parent.name for path in EXAMPLES} >= KINDS | set(AGENTS)
    assert all((path.parent / "README.md").is_file() for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_is_valid_tested_and_can_be_planned(path, load):
    loaded = load(path)
    assert loaded.diagnostics == ()
    assert bool(loaded.policy_tests) == (path.parent.name in KINDS)
    assert pipeline.failed_policy_tests(loaded) == ()
    for sandbox in loaded.desired.sandboxes:
        compile_policy(sandbox.policy)
    made = plan(loaded.desired, ObservedState(loaded.desired.project), PlanOptions())
    created = {change.subject for change in made.changes if change.action == "create"}
    assert {f"sandbox {sandbox.id.name}" for sandbox in loaded.desired.sandboxes} <= created


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_what_config_prints_of_an_example_loads_to_itself(path, load):
    printed = to_yaml(config(load(path).desired))
    again = load(path, printed.encode())
    assert not has_errors(again.diagnostics)
    assert to_yaml(config(again.desired)) == printed


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.parent.name in KINDS], ids=lambda p: p.parent.name)
def test_the_tests_of_an_example_notice_another_policy(path, load, clean_home):
    """Where everything is the other way round, every test fails."""
    loaded = load(path)
    for test in loaded.policy_tests:
        assert test.allow
        assert test.deny
        swapped = type(test)(
            test.name, test.place, test.policy, test.deny, test.allow, test.deny_spans, test.allow_spans
        )
        failures = pipeline.run_policy_tests([swapped], loaded.today)
        assert len(failures) == len(test.allow) + len(test.deny)
