"""Rules of agents and secrets give way to what is written about the same host, whoever writes it."""

import pytest

from sandboxfile.model.credential import Credential, Injection, SecretSource
from sandboxfile.model.policy import Layer, Policy, Rule
from sandboxfile.policy.command import PolicyEdit, command_edit, edited
from sandboxfile.policy.implied import is_implied, settled, without_implied

AGENT = Rule("api.example.com:443", origin="agent claude")
SECRET = Rule("git.example.com:443", paths=("/**",), origin="secret forge")
CREDENTIAL = Credential("claude", SecretSource("env", "KEY"), (Injection("api.example.com"),), "KEY", "placeholder")


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        (Rule("api.example.com"), False),
        (Rule("api.example.com:443"), False),
        (Rule("api.example.com", methods=("GET",)), False),
        (Rule("api.example.com:443", origin="preset npm"), False),
        (Rule("api.example.com:443", "tcp"), True),
        (Rule("api.example.com:8443"), True),
        (Rule("*.example.com"), True),
        (Rule("*"), True),
    ],
)
@pytest.mark.parametrize("effect", ["allow", "block"])
def test_a_rule_about_the_very_host_counts_instead(rule, stays, effect):
    before = Layer("l", allow=(AGENT, rule)) if effect == "allow" else Layer("l", allow=(AGENT,), block=(rule,))
    assert (AGENT in settled(before).allow) == stays


def test_agents_and_secrets_do_not_drive_each_other_away():
    both = (AGENT, Rule("api.example.com:443", origin="secret x"))
    assert all(map(is_implied, both))
    assert settled(Layer("l", allow=both)).allow == both


def test_patterns_of_agents_give_way_to_the_same_pattern():
    for text in ("*.example.com", "*.example.com:443"):
        agent = Rule("*.example.com:443", origin="agent claude")
        assert settled(Layer("l", allow=(agent,), block=(Rule(text),))).allow == ()
    agent = Rule("*.example.com:443", origin="agent claude")
    assert settled(Layer("l", allow=(agent,), block=(Rule("a.example.com"),))).allow == (agent,)


def test_a_layer_without_them_is_the_same_object():
    layer = Layer("l", allow=(Rule("a"),))
    assert settled(layer) is layer
    assert without_implied(Layer("l", allow=(Rule("a"), AGENT, SECRET))) == layer


def policy():
    return Policy((Layer("p", allow=(Rule("a"), AGENT, SECRET)),), (("KEY", "placeholder"),), (CREDENTIAL,))


def test_commands_keep_what_agents_and_secrets_bring():
    after = edited(policy(), PolicyEdit("allow", allow=("b",), block=("c",), bypass=("d",)))
    assert {AGENT, SECRET} <= set(after.own.allow)
    assert (after.credentials, after.settings) == (policy().credentials, policy().settings)
    assert command_edit(after) == PolicyEdit(None, ("b",), ("c",), ("d",))


@pytest.mark.parametrize("pattern", ["api.example.com", "api.example.com:443"])
def test_a_command_blocks_the_host_of_an_agent(pattern):
    after = edited(policy(), PolicyEdit(block=(pattern,)))
    assert AGENT not in after.own.allow
    assert edited(after, PolicyEdit(block=(pattern,))) == after
