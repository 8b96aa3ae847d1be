"""Agents and services as they come along: each can be read, is complete, and means what it says."""

import json
import re
import tomllib
from importlib.resources import files
from pathlib import PurePosixPath

import pytest

from sandboxfile.agents import AGENTS, SERVICES, find_agent, find_service, service_of_variable
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.model.credential import SECRET
from sandboxfile.policy.patterns import Pattern, canonical_host, literal, parse_pattern

# Directories as people have them: a file of settings has to hold each.
_DIRECTORIES = (
    "/home/me/work",
    "/home/me/my \"work\" 'here'",
    "/home/me/a\\b",
    "/home/me/größer-\U0001f600",
    "/{workdir}",
)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # the name of a header, RFC 9110


def _substituted(content, directory):
    words = {"workdir_json": json.dumps(directory, ensure_ascii=False), "placeholder": "stands-for-a-key"}
    return re.sub(r"\{(workdir_json|placeholder)\}", lambda found: words[found[1]], content)


def _named(directory):
    return {entry.name.removesuffix(".toml") for entry in directory.iterdir() if entry.name.endswith(".toml")}


def test_every_file_is_an_agent_or_a_service_that_can_be_found():
    here = files("sandboxfile.agents")
    assert _named(here) == set(AGENTS)
    assert _named(here / "services") == set(SERVICES)
    assert list(AGENTS) == sorted(AGENTS)
    assert list(SERVICES) == sorted(SERVICES)


@pytest.mark.parametrize("find", [find_agent, find_service])
@pytest.mark.parametrize("name", ["nobody", "", "../claude", "services/openai"])
def test_nothing_else_is_found(find, name):
    with pytest.raises(KeyError):
        find(name)


# --- agents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_says_who_it_is_and_how_that_was_checked(name):
    agent = find_agent(name)
    assert agent.name == name
    assert agent.title
    assert agent.binary
    assert "/" not in agent.binary
    assert len(agent.verified.split()) > 3
    assert all(argument == argument.strip() != "" for argument in agent.arguments)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_needs_hosts_that_a_policy_could_name(name):
    for text in find_agent(name).hosts:
        pattern = parse_pattern(text)
        assert isinstance(pattern, Pattern), text
        assert pattern.text == text
        assert pattern.kind in ("host", "wildcard"), "an agent brings no wide rule along"
        assert pattern.port is not None


@pytest.mark.parametrize("name", AGENTS)
def test_the_variables_of_an_agent_are_not_those_of_a_key(name):
    agent = find_agent(name)
    assert set(agent.services) <= set(SERVICES)
    for variable, value in agent.environment:
        assert _VARIABLE.fullmatch(variable)
        assert "\0" not in value
        assert service_of_variable(variable) is None


@pytest.mark.parametrize("directory", _DIRECTORIES)
@pytest.mark.parametrize("name", AGENTS)
def test_the_settings_of_an_agent_can_be_read_by_it_wherever_it_works(name, directory):
    for file in find_agent(name).files:
        content = _substituted(file.content, directory)
        if file.path.endswith(".json"):
            settings = json.loads(content)
        elif file.path.endswith(".toml"):
            settings = tomllib.loads(content)
        else:
            pytest.fail(f"nobody here can read {file.path}")
        if "{workdir_json}" in file.content:
            assert directory in settings["projects"]


@pytest.mark.parametrize("name", AGENTS)
def test_the_settings_of_an_agent_are_in_its_home_and_for_it_alone(name):
    placed = [file.path for file in find_agent(name).files]
    assert len(placed) == len(set(placed))
    for file in find_agent(name).files:
        assert file.path == str(PurePosixPath(file.path))
        assert not file.path.startswith("/")
        assert ".." not in PurePosixPath(file.path).parts
        assert not file.mode & 0o077


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_that_brings_no_template_takes_an_existing_one(name):
    """Its own has its name, and stands on what coding agents use."""
    template = BUILTIN_TEMPLATES.get(name)
    if template is not None and name != "shell":
        assert template.base == "base"
        assert template.packages.npm or template.run, "where would its program come from?"


# --- services ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_key_goes_to_exact_hosts_over_tls_alone(name):
    service = find_service(name)
    assert service.name == name
    assert service.title
    assert service.injections
    for injection in service.injections:
        assert canonical_host(injection.host) == injection.host
        assert literal(injection.host) is None
        assert "*" not in injection.host
        assert injection.port == 443


@pytest.mark.parametrize("name", SERVICES)
def test_a_key_is_put_where_a_request_can_hold_it(name):
    for injection in find_service(name).injections:
        assert injection.value.count(SECRET) == 1
        assert injection.value.isprintable()
        assert injection.kind == "query" or _TOKEN.fullmatch(injection.name)
        assert all(_TOKEN.fullmatch(dropped) for dropped in injection.drops)
        assert injection.name.lower() not in {dropped.lower() for dropped in injection.drops}


@pytest.mark.parametrize("name", SERVICES)
def test_a_placeholder_is_no_key_and_cannot_be_taken_for_another_text(name):
    service = find_service(name)
    assert len(service.placeholder) >= 32
    assert re.fullmatch(r"[A-Za-z0-9_-]+", service.placeholder)
    assert "placeholder" in service.placeholder.lower()


def test_no_two_services_share_a_variable_or_a_placeholder():
    """By the one the service of a key is known, the other is what is looked for in requests."""
    services = [find_service(name) for name in SERVICES]
    variables = [variable for service in services for variable in service.variables]
    assert all(_VARIABLE.fullmatch(variable) for variable in variables)
    assert len(variables) == len(set(variables))
    held = [(one, other) for one in services for other in services if one.placeholder in other.placeholder]
    assert all(one is other for one, other in held)


def test_the_service_of_a_variable_is_the_one_that_names_it():
    for name in SERVICES:
        assert all(service_of_variable(variable) == find_service(name) for variable in find_service(name).variables)
    assert service_of_variable("HOME") is None


# --- what only holds of one of them --------------------------------------------------------------------------------


def test_claude_is_told_to_use_the_key_that_the_placeholder_looks_like():
    """It knows an approved key by its last 20 characters, and asks about every other one."""
    placed = {file.path: file.content for file in find_agent("claude").files}
    settings = json.loads(_substituted(placed[".claude.json"], "/work"))
    assert settings["customApiKeyResponses"]["approved"] == [find_service("anthropic").placeholder[-20:]]


def test_codex_gets_the_placeholder_from_the_one_file_where_it_looks():
    placed = {file.path: file.content for file in find_agent("codex").files}
    settings = json.loads(_substituted(placed[".codex/auth.json"], "/work"))
    assert settings == {"auth_mode": "apikey", "OPENAI_API_KEY": "stands-for-a-key"}
