"""Policies in a few words, for tests that are tables: `decide` asks one, in the spelling of `sbx policy explain`."""

from ipaddress import ip_address

import pytest

from sandboxfile.model.policy import Layer, Policy, Request, Rule
from sandboxfile.policy.checks import parse_target
from sandboxfile.policy.compiled import compile_policy

TODAY = "2026-11-21"


def as_rules(entries, kind):
    """Patterns, or (pattern, fields); each with a place of its own, so that reasons can be told apart."""
    for number, entry in enumerate(entries):
        pattern, fields = (entry, {}) if isinstance(entry, str) else entry
        yield Rule(pattern, **{"place": f"{kind}:{number}", **fields})


@pytest.fixture(scope="session")
def layer():
    """Makes a layer: `layer("policy web", "deny", allow=["*.example.com", ("db.example.com:5432", {...})])`."""

    def make(name="policy web", mode="deny", allow=(), block=(), bypass=(), **fields):
        return Layer(
            name,
            mode,
            tuple(as_rules(allow, "allow")),
            tuple(as_rules(block, "block")),
            tuple(as_rules(bypass, "bypass")),
            **{"place": "mode:0", **fields},
        )

    return make


@pytest.fixture(scope="session")
def decide():
    """Asks layers about a target: text, or a Request; addresses as text."""

    def ask(layers, wanted, addresses=None, today=TODAY):
        request = wanted if isinstance(wanted, Request) else parse_target(wanted)
        assert isinstance(request, Request), request
        compiled = compile_policy(Policy(tuple(layers)))
        return compiled.decide(request, addresses and [ip_address(each) for each in addresses], today)

    return ask
