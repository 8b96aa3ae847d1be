"""What only holds of some agents: settings that no question remains after, and templates that fetch a program."""

import json
import re
import subprocess

import pytest

from sandboxfile.agents import find_agent, find_service
from sandboxfile.agents.builtin import BUILTIN_TEMPLATES
from sandboxfile.policy.patterns import Pattern, parse_pattern

FETCHED = ("docker-agent", "kiro")


def settings_of(name):
    (file,) = find_agent(name).files
    return json.loads(file.content)


def test_gemini_uses_a_key_and_asks_about_no_folder():
    security = settings_of("gemini")["security"]
    assert security["auth"]["selectedType"] == "gemini-api-key"
    assert security["folderTrust"]["enabled"] is False
    assert dict(find_agent("gemini").environment)["GEMINI_CLI_TRUST_WORKSPACE"] == "true"
    assert find_service("google").variables[0] == "GEMINI_API_KEY", "the only one that it takes a key of the API from"


def test_opencode_shares_and_updates_nothing():
    assert settings_of("opencode").items() >= {"autoupdate": False, "permission": "allow", "share": "disabled"}.items()


def test_copilot_trusts_its_folder_only_by_this_spelling():
    assert dict(find_agent("copilot").environment)["COPILOT_ALLOW_ALL"] == "true"


@pytest.mark.parametrize("name", ["copilot", "docker-agent", "gemini", "opencode"])
def test_an_agent_that_can_log_in_reaches_its_api_without_a_key_too(name):
    """Its service brings rules only where there is a key."""
    agent = find_agent(name)
    bound = {f"{injection.host}:443" for each in agent.services for injection in find_service(each).injections}
    assert bound <= set(agent.hosts)


def test_githubs_token_goes_the_same_way_to_every_place():
    """Copilot exchanges it for no other: what it sends must be the token wherever an account's models are."""
    injections = find_service("github").injections
    assert {(each.name, each.value, each.paths) for each in injections} == {("Authorization", "Bearer {secret}", ())}
    assert all(each.host == "api.github.com" or each.host.endswith("githubcopilot.com") for each in injections)


# --- templates that fetch a program --------------------------------------------------------------------------------


def script_of(name):
    (step,) = BUILTIN_TEMPLATES[name].run
    assert step.command[:2] == ("/bin/sh", "-c")
    return step.command[2]


@pytest.mark.parametrize("name", FETCHED)
def test_a_template_fetches_a_release_from_where_its_policy_lets_it(name):
    script = script_of(name)
    subprocess.run(["sh", "-n", "-c", script], check=True)
    hosts = {rule.host for rule in BUILTIN_TEMPLATES[name].policy.allow}
    places = re.findall(r"https://([^/\"]+)/(\S+)", script)
    assert places
    for host, path in places:
        assert host in hosts
        assert re.search(r"/v?\d+\.\d+\.\d+/", f"/{path}"), "a release, not the newest one"
    assert "--proto =https" in script


@pytest.mark.parametrize("name", FETCHED)
def test_the_policy_of_such_a_template_names_single_hosts(name):
    policy = BUILTIN_TEMPLATES[name].policy
    assert policy.mode == "deny"
    for rule in policy.allow:
        if not rule.preset:
            pattern = parse_pattern(rule.pattern)
            assert isinstance(pattern, Pattern)
            assert (pattern.kind, pattern.port) == ("host", 443)


@pytest.fixture
def kiro(tmp_path):
    """The launcher that the template writes, with a kiro-cli that only tells what it was asked. Gives what it told."""
    launcher = re.search(r"<<'END'\n(.*?)^END$", script_of("kiro"), re.DOTALL | re.MULTILINE)[1]
    (tmp_path / "kiro").write_text(launcher)
    (tmp_path / "kiro-cli").write_text(
        '#!/bin/sh\necho "$@" >> told\ncase $1 in whoami) test -e logged-in ;; login) touch logged-in ;; esac\n'
    )
    for program in ("kiro", "kiro-cli"):
        (tmp_path / program).chmod(0o755)

    def start(*arguments):
        (tmp_path / "told").write_text("")
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        subprocess.run([tmp_path / "kiro", *arguments], cwd=tmp_path, env=environment, check=True)
        return (tmp_path / "told").read_text().splitlines()

    return start


def test_kiro_logs_in_by_the_device_flow_before_the_first_conversation_alone(kiro):
    arguments = find_agent("kiro").arguments
    assert kiro(*arguments) == ["whoami", "login --use-device-flow", "chat --trust-all-tools"]
    assert kiro(*arguments, "go on") == ["whoami", "chat --trust-all-tools go on"]


def test_kiro_does_everything_else_without_a_login(kiro):
    assert kiro("login", "--license", "pro") == ["login --license pro"]
    assert kiro("--version") == ["--version"]
